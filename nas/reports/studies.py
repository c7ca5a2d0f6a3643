"""A study as rows, one a training, and as one table: searches against random cells, and what may be said of them."""

import statistics
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

from pydantic.dataclasses import dataclass

from nas.reports.statistics import (
    FEWEST,
    LEVEL,
    Difference,
    compare,
    compare_pairs,
    deviation,
    holm,
    interval,
    pooled_deviation,
    signed_rank_floor,
)
from nas.run.documents import DOCUMENT
from nas.tables import COUNT, HOURS, RANGE, SHARE, TEXT, Form, Table, millions

Role = Literal["search", "retrain", "control"]
COLUMNS: dict[str, tuple[str, Form]] = {
    "cells": ("name", TEXT),
    "test error": ("error", SHARE),
    "95 % interval": ("interval", RANGE),
    "n": ("n", TEXT),
    "deviation": ("deviation", SHARE),
    "trainings": ("trainings", TEXT),
    "their deviation": ("training_deviation", SHARE),
    "params": ("params", COUNT),
    "MAdds": ("madds", millions),
    "device hours": ("device_hours", HOURS),
}


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class StudyRow:
    """A training of a study.

    Args:
        run: its folder in the study's.
        role: search; retrain: of the cell that a search has found; control: of a random cell.
        space, method: of its arm.
        seed: its own.
        cell: which cell it has found or trains: of its search's or its control's name.
        matched: of a control: the search whose cell it costs as much as.
        tolerance: relative, of these multiply-adds; None: there were too few such cells.
        genotype: the cell's digest.
        params, madds: of the cell's network.
        accuracy: on the test set, read once at the end; a search has none.
        status: "left out": of a control for which there were too few cells.
    """

    run: str
    role: Role
    space: str
    method: str
    seed: int
    cell: str
    status: Literal["finished", "unfinished", "left out"]
    matched: str | None = None
    tolerance: float | None = None
    genotype: str | None = None
    params: int | None = None
    madds: int | None = None
    accuracy: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class StudyDocument:
    """study.json; ``about`` says in a sentence of what size everything is."""

    format: Literal["nas/study/1"] = "nas/study/1"
    about: str
    rows: tuple[StudyRow, ...]


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class CellsSummary:
    """The cells that an arm's searches have found, or its random cells. Errors are fractions of the test set.

    Args:
        n: cells.
        error: mean over the cells, each the mean of its trainings.
        deviation: over the cells (n − 1); None for one.
        trainings: of all cells together.
        training_deviation: within cells, over their trainings; None where each has one.
        interval: that holds the true mean error in 95 % of all cases.
        params, madds: means.
        device_hours: of the trainings, and of the searches if it is these.
        accuracies: a cell each.
        tolerance: the widest of random cells' multiply-adds.
        left_out: random cells for which there were too few to draw from.
    """

    name: str
    role: Role
    space: str
    method: str
    n: int
    error: float
    deviation: float | None
    trainings: int
    training_deviation: float | None
    interval: tuple[float, float] | None
    params: int
    madds: int
    device_hours: float
    accuracies: tuple[float, ...]
    tolerance: float | None = None
    left_out: int = 0


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class StudyDifference:
    """Of two means of cells' accuracies.

    Args:
        value: first − second.
        paired: by their searches' seeds.
        n: cells of the first and of the second.
        p, p_holm: probability of one as large by chance; corrected for the number of comparisons.
        seeds_needed: cells a side that would show it, were it and the spread true.
    """

    first: str
    second: str
    value: float
    interval: tuple[float, float] | None
    paired: bool
    n: tuple[int, int]
    p: float | None
    p_holm: float | None
    seeds_needed: int | None
    counts: bool
    verdict: str


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class StudySummary:
    """What a study came to: its result.json.

    Args:
        left_out: arms of which no random cell could be drawn.
    """

    about: str
    groups: tuple[CellsSummary, ...]
    differences: tuple[StudyDifference, ...]
    data: str
    recipe: str
    hardware: str
    seconds: float
    device_hours: float
    left_out: tuple[str, ...] = ()


