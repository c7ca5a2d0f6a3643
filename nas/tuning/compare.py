"""Winners trained anew with several seeds: means, intervals, and which differences are more than noise."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.reports.statistics import interval, welch
from nas.run.folder import Run


def compare(folder: Path, winners: Sequence[tuple[int, str, str]], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Per budget the winners' test accuracies and half of their 95 % interval, best first, each against the first.

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
        ends = interval(values)
        rows.append({**told, "test_accuracy": mean, "interval": (ends[1] - ends[0]) / 2 if ends else None})
    rows.sort(key=lambda row: (row["budget"], -row["test_accuracy"]))
    for row in rows:
        leader = next(other for other in rows if other["budget"] == row["budget"])
        row["p_against_first"] = None if row is leader else welch(leader["test_accuracies"], row["test_accuracies"])
    return rows
