"""Time and memory of the merged search step against batch, channels, cells and operations, one factor at a time.

    python benchmarks/scale.py --threads 2 --out benchmarks/results/DATE-scale-cpu

writes OUT.json, OUT.md and OUT.png. Each point is a process of its own: four steps, the median of the last three. What
needs more than the free memory is not run; its need is extrapolated from smaller batches, along which memory grows
linearly.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nas.bench import Workload, build, start, timed
from nas.run import environment

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
    return dict(json.loads(found.stdout))


def point(workload: Workload) -> dict[str, float]:
    """The measurement, in this process."""
    start(workload)
    step = build(workload, "merged")
    step()
    seconds = statistics.median(timed(step, workload.device) for _ in range(3))
    return {"seconds": seconds, "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def extrapolated(workload: Workload) -> float:
    """Bytes it would need: a line through batches 8 and 16."""
    small, twice = (measure(replace(workload, batch=batch))["bytes"] for batch in (8, 16))
    return small + (twice - small) / 8 * (workload.batch - 8)


def rows(threads: int) -> list[dict[str, Any]]:
    """A row a point: the factor and its value, and what was measured or extrapolated."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    base, found, known = Workload(threads=threads), [], {}
    for factor, values in FACTORS.items():
        for value in values:
            workload = replace(base, **{factor: value})
            if workload not in known:
                need = extrapolated(workload)
                known[workload] = measure(workload) if need < 0.85 * free else {"seconds": None, "bytes": need}
            found.append({"factor": factor, "value": value, **known[workload]})
            print(found[-1], file=sys.stderr, flush=True)
    return found


def table(found: list[dict[str, Any]], told: dict[str, Any]) -> str:
    """The rows in Markdown, against the point (64, 16, 8, darts)."""
    lines = ["| factor | value | seconds a step | of the base | peak GiB | of the base |", "|---|---|---|---|---|---|"]
    base = next(row for row in found if row["factor"] == "batch" and row["value"] == 64)
    for row in found:
        fits = row["seconds"] is not None
        seconds = f"{row['seconds']:.2f}" if fits else "does not fit"
        ratio = f"{row['seconds'] / base['seconds']:.2f}" if fits else "–"
        memory = f"{row['bytes'] / 2**30:.2f}" + ("" if fits else " (extrapolated)")
        share = f"{row['bytes'] / base['bytes']:.2f}"
        lines.append(f"| {row['factor']} | {row['value']} | {seconds} | {ratio} | {memory} | {share} |")
    head = f"# Merged search step: what grows how\n\n{told['hardware']}, {told['threads']} threads, {told['time']}; "
    return head + f"torch {told['versions']['torch']}; median of 3 steps a point.\n\n" + "\n".join(lines) + "\n"


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
    parser.add_argument("--out", type=Path, default=Path("scale"))
    given = parser.parse_args()
    if given.point:
        print(json.dumps(point(Workload(**json.loads(given.point)))))
        return
    found, told = rows(given.threads), {**environment(), "threads": given.threads}
    given.out.with_suffix(".json").write_text(json.dumps({"environment": told, "rows": found}, indent=1) + "\n")
    given.out.with_suffix(".md").write_text(table(found, told))
    plot(found, given.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
