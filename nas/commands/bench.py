"""Speed and memory of a search or training step against the textbook's way, measured in one run.

Memory first, one process a way, never two alive; then time, the ways taking turns, so that a disturbance of the machine
meets all of them.
"""

import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn

from nas.bilevel.build import build_supernet
from nas.bilevel.gradients import Learner
from nas.bilevel.stages import stages
from nas.blocks.grids import without_grids
from nas.cells import genotype
from nas.cells.found import found_network
from nas.errors import UsageError, nearest
from nas.methods import METHODS
from nas.moment import Moment
from nas.run.environment import environment
from nas.settings import TrainSettings, resolve_search
from nas.space import load
from nas.train.preflight import peak
from nas.train.recipe import make_optimizer
from nas.train.step import Batch, train_step

Step = Callable[[], None]
LEAN = "reference-lean"

SEARCH_WAYS = {
    "merged": "the merged engine",
    "reference": "the textbook: a module per operation, contiguous memory, all gradients in both steps",
    "reference-lean": "the same in channels-last memory, alpha gradients alone in the alpha step",
    "merged-recompute": "the merged engine; of each cell only the inputs are kept for the backward pass",
    **{method: f"the merged engine, --method {method}" for method in METHODS if method != "darts"},
}
SEARCH_CHANGES: dict[str, dict[str, Any]] = {
    "merged": {},
    "reference": {"engine": "reference"},
    "reference-lean": {"engine": "reference"},
    "merged-recompute": {"recompute": True},
}
RETRAIN_WAYS = {
    "ours": "channels-last memory, dilated convolutions on half-resolution grids",
    "plain": "the published network in contiguous memory",
}


@dataclass(frozen=True)
class Workload:
    """What is measured.

    Args:
        what: "search": a first-order step, alphas and weights; "retrain": a training step of DARTS_V2's network.
        space: of a search.
        size: of the images, in pixels.
        device: "cpu" or "cuda".
        threads: CPU threads; None: torch's choice.
    """

    what: Literal["search", "retrain"] = "search"
    space: str = "darts"
    batch: int = 64
    channels: int = 16
    cells: int = 8
    size: int = 32
    device: str = "cpu"
    threads: int | None = None


def build(workload: Workload, way: str) -> Step:
    """One step done that way, on random images; the same weights and images for every way."""
    torch.manual_seed(0)
    images = torch.randn(workload.batch, 3, workload.size, workload.size, device=workload.device)
    labels = torch.randint(10, (workload.batch,), device=workload.device)
    step = search_step if workload.what == "search" else training_step
    return step(workload, way, (images, labels))


def search_step(workload: Workload, way: str, batch: Batch) -> Step:
    """One whole first-order step: Adam on the alphas, then SGD on the weights."""
    size = {"channels": workload.channels, "cells": workload.cells}
    settings = stages(resolve_search("paper", {**size, **SEARCH_CHANGES.get(way, {"method": way})}))[0].settings
    supernet = build_supernet(settings, load(workload.space), 10).to(workload.device)
    learner = Learner(supernet, settings, workload.device)
    steps = itertools.count()
    batch = layout(supernet, batch, way != "reference")

    def lean() -> None:
        learner.step(Moment(0, epoch=25, epochs=50, step=next(steps)), batch, batch)

    def textbook() -> None:
        for optimizer in (learner.alpha_optimizer, learner.weight_optimizer):
            supernet.zero_grad()
            learner.loss(batch)[0].backward()
            if optimizer is learner.weight_optimizer:
                nn.utils.clip_grad_norm_(learner.weights, learner.settings.clip)
            optimizer.step()

    return textbook if way == "reference" else lean


def training_step(workload: Workload, way: str, batch: Batch) -> Step:
    """One SGD step of the network of the paper's second-order cell, auxiliary head included."""
    cell = genotype.from_text(DARTS_V2)
    network: nn.Module = found_network(cell, channels=workload.channels, cells=workload.cells, auxiliary=True)
    network = (network if way == "ours" else without_grids(network)).to(workload.device)
    batch, settings = layout(network, batch, way == "ours"), TrainSettings()
    optimizer = make_optimizer(network, settings)

    def step() -> None:
        train_step(network, optimizer, batch, settings, workload.device)

    return step