ROLES: dict[Role, str] = {"retrain": "{}", "control": "random cells, {}"}
"""What the cells of an arm are called."""


def summarise(rows: Sequence[StudyRow]) -> list[CellsSummary]:
    """Per arm its found cells, then its random ones; those of which no training is finished are left out."""
    groups = []
    for arm, called in arms_of(rows).items():
        own = [row for row in rows if (row.space, row.method) == arm]
        for role, name in ROLES.items():
            if any(row.role == role and row.accuracy is not None for row in own):
                groups.append(_cells(name.format(called), role, own))
    return groups


def arms_of(rows: Sequence[StudyRow]) -> dict[tuple[str, str], str]:
    """(Space, method) of each arm, and what it is called: the method is named where there are several."""
    arms, several = dict.fromkeys((row.space, row.method) for row in rows), len({row.method for row in rows}) > 1
    return {(space, method): f"{space} by {method}" if several else space for space, method in arms}


def _cells(name: str, role: Role, rows: Sequence[StudyRow]) -> CellsSummary:
    """The summary of an arm's cells of one role."""
    rows_of: dict[str, list[StudyRow]] = {}
    for row in rows:
        if row.role == role and row.accuracy is not None:
            rows_of.setdefault(row.cell, []).append(row)
    by_cell = [[row.accuracy for row in own if row.accuracy is not None] for own in rows_of.values()]
    accuracies = tuple(statistics.fmean(own) for own in by_cell)
    bounds, firsts = interval(accuracies), [own[0] for own in rows_of.values()]
    spent = [row.seconds for row in rows if row.role == role or (role, row.role) == ("retrain", "search")]
    left_out = {row.cell for row in rows if row.role == role and row.status == "left out"}
    return CellsSummary(
        name=name,
        role=role,
        space=rows[0].space,
        method=rows[0].method,
        n=len(accuracies),
        error=1 - statistics.fmean(accuracies),
        deviation=deviation(accuracies),
        trainings=sum(map(len, by_cell)),
        training_deviation=pooled_deviation(by_cell),
        interval=bounds and (1 - bounds[1], 1 - bounds[0]),
        params=round(statistics.fmean([row.params or 0 for row in firsts])),
        madds=round(statistics.fmean([row.madds or 0 for row in firsts])),
        device_hours=round(sum(spent) / 3600, 4),
        accuracies=accuracies,
        tolerance=max((row.tolerance for row in firsts if row.tolerance is not None), default=None),
        left_out=len(left_out),
    )


def without_control(rows: Sequence[StudyRow]) -> tuple[str, ...]:
    """The arms whose random cells were all left out."""
    statuses: dict[str, set[str]] = {}
    for row in rows:
        if row.role == "control":
            statuses.setdefault(f"{row.space} by {row.method}", set()).add(row.status)
    return tuple(arm for arm, own in statuses.items() if own == {"left out"})


def differences(rows: Sequence[StudyRow]) -> list[StudyDifference]:
    """Each arm against its random cells, then the arms against one another, paired by the seeds they have in common."""
    groups = {(group.space, group.method, group.role): group for group in summarise(rows)}
    searches = [group for group in groups.values() if group.role == "retrain"]
    pairs: list[tuple[str, str, bool, tuple[int, int], Difference]] = []
    for one in searches:
        if control := groups.get((one.space, one.method, "control")):
            test = compare(one.accuracies, control.accuracies)
            pairs.append((one.name, "random cells", False, (one.n, control.n), test))
    for first, second in combinations(searches, 2):
        own, others = (_by_seed(rows, group) for group in (first, second))
        if seeds := sorted(own.keys() & others.keys()):
            test = compare_pairs([own[seed] for seed in seeds], [others[seed] for seed in seeds])
            pairs.append((first.name, second.name, True, (len(seeds), len(seeds)), test))
    by_holm = iter(holm([test.p for *_, test in pairs if test.p is not None]))
    return [_difference(*each, None if each[-1].p is None else next(by_holm), len(pairs)) for each in pairs]


