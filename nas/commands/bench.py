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
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from nas.bilevel import loop as searches
from nas.bilevel.gradients import Batch
from nas.blocks.layers import without_grids
from nas.cells import genotype
from nas.cells.found import found_network
from nas.cells.sampled import draw_paths
from nas.errors import UsageError, nearest
from nas.run.folder import environment
from nas.settings import SearchSettings, TrainSettings, make
from nas.space import load
from nas.train.preflight import peak
from nas.train.schedule import sgd

Step = Callable[[], None]

SEARCH_WAYS = {
    "merged": "the merged engine",
    "reference": "the textbook: a module per operation, contiguous memory, all gradients in both steps",
    "reference-lean": "the same in channels-last memory, alpha gradients alone in the alpha step",
    "merged-recompute": "the merged engine; of each cell only the inputs are kept for the backward pass",
    "partial": "the merged engine on a quarter of the channels",
    "gdas": "of each edge one drawn operation",
}
SEARCH_CHANGES: dict[str, dict[str, Any]] = {
    "merged": {},
    "reference": {"engine": "reference"},
    "reference-lean": {"engine": "reference"},
    "merged-recompute": {"recompute": True},
    "partial": {"partial": 4},
    "gdas": {"sampler": "gdas"},
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
    settings = make(SearchSettings, {**size, **SEARCH_CHANGES[way]}, f"bench {way}")
    supernet = searches.build(settings, load(workload.space), 10).to(workload.device)
    learner = searches.make_learner(supernet, settings, workload.device)
    steps = itertools.count()
    batch = layout(supernet, batch, way != "reference")

    def lean() -> None:
        step = next(steps)
        draw_paths(supernet, settings, 0, step, 0)
        learner.step_alphas(batch, batch)
        draw_paths(supernet, settings, 0, step, 1)
        learner.step_weights(batch)

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
    batch = layout(network, batch, way == "ours")
    settings = TrainSettings()
    optimizer = sgd(network.parameters(), settings)

    def step() -> None:
        optimizer.zero_grad()
        logits, auxiliary = network(batch[0])
        loss = F.cross_entropy(logits, batch[1]) + settings.auxiliary * F.cross_entropy(auxiliary, batch[1])
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        optimizer.step()

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
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        last = (found.stderr.strip().splitlines() or ["killed"])[-1]
        _, mistake, said = last.partition("UsageError: ")
        if mistake:
            raise UsageError(said)
        raise UsageError(f"bench: the {way} step did not run ({last}); does batch {workload.batch} fit the memory?")
    return int(found.stdout.split()[-1])


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


def compare(workload: Workload, engine: str, against: str, repeats: int = 3) -> dict[str, Any]:
    """Medians of ``repeats`` steps (after one that warms up) and peak memory of each way, and their ratios.

    Args:
        engine: the way whose advantage is asked; ``against``: the other. The textbook in channels-last memory and with
            lean gradients is measured as well where ``against`` is the textbook.

    Raises:
        UsageError: an unknown way, or one that does not fit the memory.
    """
    check(workload, engine, against)
    ways = list(dict.fromkeys([engine, against, *(["reference-lean"] if against == "reference" else [])]))
    start(workload)
    memory = {way: peak_memory(workload, way) for way in ways}
    steps = {way: build(workload, way) for way in ways}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(repeats + 1):
        for way, step in steps.items():
            taken = timed(step, workload.device)
            if turn:
                seconds[way].append(taken)
    return report(workload, ways, seconds, memory)


def report(
    workload: Workload, ways: list[str], seconds: Mapping[str, list[float]], memory: Mapping[str, int]
) -> dict[str, Any]:
    """The measurements as one JSON object; the first way is the one that is praised, the second its yardstick."""
    medians = {way: statistics.median(seconds[way]) for way in ways}
    engine, against = ways[0], ways[min(1, len(ways) - 1)]
    ratios = {"speedup": medians[against] / medians[engine], "memory_ratio": memory[engine] / memory[against]}
    if "reference-lean" in ways[2:]:
        ratios["speedup_lean"] = medians["reference-lean"] / medians[engine]
        ratios["memory_ratio_lean"] = memory[engine] / memory["reference-lean"]
    return {
        **ratios,
        "engine": engine,
        "against": against,
        **asdict(workload),
        "seconds": medians,
        "all_seconds": dict(seconds),
        "images_per_second": {way: workload.batch / median for way, median in medians.items()},
        "peak_bytes": dict(memory),
        "repeats": len(seconds[engine]),
        "environment": environment(),
    }


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