def layout(network: nn.Module, batch: Batch, channels_last: bool) -> Batch:
    """Network and images in channels-last memory, or as they are."""
    if not channels_last:
        return batch
    network.to(memory_format=torch.channels_last)
    return batch[0].contiguous(memory_format=torch.channels_last), batch[1]


def timed(step: Step, device: str) -> float:
    """Seconds of one step."""
    started = time.perf_counter()
    step()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def peak_memory(workload: Workload, way: str) -> int:
    """Bytes of the process (on a GPU, of the device) at its highest, in a process of its own."""
    command = [sys.executable, "-m", "nas.commands.bench", way, json.dumps(asdict(workload))]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode != 0:
        last = (process.stderr.strip().splitlines() or ["killed"])[-1]
        _, mistake, said = last.partition("UsageError: ")
        if mistake:
            raise UsageError(said)
        raise UsageError(f"bench: the {way} step did not run ({last}); does batch {workload.batch} fit the memory?")
    return int(process.stdout.split()[-1])


def _peak_of_this_process(workload: Workload, way: str) -> int:
    start(workload)
    step = build(workload, way)
    for _ in range(2):
        step()
    return peak(workload.device)


def start(workload: Workload) -> None:
    if workload.threads is not None:
        torch.set_num_threads(workload.threads)


def check(workload: Workload, engine: str, against: str) -> None:
    """Raises UsageError for an unknown way or space."""
    known = SEARCH_WAYS if workload.what == "search" else RETRAIN_WAYS
    for way in (engine, against):
        if way not in known:
            raise UsageError(f'bench {workload.what}: "{way}": {nearest(way, list(known))}')
    if workload.what == "search":
        load(workload.space)


@dataclass(frozen=True)
class Measurement:
    """Steps done in several ways, measured in one run; the first way is held against the second.

    Args:
        speedup: seconds of ``against`` over those of ``engine``; memory_ratio: bytes of ``engine`` over the other's.
        seconds: median of a step, by way; ``all_seconds`` each of them.
        peak_bytes: of a process of its own, by way.
        speedup_lean, memory_ratio_lean: the same against the textbook with lean gradients, where it was measured.
    """

    engine: str
    against: str
    workload: Workload
    speedup: float
    memory_ratio: float
    seconds: dict[str, float]
    all_seconds: dict[str, list[float]]
    peak_bytes: dict[str, int]
    repeats: int
    environment: dict[str, Any]
    speedup_lean: float | None = None
    memory_ratio_lean: float | None = None

    @property
    def images_per_second(self) -> dict[str, float]:
        """By way."""
        return {way: self.workload.batch / seconds for way, seconds in self.seconds.items()}


def compare(workload: Workload, engine: str, against: str, repeats: int = 3) -> Measurement:
    """Medians of ``repeats`` steps (after one that warms up) and peak memory of each way, and their ratios.

    Args:
        engine: the way whose advantage is asked; ``against``: the other. The textbook in channels-last memory and with
            lean gradients is measured as well where ``against`` is the textbook.

    Raises:
        UsageError: an unknown way, or one that does not fit the memory.
    """
    check(workload, engine, against)
    ways = list(dict.fromkeys([engine, against, *([LEAN] if against == "reference" else [])]))
    start(workload)
    memory = {way: peak_memory(workload, way) for way in ways}
    steps = {way: build(workload, way) for way in ways}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(repeats + 1):
        for way, step in steps.items():
            taken = timed(step, workload.device)
            if turn:
                seconds[way].append(taken)
    medians = {way: statistics.median(seconds[way]) for way in ways}
    lean = LEAN in ways[2:]
    return Measurement(
        engine=engine,
        against=against,
        workload=workload,
        speedup=medians[against] / medians[engine],
        memory_ratio=memory[engine] / memory[against],
        seconds=medians,
        all_seconds=seconds,
        peak_bytes=memory,
        repeats=repeats,
        environment=environment(),
        speedup_lean=medians[LEAN] / medians[engine] if lean else None,
        memory_ratio_lean=memory[engine] / memory[LEAN] if lean else None,
    )


DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], "
    "normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), "
    "('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], "
    "reduce_concat=[2, 3, 4, 5])"
)


if __name__ == "__main__":
    print(_peak_of_this_process(Workload(**json.loads(sys.argv[2])), sys.argv[1]))
