"""A study's rows as one table: which deviation is over what, what is paired, what may be said."""

import statistics
from collections.abc import Sequence
from dataclasses import replace

import pytest
from scipy import stats

from nas.reports.studies import (
    StudyRow,
    StudySummary,
    differences,
    markdown,
    notes,
    summarise,
    table,
    without_control,
)


def row(role: str, space: str, cell: str, seed: int, accuracy: float | None = None, **more: object) -> StudyRow:
    values = {"run": f"{cell}-r{seed}", "role": role, "space": space, "method": "darts", "seed": seed, "cell": cell}
    state = {"status": "finished", "params": 1000, "madds": 2_000_000, "seconds": 360.0, "accuracy": accuracy}
    return StudyRow(**{**values, **state, **more})  # type: ignore[arg-type]


def rows_of(space: str, found: Sequence[Sequence[float]], random: Sequence[float], **more: object) -> list[StudyRow]:
    """Searches of seeds 0, 1, … whose cells have these accuracies a training, and random cells."""
    rows = [row("search", space, f"{space}-s{seed}", seed, seconds=3600.0) for seed in range(len(found))]
    for seed, accuracies in enumerate(found):
        rows += [row("retrain", space, f"{space}-s{seed}", each, value) for each, value in enumerate(accuracies)]
    rows += [row("control", space, f"{space}-c{each}", 0, value, **more) for each, value in enumerate(random)]
    return rows


def summary_of(rows: Sequence[StudyRow]) -> StudySummary:
    groups, found = tuple(summarise(rows)), tuple(differences(rows))
    facts = {"data": "digits", "recipe": "0", "hardware": "none", "seconds": 1.0, "device_hours": 1.0}
    return StudySummary(about="small", groups=groups, differences=found, **facts)  # type: ignore[arg-type]


FOUND, RANDOM = [[0.90, 0.92], [0.91, 0.93], [0.94, 0.98]], [0.89, 0.91, 0.93, 0.95]


def test_each_n_has_its_own_deviation() -> None:
    found, random = summarise(rows_of("darts", FOUND, RANDOM))
    means = [0.91, 0.92, 0.96]
    assert (found.n, found.trainings) == (3, 6) and found.accuracies == pytest.approx(means)
    assert found.error == pytest.approx(0.07) and found.deviation == pytest.approx(statistics.stdev(means))
    # within cells: squares 2 · 0.01², 2 · 0.01², 2 · 0.02² over three degrees of freedom
    assert found.training_deviation == pytest.approx((0.0012 / 3) ** 0.5)
    half = stats.t.ppf(0.975, 2) * statistics.stdev(means) / 3**0.5
    assert found.interval == pytest.approx((0.07 - half, 0.07 + half))
    assert found.device_hours == pytest.approx(3 + 0.6), "the searches too"
    assert (random.name, random.n, random.trainings) == ("random cells, darts", 4, 4)
    assert random.training_deviation is None and random.device_hours == pytest.approx(0.4)


def test_searches_against_chance() -> None:
    (found,) = differences(rows_of("darts", FOUND, RANDOM))
    test = stats.ttest_ind([0.91, 0.92, 0.96], RANDOM, equal_var=False)
    assert (found.first, found.second, found.n, found.paired) == ("darts", "random cells", (3, 4), False)
    assert found.value == pytest.approx(0.01) and found.p == found.p_holm == pytest.approx(test.pvalue)
    low, high = test.confidence_interval()
    assert found.interval == pytest.approx((low, high)) and not found.counts
    assert found.verdict == (
        f"darts: not distinguishable from random cells (difference 1.00 ± {50 * (high - low):.2f} points, n = 3 + 4, "
        f"p = {test.pvalue:.2g}); about {found.seeds_needed} seeds a side would show 1.00"
    )


