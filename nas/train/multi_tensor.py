"""One kernel for all layers in place of one a layer: in bf16 on a GPU a third of a step's kernels are so small."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from nas.blocks.segment import CONVOLUTIONS


class MultiTensor(nn.Module):
    """A network in training: its batch norms' counters are raised together, its weights cast together to bfloat16.

    What it computes is to the bit what the network computes under autocast.

    Args:
        network: whose parameters and buffers it has.
        precision: "bf16", or "fp32", where nothing is cast.
    """

    def __init__(self, network: nn.Module, precision: str) -> None:
        super().__init__()
        self.network = network
        self.cast = list(cast_by_autocast(network)) if precision == "bf16" else []

    def forward(self, images: Tensor) -> Any:
        """As the network's."""
        parameters = dict(self.network.named_parameters())
        narrow = Narrow.apply(*(parameters[name] for name in self.cast)) if self.cast else ()
        norms = [module for module in self.network.modules() if type(module) is nn.BatchNorm2d and module.training]
        with counted_together(norms):
            return functional_call(self.network, dict(zip(self.cast, narrow, strict=True)), images)


def cast_by_autocast(network: nn.Module) -> Iterator[str]:
    """The names of the learning parameters that are used in nothing but convolutions and matrix products."""
    for prefix, module in network.named_modules():
        if type(module) in (*CONVOLUTIONS, nn.Linear):
            yield from (
                f"{prefix}.{name}" if prefix else name
                for name, parameter in module.named_parameters(recurse=False)
                if parameter.requires_grad
            )


class Narrow(torch.autograd.Function):
    """Tensors in bfloat16; their gradients come back as wide as they were."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.dtype = tensors[0].dtype
        return cast(tensors, torch.bfloat16)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return cast(gradients, ctx.dtype)


def cast(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The tensors in another type, in their memory's order."""
    made = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    torch._foreach_copy_(made, list(tensors))
    return tuple(made)


@contextmanager
def counted_together(norms: Sequence[nn.BatchNorm2d]) -> Iterator[None]:
    """A context in which batch norms do not count their batches; at its end they are counted."""
    counters = [norm.get_buffer("num_batches_tracked") for norm in norms]
    for norm in norms:
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, counter in zip(norms, counters, strict=True):
            norm.num_batches_tracked = counter
    if counters:
        torch._foreach_add_(counters, 1)
