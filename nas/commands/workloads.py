"""The steps that ``nas bench`` measures: of a search, of a retraining, of a mobile network's training."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nas.architecture import of_network
from nas.bilevel.build import build_supernet
from nas.bilevel.gradients import Learner
from nas.bilevel.second_order import Batch
from nas.bilevel.stages import stages
from nas.blocks.grids import without_grids
from nas.cells import genotype
from nas.cells.found import found_network
from nas.cells.supernet import Supernet
from nas.costs.count import count
from nas.engine.overlay import overlay
from nas.errors import UsageError, nearest
from nas.macro.space import load as load_macro
from nas.methods import METHODS
from nas.moment import Moment
from nas.presets import resolve_search
from nas.settings import SearchSettings, TrainSettings
from nas.space import load
from nas.train.recipe import make_optimizer, place_gradients
from nas.train.step import train_step

Step = Callable[[], object]

TEXTBOOK = ("reference", "plain")
"""Ways of the published code: in contiguous memory, with the defaults of the C library and of Python's collector."""
LEAN = "reference-lean"
NETWORK_WAYS = {
    "compiled": "channels-last memory, by the compiled kernels where there are any",
    "plain": "the published network in contiguous memory",
}
WAYS: dict[str, dict[str, str]] = {
    "search": {
        "merged": "the merged engine",
        "reference": "the textbook: a module per operation, contiguous memory, all gradients in steps of first order",
        LEAN: "the same in channels-last memory, alpha gradients alone in the alpha step",
        "merged-recompute": "the merged engine; of each cell only the inputs are kept for the backward pass",
        **{method: f"the merged engine, --method {method}" for method in METHODS if method != "darts"},
    },
    "retrain": NETWORK_WAYS,
    "macro": NETWORK_WAYS,
}
"""By what is measured; the first is held against the second."""
CHANGES: dict[str, dict[str, Any]] = {
    "merged": {},
    "reference": {"engine": "reference"},
    LEAN: {"engine": "reference"},
    "merged-recompute": {"recompute": True},
}
USUAL: dict[str, dict[str, Any]] = {
    "search": {"space": "darts", "order": 1, "batch": 64, "channels": 16, "cells": 8},
    "retrain": {"batch": 96, "channels": 36, "cells": 20},
    "macro": {"space": "mobilenet_v2", "batch": 96},
}


