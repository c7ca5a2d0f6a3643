"""Ranks on equal terms alone; what differs is named."""

from dataclasses import replace

import pytest

from nas.reports.ledger import Ledger
from nas.reports.side_by_side import Entry, SideBySide, common_terms, differences, side_by_side, table
from nas.run.fingerprint import Fingerprint
from nas.settings import SearchSettings, TrainSettings, recipe_hash

SETTINGS = TrainSettings(data="digits")
TERMS = Fingerprint(
    data="d",
    classes=10,
    split="s",
    recipe=recipe_hash(SETTINGS),
    resolution=32,
    precision="fp32",
    code="c",
    device="cpu",
    threads=1,
)
NOTHING = Ledger(counts=(), device_hours=0.0, test_openings=0)


def entry(name: str, *accuracies: float, terms: Fingerprint | None = TERMS, **settings: object) -> Entry:
    return Entry(
        name=name,
        score="test",
        over="trainings",
        accuracies=accuracies or (0.5,),
        network="4 × 3",
        params=1000,
        madds=2_000_000,
        seconds=3600.0,
        settings=replace(SETTINGS, **settings),  # type: ignore[arg-type]
        fingerprint=terms,
    )


def text(result: SideBySide) -> str:
    return table(result).text(10_000)


def test_alike_results_are_ranked_and_tested() -> None:
    entries = [entry("a", 0.5, 0.52, 0.51), entry("b", 0.9, 0.91, 0.92), entry("c", 0.505, 0.521, 0.512)]
    result = side_by_side(entries, NOTHING)
    assert result.ranked and [each.name for each in result.entries] == ["b", "c", "a"] and not result.unlike
    assert "b is better than c" in result.verdicts[0] and "b is better than a" in result.verdicts[1]
    assert "no difference can be called" in result.verdicts[2] and "Holm" in result.verdicts[3]
    assert side_by_side(entries[:2], NOTHING).verdicts == side_by_side(entries[:2], NOTHING).verdicts[:1]


def test_several_comparisons_raise_p() -> None:
    two = [entry("a", 0.50, 0.52, 0.51), entry("b", 0.53, 0.55, 0.54)]
    assert "is better than" in side_by_side(two, NOTHING).verdicts[0]
    many = [*two, *(entry(f"c{number}", 0.515, 0.535, 0.525) for number in range(4))]
    assert "is better than" not in side_by_side(many, NOTHING).verdicts[0]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"data": "e"}, "data: d (a); e (b)"),
        ({"classes": 2}, "classes: 10 (a); 2 (b)"),
        ({"split": "t"}, "split: s (a); t (b)"),
        ({"resolution": 16}, "resolution: 32 (a); 16 (b)"),
        ({"precision": "bf16"}, "precision: fp32 (a); bf16 (b)"),
        ({"init": "i"}, "init: none (a); i (b)"),
    ],
)
def test_unlike_results_are_not_ranked(change: dict[str, object], line: str) -> None:
    entries = [entry("a", 0.1), entry("b", 0.9, terms=replace(TERMS, **change))]  # type: ignore[arg-type]
    result = side_by_side(entries, NOTHING)
    assert not result.ranked and result.unlike == (line,) and not result.verdicts
    assert [each.name for each in result.entries] == ["a", "b"]
    told = side_by_side(entries, NOTHING, unlike=True)
    assert told.ranked and told.unlike == (line,) and not told.verdicts
    assert [each.name for each in told.entries] == ["b", "a"]


def test_of_a_recipe_the_settings_are_named() -> None:
    other = replace(TERMS, recipe="other", precision="bf16")
    entries = [entry("a"), entry("b", terms=other, epochs=4, precision="bf16", seed=7), entry("c", seed=1)]
    assert differences(entries) == ["--epochs: 600 (a, c); 4 (b)", "precision: fp32 (a, c); bf16 (b)"]


def test_the_same_data_in_another_folder_is_named_as_a_setting() -> None:
    entries = [entry("a"), entry("b", terms=replace(TERMS, recipe="other"), data="elsewhere")]
    assert differences(entries) == ["--data: digits (a); elsewhere (b)"]


def test_kinds_of_results_are_unlike() -> None:
    search = replace(entry("b"), score="supernet", settings=SearchSettings(), fingerprint=replace(TERMS, recipe="r"))
    assert differences([entry("a"), search]) == [
        "accuracy: test (a); supernet (b)",
        f"recipe: {TERMS.recipe} (a); r (b)",
    ]


def test_old_results_say_that_their_terms_are_not_known() -> None:
    result = side_by_side([entry("a"), entry("b", terms=None)], NOTHING)
    assert not result.ranked and result.unlike == ("b has no fingerprint: its terms are not known",)
    assert "unknown" in text(result)


def test_the_table_shows_what_is_not_common() -> None:
    result = side_by_side([entry("a"), entry("b", terms=replace(TERMS, threads=2))], NOTHING)
    assert "threads" in text(result) and "precision" not in text(result)
    line = common_terms(result.entries)
    assert "precision fp32" in line and "threads" not in line and "init" not in line
