"""Time and memory of the merged search step against batch, channels, cells, operations and threads, one at a time.

    python benchmarks/scale.py --threads 2 --out benchmarks/results/DATE-scale-cpu

writes OUT.json, OUT.md and OUT.png. Each point is a process of its own, as in ``nas bench``. All points are measured in
rounds, and each one's fastest counts. What needs more than the free memory is not run; its need is extrapolated from
smaller batches, along which memory grows linearly.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from nas.commands.bench import Point, measure
from nas.commands.workloads import Workload
from nas.run.documents import as_json
from nas.run.environment import environment
from nas.train.preflight import free_memory

OPERATIONS = {8: "darts", 9: "darts+sandglass", 10: "darts+sandglass+ir", 11: "darts+sandglass+ir+asymmetric"}
OPERATIONS[12] = OPERATIONS[11] + "+harmonious"
FACTORS: dict[str, list[Any]] = {
    "batch": [16, 64, 256],
    "channels": [16, 36],
    "cells": [8, 20],
    "space": list(OPERATIONS.values()),
    "threads": [2**power for power in range((os.cpu_count() or 1).bit_length())],
}


@dataclass(frozen=True)
class Row:
    """A factor at a value: what was measured, in its fastest round; without ``seconds`` its bytes are extrapolated."""

    factor: str
    value: Any
    seconds: float | None
    bytes: float


def rows(base: Workload, rounds: int, factors: Sequence[str]) -> list[Row]:
    """A row a point."""
    points = [(factor, value) for factor in factors for value in FACTORS[factor]]
    workloads = [replace(base, **{factor: value}) for factor, value in points]
    every = list(dict.fromkeys([base, *workloads]))
    needs = {workload: extrapolated(workload) for workload in every}
    fitting = [workload for workload in every if needs[workload] < 0.85 * free_memory("cpu")]
    runs = [{workload: said(workload) for workload in fitting} for _ in range(rounds)]
    fastest = {workload: min((run[workload] for run in runs), key=attrgetter("seconds")) for workload in fitting}

    def row(factor: str, value: Any, workload: Workload) -> Row:
        point = fastest.get(workload)
        return Row(factor, value, point and point.seconds, point.bytes if point else needs[workload])

    pairs = zip(points, workloads, strict=True)
    return [row("base", "", base), *(row(factor, value, workload) for (factor, value), workload in pairs)]


def extrapolated(workload: Workload) -> float:
    """Bytes it would need: a line through batches 8 and 16."""
    small, twice = (said(replace(workload, batch=batch)).bytes for batch in (8, 16))
    return small + (twice - small) / 8 * (workload.batch - 8)


def said(workload: Workload) -> Point:
    """The measurement, which is told on stderr."""
    point = measure(workload, "merged")
    print(workload, f"{workload.threads} threads:", point, file=sys.stderr, flush=True)
    return point


def table(found: Sequence[Row], told: dict[str, Any]) -> str:
    """The rows in Markdown, against the first."""
    lines = ["| factor | value | seconds a step | of the base | peak GiB | of the base |", "|---|---|---|---|---|---|"]
    base = found[0]
    for row in found:
        seconds = f"{row.seconds:.2f}" if row.seconds else "does not fit"
        ratio = f"{row.seconds / base.seconds:.2f}" if row.seconds and base.seconds else "–"
        memory = f"{row.bytes / 2**30:.2f}" + ("" if row.seconds else " (extrapolated)")
        share = f"{row.bytes / base.bytes:.2f}"
        lines.append(f"| {row.factor} | {row.value} | {seconds} | {ratio} | {memory} | {share} |")
    head = f"# Merged search step: time and memory\n\n{told['hardware']}, {told['time']}; base: {told['base']}, "
    head += f"{told['threads']} threads; torch {told['versions']['torch']}; the fastest of {told['rounds']} rounds.\n\n"
    return head + "\n".join(lines) + "\n"


def growth(found: Sequence[Row]) -> str:
    """What grows how: the power of the factor, from its least to its greatest value that was run."""
    lines = []
    for factor in ("batch", "channels", "cells", "threads"):
        run = [(row.value, row.seconds, row.bytes) for row in found if row.factor == factor and row.seconds]
        if len(run) < 2:
            continue
        (low, *least), (high, *most) = run[0], run[-1]
        powers = [math.log(after / before) / math.log(high / low) for before, after in zip(least, most, strict=True)]
        span = f"{low} to {high}"
        lines.append(f"- {factor}, {span}: time ~ {factor}^{powers[0]:.2f}, memory ~ {factor}^{powers[1]:.2f}")
    return "\n## What grows how\n\n" + "\n".join(lines) + "\n"


def plot(found: Sequence[Row], out: Path) -> None:
    """Seconds and memory, a column a factor."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    factors = list(dict.fromkeys(row.factor for row in found[1:]))
    figure, axes = pyplot.subplots(
        2, len(factors), figsize=(2.5 * len(factors), 5), sharey="row", layout="constrained", squeeze=False
    )
    for column, factor in enumerate(factors):
        mine = [row for row in found if row.factor == factor]
        labels = [str(row.value.count("+") + 8 if factor == "space" else row.value) for row in mine]
        axes[0, column].bar(labels, [row.seconds or 0 for row in mine], color="tab:blue")
        colours = ["tab:blue" if row.seconds else "lightgrey" for row in mine]
        axes[1, column].bar(labels, [row.bytes / 2**30 for row in mine], color=colours)
        axes[1, column].set_xlabel("operations" if factor == "space" else factor)
    axes[0, 0].set_ylabel("seconds a step")
    axes[1, 0].set_ylabel("peak GiB (grey: extrapolated)")
    figure.savefig(out, dpi=110)


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factors", default=",".join(FACTORS), help="those to measure")
    for name in ("batch", "channels", "cells", "threads"):
        parser.add_argument(f"--{name}", type=int, default={"threads": 2}.get(name, getattr(Workload, name)))
    parser.add_argument("--rounds", type=int, default=2, help="each point's fastest counts: other work only slows")
    parser.add_argument("--out", type=Path, default=Path("scale"))
    given = parser.parse_args()
    base = Workload(batch=given.batch, channels=given.channels, cells=given.cells, threads=given.threads)
    found = rows(base, given.rounds, given.factors.split(","))
    told = {**as_json(environment()), "base": str(base), "threads": given.threads, "rounds": given.rounds}
    document = {"environment": told, "rows": [asdict(row) for row in found]}
    given.out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    given.out.with_suffix(".md").write_text(table(found, told) + growth(found))
    plot(found, given.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
