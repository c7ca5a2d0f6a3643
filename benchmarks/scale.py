"""Time and memory of the merged search step against batch, channels, cells and operations, one factor at a time.

    python benchmarks/scale.py --threads 2 --out benchmarks/results/DATE-scale-cpu

writes OUT.json, OUT.md and OUT.png. Each point is a process of its own: four steps, the median of the last three. All
points are measured in rounds, and each one's fastest counts. What needs more than the free memory is not run; its need
is extrapolated from smaller batches, along which memory grows linearly.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from nas.commands.bench import Workload, build, start, timed
from nas.run.environment import environment
from nas.train.preflight import peak

OPERATIONS = {8: "darts", 9: "darts+sandglass", 10: "darts+sandglass+ir", 11: "darts+sandglass+ir+asymmetric"}
OPERATIONS[12] = OPERATIONS[11] + "+harmonious"
FACTORS: dict[str, list[Any]] = {
    "batch": [16, 64, 256],
    "channels": [16, 36],
    "cells": [8, 20],
    "space": list(OPERATIONS.values()),
}


def measure(workload: Workload) -> dict[str, float]:
    """Seconds of a step and the peak memory of its process, in bytes."""
    command = [sys.executable, __file__, "--point", json.dumps(asdict(workload))]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    print(workload, found.stdout.strip(), file=sys.stderr, flush=True)
    return dict(json.loads(found.stdout))


def point(workload: Workload) -> dict[str, float]:
    """The measurement, in this process."""
    start(workload)
    step = build(workload, "merged")
    step()
    seconds = statistics.median(timed(step, workload.device) for _ in range(3))
    return {"seconds": seconds, "bytes": peak(workload.device)}


def extrapolated(workload: Workload) -> float:
    """Bytes it would need: a line through batches 8 and 16."""
    small, twice = (measure(replace(workload, batch=batch))["bytes"] for batch in (8, 16))
    return small + (twice - small) / 8 * (workload.batch - 8)


def rows(threads: int, rounds: int) -> list[dict[str, Any]]:
    """A row a point: the factor and its value, and what was measured, in its fastest round, or extrapolated."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    points = [(factor, value) for factor, values in FACTORS.items() for value in values]
    workloads = [replace(Workload(threads=threads), **{factor: value}) for factor, value in points]
    needs = {workload: extrapolated(workload) for workload in dict.fromkeys(workloads)}
    fitting = [workload for workload, need in needs.items() if need < 0.85 * free]
    runs = [{workload: measure(workload) for workload in fitting} for _ in range(rounds)]
    fastest = {workload: min((run[workload] for run in runs), key=itemgetter("seconds")) for workload in fitting}
    return [
        {"factor": factor, "value": value, **fastest.get(workload, {"seconds": None, "bytes": needs[workload]})}
        for (factor, value), workload in zip(points, workloads, strict=True)
    ]


def table(found: list[dict[str, Any]], told: dict[str, Any]) -> str:
    """The rows in Markdown, against the point (64, 16, 8, darts)."""
    lines = ["| factor | value | seconds a step | of the base | peak GiB | of the base |", "|---|---|---|---|---|---|"]
    base = next(row for row in found if row["factor"] == "batch" and row["value"] == 64)
    for row in found:
        fits = row["seconds"] is not None
        seconds = f"{row['seconds']:.2f}" if fits else "does not fit"
        ratio = f"{row['seconds'] / base['seconds']:.2f}" if fits and base["seconds"] else "–"
        memory = f"{row['bytes'] / 2**30:.2f}" + ("" if fits else " (extrapolated)")
        share = f"{row['bytes'] / base['bytes']:.2f}"
        lines.append(f"| {row['factor']} | {row['value']} | {seconds} | {ratio} | {memory} | {share} |")
    head = f"# Merged search step: time and memory\n\n{told['hardware']}, {told['threads']} threads, {told['time']}; "
    head += f"torch {told['versions']['torch']}; median of 3 steps a point, the fastest of {told['rounds']} rounds.\n\n"
    return head + "\n".join(lines) + "\n"


def growth(found: list[dict[str, Any]]) -> str:
    """What grows how: the power of the factor, from its least to its greatest value that was run."""
    lines = []
    for factor in ("batch", "channels", "cells"):
        run = [row for row in found if row["factor"] == factor and row["seconds"] is not None]
        if len(run) < 2:
            continue
        wider = math.log(run[-1]["value"] / run[0]["value"])
        powers = [math.log(run[-1][what] / run[0][what]) / wider for what in ("seconds", "bytes")]
        span = f"{run[0]['value']} to {run[-1]['value']}"
        lines.append(f"- {factor}, {span}: time ~ {factor}^{powers[0]:.2f}, memory ~ {factor}^{powers[1]:.2f}")
    return "\n## What grows how\n\n" + "\n".join(lines) + "\n"


def plot(found: list[dict[str, Any]], out: Path) -> None:
    """Seconds and memory, a column a factor."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(FACTORS), figsize=(12, 5), sharey="row", layout="constrained")
    for column, factor in enumerate(FACTORS):
        mine = [row for row in found if row["factor"] == factor]
        labels = [str(row["value"].count("+") + 8 if factor == "space" else row["value"]) for row in mine]
        axes[0, column].bar(labels, [row["seconds"] or 0 for row in mine], color="tab:blue")
        colours = ["tab:blue" if row["seconds"] else "lightgrey" for row in mine]
        axes[1, column].bar(labels, [row["bytes"] / 2**30 for row in mine], color=colours)
        axes[1, column].set_xlabel("operations" if factor == "space" else factor)
    axes[0, 0].set_ylabel("seconds a step")
    axes[1, 0].set_ylabel("peak GiB (grey: extrapolated)")
    figure.savefig(out, dpi=110)


def main() -> None:
    """Measures, or is one of the measuring processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--point", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2, help="each point's fastest counts: other work only slows")
    parser.add_argument("--out", type=Path, default=Path("scale"))
    given = parser.parse_args()
    if given.point:
        print(json.dumps(point(Workload(**json.loads(given.point)))))
        return
    found = rows(given.threads, given.rounds)
    told = {**environment(), "threads": given.threads, "rounds": given.rounds}
    given.out.with_suffix(".json").write_text(json.dumps({"environment": told, "rows": found}, indent=1) + "\n")
    given.out.with_suffix(".md").write_text(table(found, told) + growth(found))
    plot(found, given.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
