"""Steps, epochs and whole searches on a GPU, in one call, with nothing but torch and what ``nas.settings`` needs.

    python -m benchmarks.gpu_search [--only 'darts 64 bf16*'] [--seconds 600] [--epochs 50] [--profile] [--data-root D]

Ways to compute the paper's search and the retraining of its cell, the most important first. Each one's figures are in
OUT.json as soon as it is measured, an error as its last line; called again it goes on with what is not there, or was
given up for lack of time. Images are random unless there are real ones. The first step has all that is done once
(plans, compilation, recording); a step's time is the median of several groups. A search is a run in the folder OUT.
"""

import argparse
import itertools
import os
import re
import shutil
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from rich.console import Console

from benchmarks.figures import EPOCHS, Figures, read, save, table
from benchmarks.meter import Call, Meter
from nas import data, files
from nas import space as spaces
from nas.bilevel.loop import Course, Step, search
from nas.bilevel.stages import Alphas
from nas.cells import genotype
from nas.cells.found import found_network
from nas.commands.workloads import DARTS_V2, Textbook
from nas.data.batches import Stream
from nas.data.cifar import MEAN_STD
from nas.data.dataset import Dataset, Split
from nas.execution import Execution
from nas.moment import Moment
from nas.presets import TRAIN_PRESETS, resolve, resolve_search
from nas.run.folder import Run
from nas.run.log import SearchEpoch
from nas.run.spec import SearchSpec, Size
from nas.settings import SearchSettings, TrainSettings
from nas.train.loop import augmentation_of
from nas.train.process_group import ProcessGroup
from nas.train.recipe import make_optimizer
from nas.train.start import load_data
from nas.train.step import TrainStep

GROUP = 4
KINDS = ("triton recorded", "textbook eager", "textbook recorded", "library recorded", "library eager")


@dataclass(frozen=True)
class Way:
    """A name, with the precision as its third word, and what measures; a whole search has all the time there is."""

    name: str
    measure: Callable[[], Figures]
    whole: bool = False


