"""Winners trained anew with several seeds: means, intervals, and which differences are more than noise."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.run import Run

LEVEL = 0.05
"""Two-sided."""


def interval(values: Sequence[float]) -> float | None:
    """Half of the 95 % interval of the mean, by Student's t; None for a single value."""
    from scipy import stats

    if len(values) < 2:
        return None
    spread = statistics.stdev(values) / len(values) ** 0.5
    return float(stats.t.ppf(1 - LEVEL / 2, len(values) - 1) * spread)


def welch(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Two-sided p of two means' difference (Welch, 1947); None where either is a single value or both are constant."""
    from scipy import stats

    if min(len(first), len(second)) < 2 or len({*first}) == len({*second}) == 1:
        return None
    return float(stats.ttest_ind(first, second, equal_var=False).pvalue)


def compare(folder: Path, winners: Sequence[tuple[int, str, str]], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Per budget the winners' test accuracies, best mean first, each held against the first.

    Args:
        folder: of the last trainings.
        winners: (budget, space, label) each.
        seeds: those trained; none: nothing to compare.
    """
    rows: list[dict[str, Any]] = []
    for budget, space, name in winners if seeds else []:
        values = [Run(folder / f"{name}-s{seed}").result["test_accuracy"] for seed in seeds]
        mean = statistics.fmean(values)
        told = {"budget": budget, "space": space, "seeds": list(seeds), "n": len(seeds), "test_accuracies": values}
        rows.append({**told, "test_accuracy": mean, "interval": interval(values)})
    rows.sort(key=lambda row: (row["budget"], -row["test_accuracy"]))
    for row in rows:
        leader = next(other for other in rows if other["budget"] == row["budget"])
        row["p_against_first"] = None if row is leader else welch(leader["test_accuracies"], row["test_accuracies"])
    return rows