def test_arms_are_paired_by_seed_and_corrected() -> None:
    rows = [*rows_of("a", [[0.90], [0.91], [0.92]], RANDOM), *rows_of("b", [[0.95], [0.961], [0.969]], RANDOM)]
    *chance, pairs = differences(rows)
    assert [each.second for each in (*chance, pairs)] == ["random cells", "random cells", "b"]
    assert pairs.paired and pairs.n == (3, 3) and pairs.value == pytest.approx(-0.05)
    test = stats.ttest_rel([0.90, 0.91, 0.92], [0.95, 0.961, 0.969])
    assert pairs.p == pytest.approx(test.pvalue) and pairs.p_holm == pytest.approx(3 * test.pvalue)
    assert pairs.counts and pairs.verdict.startswith("a is worse than b (difference -5.00 ±")
    assert f"{3 * test.pvalue:.2g} by Holm" in pairs.verdict
    said = "\n".join(notes(summary_of(rows)))
    assert "3 pairs can never reach p < 0.05 in a signed-rank test, whose least p is then 0.25" in said
    assert "Holm's correction for 3 comparisons" in said


def test_a_seed_without_its_pair_is_left_out() -> None:
    rows = [*rows_of("a", [[0.90], [0.91], [0.92]], []), *rows_of("b", [[0.95], [0.96]], [])]
    (pairs,) = differences(rows)
    assert pairs.n == (2, 2) and not pairs.counts
    assert pairs.verdict.endswith("at least 3 pairs are needed to say more")


def test_what_holm_takes_back_is_not_called() -> None:
    """p = 0.03 alone, which three comparisons do not leave."""
    close = [[0.93], [0.932], [0.934]]
    rows = [*rows_of("a", close, [0.925, 0.928, 0.930, 0.927]), *rows_of("b", close[::-1], RANDOM)]
    first = differences(rows)[0]
    assert first.p is not None and first.p < 0.05 and first.p_holm is not None and first.p_holm > 0.05
    assert not first.counts and "not distinguishable" in first.verdict


def test_one_search_claims_nothing() -> None:
    rows = rows_of("darts", [[0.9]], [0.5])
    (found,) = differences(rows)
    assert found.p is None and found.interval is None
    assert found.verdict == (
        "darts: not distinguishable from random cells (difference 40.00 points, n = 1 + 1); "
        "at least 3 cells a side are needed to say more"
    )
    whole = table(summary_of(rows))
    assert "95 % interval" not in whole.heads and whole.rows[0][2] == "1", "one cell has neither"


def test_windows_are_told() -> None:
    rows = rows_of("darts", FOUND, RANDOM, tolerance=0.1)
    rows.append(row("control", "darts", "darts-c4", 0, status="left out", params=None, madds=None, seconds=0.0))
    said = notes(summary_of(rows))
    assert any("drawn within 10%" in line for line in said)
    assert any("1 left out, as too few cost as much" in line for line in said)


def test_an_arm_without_any_random_cell_is_told() -> None:
    nothing = {"status": "left out", "params": None, "madds": None, "seconds": 0.0}
    rows = [row("control", "darts", f"darts-c{cell}", 0, None, **nothing) for cell in range(3)]
    assert without_control([*rows_of("pc", FOUND, RANDOM), *rows]) == ("darts by darts",)
    summary = replace(summary_of(rows_of("pc", FOUND, RANDOM)), left_out=without_control(rows))
    assert "random cells, darts by darts: all left out, as too few cost as much as the found cell" in notes(summary)


def test_the_table_in_markdown() -> None:
    text = markdown(summary_of(rows_of("darts", FOUND, RANDOM)))
    head, blank, columns, rule, first, *_ = text.splitlines()
    assert (head, blank) == ("small", "") and columns.count("|") == rule.count("|") == first.count("|")
    assert first.startswith("| darts | 7.00% | ") and "\n- darts: not distinguishable" in text


def test_methods_are_named_where_there_are_several() -> None:
    second = [row("retrain", "darts", "x-s0", 0, 0.9, method="oles")]
    assert [group.name for group in summarise([*rows_of("darts", FOUND, []), *second])] == [
        "darts by darts",
        "darts by oles",
    ]