@dataclass(frozen=True)
class Bench:
    """What all ways have in common.

    Args:
        meter, execution: of where they run.
        folder: of runs and profiles.
        size: settings of every search; ``retrained``: of every retraining: channels, cells, batch.
        repeats: groups of steps.
        profile: whether the kernels of a step are written beside the document.
    """

    meter: Meter
    execution: Execution
    folder: Path
    size: dict[str, Any]
    retrained: tuple[int, int, int]
    repeats: int
    profile: bool

    def ways(self, epochs: int) -> Iterator[Way]:
        """All of them; the search has so many epochs, with 0 there is none."""
        steps, darts, both = self.search_ways, "darts", "darts+sandglass"
        yield from steps(darts, 64, "bf16", KINDS)
        yield self.epoch_way(darts, "bf16", "triton", 2)
        yield from steps(darts, 64, "tf32", KINDS)
        yield from self.retrain_ways("bf16")
        yield from steps(both, 64, "bf16", KINDS[:4])
        yield self.epoch_way(both, "bf16", "triton", 2)
        yield from steps(darts, 256, "bf16", KINDS[:4])
        yield from steps(darts, 64, "fp32", KINDS)
        yield from self.retrain_ways("tf32")
        yield from steps(both, 64, "tf32", KINDS[:4])
        yield from steps(darts, 256, "tf32", KINDS[:4])
        yield self.epoch_way(darts, "bf16", "library", 2)
        if epochs:
            yield self.epoch_way(darts, "bf16", "triton", epochs)

    def search_ways(self, space: str, batch: int, precision: str, kinds: tuple[str, ...]) -> Iterator[Way]:
        """Of a step of a search."""
        for kind in kinds:
            name = f"{space} {batch} {precision} {kind}"
            build = partial(self.search_step, space, batch, precision, *kind.split())
            yield Way(name, partial(self.measure_steps, name, build))

    def epoch_way(self, space: str, precision: str, backend: str, epochs: int) -> Way:
        """Of a search of a few epochs, evaluation included."""
        name = f"{space} 64 {precision} {backend} search of {epochs}"
        settings = self.settings(space, 64, precision, backend, epochs=epochs)
        return Way(name, partial(self.measure_search, name, settings, backend), whole=True)

    def retrain_ways(self, precision: str) -> Iterator[Way]:
        """Of a step of the retraining."""
        for kind in ("recorded", "eager"):
            name = f"retrain 96 {precision} {kind}"
            build = partial(self.retrain_step, precision, kind == "recorded")
            yield Way(name, partial(self.measure_steps, name, build))

    def settings(self, space: str, batch: int, precision: str, backend: str, **more: Any) -> SearchSettings:
        """Those of a search."""
        engine = "reference" if backend == "textbook" else "merged"
        own = {"space": space, "batch": batch, "engine": engine, "precision": "bf16" if precision == "bf16" else "fp32"}
        return resolve_search("paper", {**own, **self.size, **more})

    def execution_of(self, backend: str) -> Execution:
        """Where a search runs; a CPU has neither of the two back ends."""
        chosen = backend if backend != "textbook" and self.execution.device != "cpu" else "auto"
        return replace(self.execution, backend=chosen)

    def search_step(self, space: str, batch: int, precision: str, backend: str, kind: str) -> Call:
        """What ``nas search`` runs, or the textbook's step in the same loop."""
        settings = self.settings(space, batch, precision, backend)
        course = Course.of(settings, spaces.load(space), self.execution_of(backend), None)
        step = course.begin(course.plan[0], dict[int, Alphas]().__getitem__)
        if backend == "textbook":
            supernet = step.supernet.to(memory_format=torch.contiguous_format)
            step = Step(Textbook(supernet, settings, self.execution.device), *course.streams, step.stage)
        step.recordable = step.recordable and kind == "recorded"
        numbers = itertools.count()
        return lambda: step(Moment(0, epochs=settings.epochs, step=next(numbers)))

    def retrain_step(self, precision: str, recorded: bool) -> Call:
        """What ``nas retrain`` runs, of the cell of the paper's second order."""
        channels, cells, batch = self.retrained
        changes = {"precision": "bf16" if precision == "bf16" else "fp32", "batch": batch}
        settings = resolve(TrainSettings, TRAIN_PRESETS, "paper", changes)
        network = found_network(genotype.from_text(DARTS_V2), channels=channels, cells=cells, auxiliary=True)
        network.to(self.execution.device).to(memory_format=torch.channels_last).train()
        dataset = load_data(settings, self.execution, self.execution.device)
        stream = Stream(dataset.train, augmentation_of(dataset, settings, self.execution.device), batch, 0)
        group, optimizer = ProcessGroup(batch, 1), make_optimizer(network, settings)
        step = TrainStep(network, optimizer, None, stream, settings, self.execution.device, group)
        step.recordable = step.recordable and recorded
        numbers = itertools.count()
        return lambda: step(settings.epochs // 2, next(numbers))

    def measure_steps(self, name: str, build: Callable[[], Call]) -> Figures:
        """The first step, the median of the later ones, one step's kernels."""
        base = self.meter.memory()
        step = build()
        first = self.meter.seconds(step)
        self.meter.seconds(step, GROUP)
        median = statistics.median(self.meter.seconds(step, GROUP) / GROUP for _ in range(self.repeats))
        peak = self.meter.peak() - base
        kernels = self.meter.kernels(step)
        if self.profile:
            path = self.folder / f"{folder_of(name)}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write(path, "\n".join(map(str, kernels[:60])) + "\n")
        return Figures(first, median, sum(each.count for each in kernels if not each.copies), peak)

    def measure_search(self, name: str, settings: SearchSettings, backend: str) -> Figures:
        """A real search's last epoch, and the time of all; its run stays."""
        execution, base = self.execution_of(backend), self.meter.memory()
        spec = SearchSpec(settings=settings, execution=execution, final=Size(36, 20))
        run = Run(self.folder).child(folder_of(name), spec)
        started = time.perf_counter()
        search(run, settings, spaces.load(settings.space), execution)
        log = run.log(SearchEpoch)
        before = time.perf_counter() - started - sum(entry.seconds for entry in log)
        whole = sum(entry.seconds for entry in log) if settings.epochs == EPOCHS else None
        return Figures(max(0.0, before), peak=self.meter.peak() - base, epoch=log[-1].seconds, search=whole)


def folder_of(name: str) -> str:
    """The name without blanks."""
    return re.sub(r"\W+", "-", name)


def random_images(device: str, count: int) -> Dataset:
    """Noise in CIFAR-10's shape, ``count`` training images and a fifth as many of the test's."""
    stream = torch.Generator().manual_seed(0)

    def split(size: int) -> Split:
        images = torch.randint(256, (size, 3, 32, 32), generator=stream, dtype=torch.uint8)
        return Split(images.to(device), torch.randint(10, (size,), generator=stream).to(device))

    classes = tuple(map(str, range(10)))
    return Dataset("random", classes, split(count), split(count // 5), *MEAN_STD["cifar10"])


def measured(way: Way, seconds: float) -> Figures:
    """A way's figures, or the error that it ended in; it has so many seconds."""

    def give_up(*_: object) -> None:
        raise TimeoutError(f"given up after {seconds:.0f} s")

    exact = way.name.split()[2] == "fp32"
    torch.set_float32_matmul_precision("highest" if exact else "high")
    torch.backends.cudnn.allow_tf32 = not exact
    torch.backends.cudnn.benchmark = "textbook" in way.name  # as the published code
    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return way.measure()
    except Exception as error:
        last = (str(error).strip().splitlines() or [""])[-1]
        return Figures(error=f"{type(error).__name__}: {last}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def begin_anew(seconds: float) -> None:
    """The same in a new process, as an error of the device's stays with this one."""
    command = [sys.executable, "-m", "benchmarks.gpu_search", *sys.argv[1:], "--no-again", "--seconds", str(seconds)]
    os.execv(sys.executable, command)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, help="real images: the folder of CIFAR-10")
    parser.add_argument("--out", type=Path, default=Path("gpu_search.json"))
    parser.add_argument("--only", default="*", help="ways whose names this pattern fits")
    parser.add_argument(
        "--again", action=argparse.BooleanOptionalAction, default=False, help="also those that are there"
    )
    parser.add_argument("--seconds", type=float, default=1e6, help="after which no way is begun")
    parser.add_argument("--patience", type=float, default=400.0, help="seconds that a step's way has")
    parser.add_argument("--repeats", type=int, default=5, help=f"groups of {GROUP} steps")
    parser.add_argument("--epochs", type=int, default=0, help=f"of a whole search, the last way: {EPOCHS}; 0: none")
    parser.add_argument("--profile", action="store_true", help="write the kernels of a step of each way")
    parser.add_argument("--smoke", action="store_true", help="very small, on a CPU")
    given = parser.parse_args()
    if not given.smoke and not torch.cuda.is_available():
        parser.error("there is no GPU here; --smoke runs a very small version on the CPU")
    return given


def main() -> None:
    """Measures what is not there yet, and prints all."""
    given, started = arguments(), time.monotonic()
    meter, folder = Meter("cpu" if given.smoke else "cuda"), given.out.with_suffix("")
    size, retrained = ({"channels": 4, "cells": 1, "batch": 4}, (4, 3, 4)) if given.smoke else ({}, (36, 20, 96))
    execution = Execution(meter.device, data_root=given.data_root)
    bench = Bench(meter, execution, folder, size, retrained, given.repeats, given.profile)
    ways = [way for way in bench.ways(given.epochs) if fnmatch(way.name, given.only)]
    found = read(given.out)
    for way in ways if given.again else ():
        found.pop(way.name, None)
        shutil.rmtree(folder / folder_of(way.name), ignore_errors=True)
    images = None if given.data_root else random_images(meter.device, 40 if given.smoke else 50_000)
    with mock.patch.object(data, "load", lambda *_, **__: images) if images else nullcontext():
        for way in ways:
            left = given.seconds - (time.monotonic() - started)
            if left <= 0 or (way.name in found and found[way.name].final):
                continue
            found[way.name] = measured(way, left if way.whole else min(left, given.patience))
            print(way.name, found[way.name], flush=True)
            save(given.out, found)
            try:
                meter.synchronise()
            except RuntimeError:
                begin_anew(left)
    Console(width=130).print(table(found))


if __name__ == "__main__":
    main()
