"""The search step on a GPU, in one call of under ten minutes: the textbook's way, the merged engine, and that recorded.

    python benchmarks/gpu_search.py --data-root DATA --out results.json

For each way: median seconds of a whole first-order step, peak memory, and the 50 epochs of the paper's search (390
steps each) that this makes; then the recorded step against the same unrecorded one: their losses side by side. With
--smoke it runs everything very small, on a CPU where there is no GPU.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from nas import space as spaces
from nas.bilevel.loop import Course, Step
from nas.bilevel.stages import Alphas
from nas.commands import bench
from nas.execution import Execution
from nas.moment import Moment
from nas.run.environment import environment
from nas.settings import SearchSettings

PAPER_STEPS = 50 * 390


def search_step(settings: SearchSettings, root: Path | None, device: str, *, recorded: bool) -> Step:
    """What ``nas search`` runs, on real images."""
    course = Course.of(settings, spaces.load(settings.space), Execution(device, None, root), None)
    step = course.begin(course.plan[0], dict[int, Alphas]().__getitem__)
    step.recordable = step.recordable and recorded
    return step


def timed(step: Callable[[], Any], device: str, repeats: int) -> dict[str, float]:
    """Median seconds of a step and peak memory, after three that warm up."""
    for _ in range(3):
        step()
    synchronise(device)
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        step()
        synchronise(device)
        seconds.append(time.perf_counter() - begun)
    median = statistics.median(seconds)
    peak = torch.cuda.max_memory_allocated() if device != "cpu" else 0
    return {"seconds": median, "paper_search_minutes": median * PAPER_STEPS / 60, "peak_bytes": peak}


def synchronise(device: str) -> None:
    """Waits for the GPU, if there is one."""
    if device != "cpu":
        torch.cuda.synchronize()


def forget(device: str) -> None:
    """Frees what the last way held."""
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def ways(size: dict[str, Any], root: Path | None, device: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each way as a step to call."""
    sizes = {name: size[name] for name in ("batch", "channels", "cells")}
    for space in ("darts", "darts+sandglass"):
        workload = bench.Workload(space=space, device=device, **sizes)
        for way in ("reference", "reference-lean"):
            yield f"{space} {way}", bench.build(workload, way)
        for precision in ("fp32", "bf16"):
            settings = SearchSettings(space=space, precision=precision, **size)
            for recorded in (False, True):
                made, numbers = search_step(settings, root, device, recorded=recorded), iter(range(10**9))
                name = f"{space} merged {precision}{' recorded' if made.recordable else ''}"
                yield name, lambda made=made, numbers=numbers: made(Moment(0, step=next(numbers)))
                del made  # before the next way's memory is measured


def agreement(size: dict[str, Any], root: Path | None, device: str) -> list[list[float]]:
    """Losses of the first steps, recorded and not."""
    settings = SearchSettings(space="darts+sandglass", **size)
    pair = [search_step(settings, root, device, recorded=recorded) for recorded in (True, False)]
    return [[float(each(Moment(0, step=number))[0]) for each in pair] for number in range(5)]


def main() -> None:
    """Measures and writes one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("gpu_search.json"))
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--smoke", action="store_true", help="very small, on digits")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not given.smoke:
        parser.error("there is no GPU here; --smoke runs a very small version on the CPU")
    size: dict[str, Any] = {"data": "cifar10", "batch": 64, "channels": 16, "cells": 8}
    if given.smoke:
        size = {"data": "digits", "batch": 4, "channels": 4, "cells": 3}
    torch.set_float32_matmul_precision("high")
    found: dict[str, Any] = {}
    for name, step in ways(size, given.data_root, device):
        found[name] = timed(step, device, 2 if given.smoke else given.repeats)
        print(name, found[name], flush=True)
        del step
        forget(device)
    for space in ("darts", "darts+sandglass"):
        best = min(value["seconds"] for name, value in found.items() if name.startswith(f"{space} merged"))
        found[f"{space} speedup"] = found[f"{space} reference"]["seconds"] / best
    document = {"size": size, "ways": found, "losses_recorded_and_not": agreement(size, given.data_root, device)}
    given.out.write_text(json.dumps({**document, "environment": environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