@dataclass(frozen=True)
class Workload:
    """What is measured.

    Args:
        what: "search": a step, alphas and weights; "retrain": a training step of DARTS_V2's network, auxiliary head
            included; "macro": one of a mobile network at its published size.
        space: of a search, or of the mobile network.
        order: of a search's alpha gradients.
        batch: images a step, of ``size`` pixels a side.
        channels, cells: of networks of cells.
        device: "cpu" or "cuda".
        threads: CPU threads; None: torch's choice.
    """

    what: str = "search"
    space: str = "darts"
    order: int = 1
    batch: int = 64
    channels: int = 16
    cells: int = 8
    size: int = 32
    device: str = "cpu"
    threads: int | None = None

    @classmethod
    def of(cls, what: str, given: Mapping[str, Any]) -> "Workload":
        """The usual one, but for what is given; None: it is not.

        Raises:
            UsageError: it has no such size, or there is no such space.
        """
        changes = {name: value for name, value in given.items() if value is not None}
        if wrong := set(changes) - {*USUAL[what], "device", "threads"}:
            raise UsageError(f"bench {what}: it has no --{min(wrong)}")
        workload = cls(what, **USUAL[what] | changes)
        if what != "retrain":
            (load if what == "search" else load_macro)(workload.space)
        return workload

    def __str__(self) -> str:
        sizes = "" if self.what == "macro" else f"C={self.channels}, {self.cells} cells, "
        network = "DARTS_V2" if self.what == "retrain" else self.space
        order = f", order {self.order}" if self.what == "search" else ""
        return f"{self.what} {network}{order}, {sizes}batch {self.batch}, {self.size} px"

    def start(self) -> None:
        """Sets the number of threads."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)

    def settings(self, way: str) -> SearchSettings:
        """Of a search, in its first stage."""
        size = {"channels": self.channels, "cells": self.cells, "order": self.order}
        return stages(resolve_search("paper", {**size, **CHANGES.get(way, {"method": way})}))[0].settings

    def network(self, way: str) -> nn.Module:
        """The same weights each time."""
        if self.what == "search":
            return build_supernet(self.settings(way), load(self.space), 10)
        torch.manual_seed(0)
        if self.what == "macro":
            space = load_macro(self.space)
            network = of_network(space.network, space.settings, input=(3, self.size, self.size), classes=10).build()
        else:
            cell = genotype.from_text(DARTS_V2)
            network = found_network(cell, channels=self.channels, cells=self.cells, auxiliary=True)
        return without_grids(network) if way in TEXTBOOK else network

    def build(self, way: str) -> Step:
        """One step done that way, on random images."""
        images = torch.randn(self.batch, 3, self.size, self.size, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(self.batch) % 10
        layout = torch.contiguous_format if way in TEXTBOOK else torch.channels_last
        network = self.network(way).to(self.device, memory_format=layout)  # type: ignore[call-overload]
        batch = images.to(self.device, memory_format=layout), labels.to(self.device)
        if self.what == "search":
            return search_step(self, way, network, batch)
        if way in TEXTBOOK:
            return training_step(self, network, batch)
        place_gradients(network)
        return training_step(self, overlay(network), batch)

    def work(self) -> "Work":
        """What a step comes to at least, however it is computed."""
        # forward passes, and backward passes for the gradients of maps and for those of weights
        passes, madds = {1: (2, 2 + 3), 2: (5, 3 + 3 + 2 + 2 + 3)}[self.order] if self.what == "search" else (1, 3)
        values: list[int] = []
        network = self.network(next(way for way in TEXTBOOK if way in WAYS[self.what]))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_hook(lambda _module, _inputs, out: values.append(out.numel()))
        one = count(network, (3, self.size, self.size)).madds
        return Work(self.batch * one * madds, self.batch * sum(values) * 4 * 5 * passes)


@dataclass(frozen=True)
class Work:
    """Multiply-adds of convolutions and linear layers; bytes of the maps under batch norms, in single precision.

    A batch norm needs its whole map: it is written and read, read again on the way back, and its gradient is written
    and read. A forward pass does each multiply-add once, the gradients of maps and those of weights as often again.
    """

    madds: int
    bytes: int


class Textbook(Learner):
    """The published code's learner: in first order it computes all gradients in both halves of a step, on contiguous
    images; its supernet is to be the reference engine's, in contiguous memory."""

    def differentiate_alphas(self, train: Batch, valid: Batch) -> None:
        """Sets all gradients of the held-out batch; in second order the alphas' alone."""
        if self.settings.order == 2:
            super().differentiate_alphas(train, valid)
        else:
            self.differentiate_weights(valid)

    def differentiate_weights(self, train: Batch) -> tuple[Tensor, Tensor]:
        """Sets all gradients: the batch's (loss, logits)."""
        images = train[0].contiguous(memory_format=torch.contiguous_format)
        return self.differentiate([*self.weights, *self.alphas], (images, train[1]))


def search_step(workload: Workload, way: str, supernet: nn.Module, batch: Batch) -> Step:
    """Adam on the alphas, then SGD on the weights, in the middle of a search."""
    assert isinstance(supernet, Supernet)
    learner = (Textbook if way == "reference" else Learner)(supernet, workload.settings(way), workload.device)
    steps = itertools.count()
    return lambda: learner.step(Moment(0, epoch=25, epochs=50, step=next(steps)), batch, batch)


def training_step(workload: Workload, network: nn.Module, batch: Batch) -> Step:
    """One SGD step."""
    settings = TrainSettings(batch=workload.batch)
    optimizer = make_optimizer(network, settings)
    return lambda: train_step(network, optimizer, batch, settings, workload.device)


def check(workload: Workload, *ways: str) -> None:
    """Raises UsageError for a way that is not known."""
    known = list(WAYS[workload.what])
    for way in ways:
        if way not in known:
            raise UsageError(f'bench {workload.what}: "{way}": {nearest(way, known)}')


DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], "
    "normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), "
    "('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], "
    "reduce_concat=[2, 3, 4, 5])"
)
