"""A network whose blocks compiled kernels compute, in training and evaluation: the merged engine with a single edge.

Nothing of the network is copied or replaced: while an overlay runs, the blocks that it knows compute another way. So
state dicts, checkpoints, moving averages, hooks, modes and masks of dropped paths are the network's own.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nas.engine.merged import BACKENDS, Operation, contributions
from nas.engine.native.backend import Native
from nas.engine.segments import merge_terms

Forward = Callable[[Tensor], Tensor]


class Overlay(nn.Module):
    """A network, and how those of its modules are computed that the kernels know.

    Args:
        network: on a CPU. A module and what is inside of it must not be put into it twice.
        blocks: by module, what computes it.
    """

    def __init__(self, network: nn.Module, blocks: Mapping[nn.Module, Forward]) -> None:
        super().__init__()
        self.network, self.training = network, network.training
        self.blocks = dict(blocks)

    def forward(self, images: Tensor) -> Any:
        """As the network's."""
        with computed_by(self.blocks):
            return self.network(images)


@contextmanager
def computed_by(blocks: Mapping[nn.Module, Forward]) -> Iterator[None]:
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

    Args:
        backend: as in :data:`BACKENDS`.
    """
    device = next(network.parameters()).device.type
    if Native not in BACKENDS[backend] or not Native.available(device) or dist.is_initialized():
        return network
    blocks = dict(blocks_of(network))
    return Overlay(network, blocks) if blocks else network


def blocks_of(module: nn.Module) -> Iterator[tuple[nn.Module, Forward]]:
    """The largest parts of a network that the kernels know, and what computes them."""
    forward = block(module) or activated(module)
    if forward:
        yield module, forward
    else:
        for child in module.children():
            yield from blocks_of(child)


def block(*modules: nn.Module) -> Forward | None:
    """What computes modules in a row, of which all convolutions are the kernels' own; None: they are something else."""
    whole = modules[0] if len(modules) == 1 else nn.Sequential(*modules)
    plan = merge_terms([whole]) or ()
    terms = [term for term in plan if not term.common]
    chains = [stage.chain for term in terms for stage in term.stages]
    # A term beside zeros is a part of a concatenation, which torch does in one pass.
    if not chains or any(term.zeros != (0, 0) for term in terms):
        return None
    plain = type(whole).forward.__get__(whole)

    def forward(x: Tensor) -> Tensor:
        if not all(Native.supports(chain, x) for chain in chains):
            result: Tensor = plain(x)
            return result
        x = x.contiguous(memory_format=torch.channels_last)
        parts = [part for _, part in contributions([Operation(0, (whole,), plan)], x, x.new_ones(1, 1), [Native])]
        return sum(parts[1:], parts[0])

    return forward


def activated(module: nn.Module) -> Forward | None:
    """What computes a sequence that ends in an activation, which stays torch's; None: it is something else."""
    if type(module) is not nn.Sequential or len(module) < 2:
        return None
    *layers, last = module
    if any(True for _ in last.children()) or any(True for _ in last.parameters()):
        return None
    forward = block(*layers)
    return forward and (lambda x: last(forward(x)))
