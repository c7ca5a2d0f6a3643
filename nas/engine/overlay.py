"""A network whose blocks compiled kernels compute, in training and evaluation: the merged engine with a single edge.

Nothing of the network is copied or replaced: while an overlay runs, the blocks that it knows compute another way. So
state dicts, checkpoints, moving averages, hooks, modes and masks of dropped paths are the network's own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nas.cells.found import ChosenFanOut
from nas.cells.network import CellModule, CellNetwork
from nas.engine.merged import BACKENDS, Operation, contributions
from nas.engine.native.backend import Native
from nas.engine.native.functions import remaking
from nas.engine.segments import MergedTerm, merge_terms


class Overlay(nn.Module):
    """A network, and how those of its modules are computed that the kernels know.

    Args:
        network: on a CPU. A module and what is inside of it must not be put into it twice.
        blocks: by module, what computes it.
    """

    def __init__(self, network: nn.Module, blocks: Mapping[nn.Module, Callable[..., Any]]) -> None:
        super().__init__()
        self.network, self.training = network, network.training
        self.blocks = dict(blocks)

    def forward(self, images: Tensor) -> Any:
        """As the network's."""
        with computed_by(self.blocks):
            return self.network(images)


@contextmanager
def computed_by(blocks: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """A context in which these modules compute another way."""
    for module, forward in blocks.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in blocks:
            del module.forward


def overlay(network: nn.Module, backend: str = "auto") -> nn.Module:
    """The network under compiled kernels; itself, if its device or the back end has none or they know none of it.

    "auto" leaves mobile networks to torch, whose wide 1×1 convolutions of small maps are faster.

    Args:
        backend: as in :data:`BACKENDS`.
    """
    device = next(network.parameters()).device.type
    if backend == "auto" and not isinstance(network, CellNetwork):
        return network
    if Native not in BACKENDS[backend] or not Native.available(device) or dist.is_initialized():
        return network
    blocks = dict(blocks_of(network))
    return Overlay(network, blocks) if blocks else network


def lay_on_inputs(network: nn.Module, backend: str = "auto") -> None:
    """From now on the kernels compute what brings the inputs of a network's cells to their size, where they can."""
    for cell in network.modules() if Native in BACKENDS[backend] else ():
        for module, forward in blocks_of(cell.inputs) if isinstance(cell, CellModule) else ():
            module.forward = forward


def blocks_of(module: nn.Module) -> Iterator[tuple[nn.Module, Callable[..., Any]]]:
    """The largest parts of a network that the kernels know, and what computes them."""
    if type(module) is ChosenFanOut:
        yield module, FanOut(module)
        for operation in module.undropped:
            yield from blocks_of(operation)  # which the fan-out calls, if it does not know it
    elif compute := together([module]):
        yield module, partial(first, compute)
    else:
        for child in module.children():
            yield from blocks_of(child)


@dataclass(frozen=True)
class Together:
    """Computes operations that are the same and read the same map; what has no parameters once."""

    operations: tuple[nn.Module, ...]
    plan: Sequence[MergedTerm]

    def __call__(self, x: Tensor) -> Sequence[Tensor]:
        chains = [stage.chain for term in self.plan for stage in term.stages if stage.chain]
        if not chains:
            return [self.operations[0](x)] * len(self.operations)
        if dist.is_initialized() or not all(Native.supports(chain, x) for chain in chains):
            return [type(operation).forward(operation, x) for operation in self.operations]
        x = x.contiguous(memory_format=torch.channels_last)
        maps: list[list[Tensor]] = [[] for _ in self.operations]
        same = [Operation(0, self.operations, self.plan)]
        for edge, part in contributions(same, x, x.new_ones(1, len(self.operations)), BACKENDS["native"]):
            maps[edge].append(part)
        return [reduce(add, parts) for parts in maps]


def together(operations: Sequence[nn.Module]) -> Together | None:
    """What computes operations together; None: nothing is gained over one by one.

    The kernels know those of which all convolutions are their own.
    """
    plan = merge_terms(operations)
    if not plan or any(any(term.zeros) and not term.common for term in plan):  # beside zeros: part of a concatenation
        return None
    chains = any(stage.chain for term in plan for stage in term.stages)
    return Together(tuple(operations), plan) if chains or len(operations) > 1 else None


def first(compute: Together, x: Tensor) -> Tensor:
    """The map of the only operation."""
    return compute(x)[0]


class FanOut:
    """What computes a found cell's fan-out: each operation on all its edges at once."""

    def __init__(self, module: ChosenFanOut) -> None:
        self.module = module
        edges = {name: [edge for edge, other in enumerate(module.names) if other == name] for name in module.names}
        operations = module.undropped
        self.groups = [(same, together([operations[edge] for edge in same])) for same in edges.values()]

    def __call__(self, state: Tensor, weights: Tensor | None = None) -> list[tuple[int, Tensor]]:
        operations = self.module.undropped
        maps: dict[int, Tensor] = {}
        with remaking(state):
            for edges, compute in self.groups:
                several = compute(state) if compute else [operations[edge](state) for edge in edges]
                maps |= zip(edges, several, strict=True)
        return self.module.contributions([maps[edge] for edge in range(len(maps))])
