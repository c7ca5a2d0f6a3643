"""A cell keeps only its inputs and computes the rest again for the backward pass (Chen et al., arXiv:1604.06174)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nas.blocks.noise import Noise


def recomputed(cell: nn.Module, *inputs: Any) -> Tensor:
    """``cell(*inputs)``, with the same gradients and running statistics, in less memory and more time.

    Args:
        cell: draws nothing at random but :class:`Noise`.
    """
    output: Tensor = checkpoint(
        cell,
        *inputs,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), again(cell)),
    )
    return output


def noise_rewinder(network: nn.Module) -> Callable[[], None]:
    """A function that puts the network's noise back to where it is now, so that a pass draws the same once more."""
    places = [module.place for module in network.modules() if isinstance(module, Noise)]
    counts = [place.clone() for place in places]

    def rewind() -> None:
        for place, count in zip(places, counts, strict=True):
            place.copy_(count)

    return rewind


@contextmanager
def still(cell: nn.Module) -> Iterator[None]:
    """The batch norms work as in training, but their running statistics do not move, and noise stays where it is."""
    norms = [module for module in cell.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    counters, rewind = [norm.get_buffer("num_batches_tracked") for norm in norms], noise_rewinder(cell)
    counts = list(torch._foreach_add(counters, 0)) if counters else []
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        if counters:
            torch._foreach_copy_(counters, counts)
        rewind()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@contextmanager
def again(cell: nn.Module) -> Iterator[None]:
    """As :func:`still`, and noise is what the cell's last pass drew."""
    rewind = noise_rewinder(cell)
    for module in cell.modules():
        if isinstance(module, Noise) and module.training:
            module.place.sub_(1)
    try:
        with still(cell):
            yield
    finally:
        rewind()
