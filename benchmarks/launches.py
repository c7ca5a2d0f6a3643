"""Kernels that a step launches and bytes that they touch, counted without a GPU.

    python -m benchmarks.launches [--space darts] [--precision bf16] [--batch 64] [--backend triton] [--textbook]
    python -m benchmarks.launches --retrain

prints a line a phase of the step, and with --operations one an operation. Views and memory are no kernels; an operation
is one, but for those of SEVERAL, a convolution's backward (one a gradient) and operations on lists of tensors (one for
as many as fit its arguments). Triton's kernels are counted where they are launched. Bytes are those of each operation's
inputs and outputs; "best ms" is Σ max(2 µs, bytes / 3.35 TB/s), what an H100 with nothing to wait for would take.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from importlib.util import find_spec
from math import ceil
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.fake_gpu import fake_gpu, move
from nas import space as spaces
from nas.bilevel.build import build_supernet
from nas.bilevel.gradients import Learner
from nas.bilevel.perturbation import Mixing
from nas.bilevel.second_order import Batch
from nas.blocks.drop_path import draw_paths
from nas.cells import genotype
from nas.cells.found import found_network
from nas.commands.workloads import DARTS_V2, Textbook
from nas.moment import Moment
from nas.presets import TRAIN_PRESETS, resolve, resolve_search
from nas.rng import generator
from nas.settings import TrainSettings
from nas.train.multi_tensor import MultiTensor
from nas.train.recipe import make_optimizer
from nas.train.step import train_step

LAUNCH, BANDWIDTH = 2e-6, 3.35e12
"""Seconds of the shortest kernel; bytes a second."""
NONE = ("empty", "new_empty", "detach", "promote_types", "_unsafe_view", "_local_scalar_dense", "as_strided_")
"""Beginnings of the names of operations that launch nothing, views besides."""
SEVERAL = {
    "batch_norm_update_stats": 2,  # sums, running statistics
    "native_batch_norm": 3,  # and the map
    "native_batch_norm_backward": 2,  # sums, the map's gradient
    "max_pool2d_with_indices_backward": 2,  # zeros, sums
    "linalg_vector_norm": 2,  # by blocks, of the blocks
}
LISTS = {1: 110, 2: 64, 3: 48, 4: 36}
"""Tensors that fit the arguments of one kernel, by the number of lists."""


@dataclass
class Count:
    """What is launched; ``small`` kernels touch less than half a megabyte."""

    kernels: int = 0
    small: int = 0
    bytes: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, kernels: int, touched: int) -> "Count":
        """Kernels that touch so many bytes together."""
        seconds = max(kernels * LAUNCH, touched / BANDWIDTH)
        return cls(kernels, kernels * (touched < kernels * 2**19), touched, seconds)

    def __add__(self, other: "Count") -> "Count":
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Count(*(one + more for one, more in pairs))


class Launches(TorchDispatchMode):
    """Counts what is launched within it, by :attr:`phase` and operation."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = ""
        self.counts: dict[tuple[str, str], Count] = defaultdict(Count)

    @property
    def total(self) -> Count:
        """Of all phases."""
        return sum(self.counts.values(), Count())

    def by(self, which: int) -> dict[str, Count]:
        """A count a phase (0), or an operation (1)."""
        sums: dict[str, Count] = defaultdict(Count)
        for key, count in self.counts.items():
            sums[key[which]] += count
        return sums

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function.namespace == "aten" and (kernels := kernels_of(function, args)):
            self.add(function.overloadpacket.__name__, kernels, (args, kwargs, result))
        return result

    def launch(self, kernel: Any, grid: Any, arguments: tuple[Any, ...], constants: dict[str, Any]) -> None:
        """In the place of a launch of Triton's."""
        self.add(f"triton {kernel.fn.__name__}", 1, arguments)

    def add(self, name: str, kernels: int, tensors: Any) -> None:
        """Counts kernels of an operation that touch all tensors in a tree."""
        every = [each for each in tree_leaves(tensors) if isinstance(each, Tensor)]
        touched = sum(each.numel() * each.element_size() for each in every)
        self.counts[self.phase, name] += Count.of(kernels, touched)

    @contextmanager
    def counting(self) -> Iterator["Launches"]:
        """A context in which launches are counted."""
        with ExitStack() as stack:
            if find_spec("triton"):
                stack.enter_context(mock.patch("nas.engine.triton.launch.start", self.launch))
            stack.enter_context(self)
            yield self


