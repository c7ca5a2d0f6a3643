"""Both 3×3 poolings of a state through the Triton kernels."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nas.engine.triton import kernels
from nas.engine.triton.launch import block, blocks, launch, tile
from nas.engine.triton.passes import last


class PoolFunction(torch.autograd.Function):
    """Both 3×3 poolings of a state, the maximum and the average; what statistics of their maps are made of.

    ``PoolFunction.apply(state, stride)`` → (maximum, average, moments): the maps (N, C, H', W') and
    the moments of tiles, (tiles, 3, 2 · C).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
        images, height, width, channels = last(x)
        ctx.sizes = (images, height, width, (height - 1) // stride + 1, (width - 1) // stride + 1, stride)
        shape = (images, ctx.sizes[3], ctx.sizes[4], channels)
        maximum, average = x.new_empty(shape), x.new_empty(shape)
        where = torch.empty(shape, dtype=torch.int8, device=x.device)
        size = block(channels)
        ctx.blocks = {"C": channels, "BC": size, "P": tile(size)}
        tiles = blocks(maximum.numel() // channels, tile(size))
        moments = torch.empty(tiles, 3, 2 * channels, dtype=torch.float32, device=x.device)
        tensors = (x, maximum, where, average, moments)
        launch(kernels.pool_forward, (tiles, blocks(channels, size)), *tensors, *ctx.sizes, **ctx.blocks)
        ctx.save_for_backward(where)
        ctx.mark_non_differentiable(moments)
        return maximum.permute(0, 3, 1, 2), average.permute(0, 3, 1, 2), moments

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, maximum: Tensor, average: Tensor, _: Tensor) -> tuple[Tensor | None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None
        (where,) = ctx.saved_tensors
        maximum, average = (each.contiguous(memory_format=torch.channels_last) for each in (maximum, average))
        images, height, width = ctx.sizes[:3]
        channels = ctx.blocks["C"]
        x_grad = maximum.new_empty(images, height, width, channels)
        grid = (blocks(images * height * width, ctx.blocks["P"]), blocks(channels, ctx.blocks["BC"]))
        launch(kernels.pool_backward, grid, maximum, where, average, x_grad, *ctx.sizes, **ctx.blocks)
        return x_grad.permute(0, 3, 1, 2), None
