"""Both 3×3 poolings of a state through the compiled kernels."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nas.engine.native.kernels import PoolsFields, call

LAST = torch.channels_last


class PoolFunction(torch.autograd.Function):
    """``PoolFunction.apply(state, stride)``: (N, C, H, W) → the maximum's and the average's map, (N, C, H', W')."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        images, channels, height, width = x.shape
        sides = {"height": height, "width": width, "stride": stride}
        sides |= {"out_height": (height - 1) // stride + 1, "out_width": (width - 1) // stride + 1}
        ctx.fields = PoolsFields(images=images, channels=channels, **sides)
        ctx.save_for_backward(x)
        shape = images, channels, sides["out_height"], sides["out_width"]
        largest, mean = (torch.empty(shape, dtype=x.dtype, memory_format=LAST) for _ in range(2))
        call("pools_forward", ctx.fields, x.dtype, x=x, max=largest, mean=mean)
        return largest, mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, largest: Tensor, mean: Tensor) -> tuple[Tensor | None, None]:
        (x,) = ctx.saved_tensors
        largest, mean = (each.contiguous(memory_format=LAST) for each in (largest, mean))
        x_grad = torch.empty_like(x, memory_format=LAST)
        call("pools_backward", ctx.fields, x.dtype, x=x, max_grad=largest, mean_grad=mean, x_grad=x_grad)
        return x_grad, None