def kernels_of(function: Any, args: Sequence[Any]) -> int:
    """How many kernels a call of an operation launches."""
    name = function.overloadpacket.__name__
    from_host = name == "_to_copy" and args[0].device.type == "cpu"  # once, of what then stays
    if function.is_view or name.startswith(NONE) or from_host:
        return 0
    if name == "convolution_backward":
        return sum(args[-1])
    if name.startswith(("_foreach", "_fused")):
        lists = [each for each in args if isinstance(each, (list, tuple)) and isinstance(each[0], Tensor)]
        return ceil(len(lists[0]) / LISTS[len(lists)]) + name.endswith("norm")
    return SEVERAL.get(name, 1)


def count_step(
    space: str = "darts",
    *,
    precision: str = "bf16",
    batch: int = 64,
    channels: int = 16,
    cells: int = 8,
    backend: str = "library",
    textbook: bool = False,
    **settings: Any,
) -> Launches:
    """What a whole step of a search launches, its batches made before."""
    size = {"precision": precision, "batch": batch, "channels": channels, "cells": cells}
    chosen = resolve_search("paper", {**size, "engine": "reference" if textbook else "merged", **settings})
    supernet = build_supernet(chosen, spaces.load(space), 10, backend=backend)
    supernet.to(memory_format=torch.contiguous_format if textbook else torch.channels_last)
    launches = Launches()

    class Phased(Textbook if textbook else Learner):
        """Says which phase has come."""

        def loss(self, batch: Batch, mixing: Mixing | None = None) -> tuple[Tensor, Tensor]:
            half = "weights" if self.moment.half else "alphas"
            launches.phase = f"{half} forward"
            result = super().loss(batch, mixing)
            launches.phase = f"{half} backward"
            return result

        def update_alphas(self) -> None:
            launches.phase = "alphas update"
            super().update_alphas()

        def update_weights(self) -> None:
            launches.phase = "weights update"
            super().update_weights()

    with fake_gpu() as fake:
        move(supernet, fake)
        learner = Phased(supernet, chosen, "cuda")
        images = torch.randn(batch, 3, 32, 32, device="cuda").contiguous(memory_format=torch.channels_last)
        both = images, torch.randint(10, (batch,), device="cuda")
        begin(learner.weights, learner.update_weights)
        launches.phase = "alphas forward"
        with launches.counting():
            learner.step(Moment(0), both, both)
    return launches


def count_training(
    *, precision: str = "bf16", batch: int = 96, channels: int = 36, cells: int = 20, textbook: bool = False
) -> Launches:
    """What a step of the retraining of the paper's second-order cell launches, its batch made before."""
    settings = resolve(TrainSettings, TRAIN_PRESETS, "paper", {"precision": precision, "batch": batch})
    network = found_network(genotype.from_text(DARTS_V2), channels=channels, cells=cells, auxiliary=True)
    network.to(memory_format=torch.channels_last).train()
    paths, launches = len(draw_paths(network, 0.1, batch, generator(0, "paths"))), Launches()
    with fake_gpu() as fake:
        move(network, fake)
        optimizer = make_optimizer(network, settings)
        images = torch.randn(batch, 3, 32, 32, device="cuda").contiguous(memory_format=torch.channels_last)
        labels = torch.randint(10, (batch,), device="cuda")
        masks = torch.ones(paths, batch, device="cuda", dtype=torch.bfloat16 if precision == "bf16" else None)
        begin(list(network.parameters()), optimizer.step)
        launches.phase = "training"
        with launches.counting():
            forward = network if textbook else MultiTensor(network, precision)
            train_step(forward, optimizer, (images, labels), settings, "cuda", masks)
    return launches


def begin(parameters: Sequence[Tensor], update: Callable[[], object]) -> None:
    """An update by no gradient: an optimiser's history is no part of a step."""
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    update()


def main() -> None:
    """Prints the count of one step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, argument_default=argparse.SUPPRESS
    )
    parser.add_argument("--retrain", action="store_true", help="the step of a retraining", default=False)
    parser.add_argument("--operations", action="store_true", help="a line an operation", default=False)
    parser.add_argument("--space")
    parser.add_argument("--backend")
    parser.add_argument("--textbook", action="store_true", help="the published code's step")
    parser.add_argument("--precision", choices=["fp32", "bf16"])
    for name in ("batch", "channels", "cells"):
        parser.add_argument(f"--{name}", type=int)
    given = vars(parser.parse_args())
    count, which = count_training if given.pop("retrain") else count_step, int(given.pop("operations"))
    launches = count(**given)
    lines = sorted(launches.by(which).items(), key=lambda line: -line[1].kernels * which)
    print(f"{'':36} {'kernels':>8} {'small':>8} {'GB':>7} {'best ms':>8}")
    for name, each in [*lines, ("step", launches.total)]:
        print(f"{name:36} {each.kernels:8,} {each.small:8,} {each.bytes / 1e9:7.1f} {each.seconds * 1e3:8.1f}")


if __name__ == "__main__":
    main()