def _by_seed(rows: Sequence[StudyRow], group: CellsSummary) -> dict[int, float]:
    """Mean accuracy of an arm's found cells by their searches' seeds."""
    own = [row for row in rows if (row.space, row.method) == (group.space, group.method)]
    seeds = {row.cell: row.seed for row in own if row.role == "search"}
    accuracies: dict[int, list[float]] = {}
    for row in own:
        if row.role == "retrain" and row.accuracy is not None:
            accuracies.setdefault(seeds[row.cell], []).append(row.accuracy)
    return {seed: statistics.fmean(values) for seed, values in accuracies.items()}


def _difference(
    first: str, second: str, paired: bool, n: tuple[int, int], test: Difference, p_holm: float | None, comparisons: int
) -> StudyDifference:
    counts = test.n >= FEWEST and p_holm is not None and p_holm < LEVEL
    return StudyDifference(
        first=first,
        second=second,
        value=test.value,
        interval=test.interval,
        paired=paired,
        n=n,
        p=test.p,
        p_holm=p_holm,
        seeds_needed=test.seeds_needed,
        counts=counts,
        verdict=verdict(first, second, paired, n, test, p_holm if comparisons > 1 else None, counts),
    )


def verdict(
    first: str, second: str, paired: bool, n: tuple[int, int], test: Difference, p_holm: float | None, counts: bool
) -> str:
    """A sentence that claims no more than the trainings allow."""
    size = f"n = {n[0]} pair{'s' if n[0] > 1 else ''}" if paired else f"n = {n[0]} + {n[1]}"
    half = f" ± {50 * (test.interval[1] - test.interval[0]):.2f}" if test.interval else ""
    chance = "" if test.p is None else f", p = {test.p:.2g}"
    chance += "" if test.p is None or p_holm is None else f", {p_holm:.2g} by Holm"
    facts = f"(difference {100 * test.value:.2f}{half} points, {size}{chance})"
    if counts:
        return f"{first} is {'better' if test.value > 0 else 'worse'} than {second} {facts}"
    line = f"{first}: not distinguishable from {second} {facts}"
    if test.n < FEWEST:
        return f"{line}; at least {FEWEST} {'pairs' if paired else 'cells a side'} are needed to say more"
    if test.seeds_needed and test.seeds_needed > test.n:
        seeds = f"{test.seeds_needed} {'pairs' if paired else 'seeds a side'}"
        line += f"; about {seeds} would show {abs(100 * test.value):.2f}"
    return line


def notes(summary: StudySummary) -> list[str]:
    """What belongs under the table: the verdicts, then what the figures are."""
    lines = [each.verdict for each in summary.differences]
    if len(lines) > 1:
        lines.append(
            f"a difference is called one where p, by Holm's correction for {len(lines)} comparisons, is < {LEVEL}"
        )
    few = [each.n[0] for each in summary.differences if each.paired and signed_rank_floor(each.n[0]) >= LEVEL]
    if few:
        floor = f"{signed_rank_floor(min(few)):.2g}"
        lines.append(
            f"{min(few)} pairs can never reach p < {LEVEL} in a signed-rank test, whose least p is then {floor}: "
            "pairs are held against Student's t, which takes their differences to be normal"
        )
    lines.append(
        "n counts cells, each the mean of its trainings; deviation (n − 1) and interval (Student's t) are over cells, "
        "their deviation is over the trainings of one cell"
    )
    for arm in summary.left_out:
        lines.append(f"random cells, {arm}: all left out, as too few cost as much as the found cell")
    for group in summary.groups:
        if group.tolerance and group.tolerance > 0.03:
            lines.append(f"{group.name}: too few within 3 % of the multiply-adds, drawn within {group.tolerance:.0%}")
        if group.left_out:
            lines.append(f"{group.name}: {group.left_out} left out, as too few cost as much as the found cell")
    return lines


def table(summary: StudySummary) -> Table:
    """A row for each arm's found cells and its random ones; one cell has neither deviation nor interval."""
    return Table.of("", COLUMNS, summary.groups)


def markdown(summary: StudySummary) -> str:
    """Table and notes as Markdown; the first line says of what size everything is."""
    said = [f"- {note}" for note in notes(summary)]
    return "\n".join([summary.about, "", table(summary).markdown(), "", *said, ""])
