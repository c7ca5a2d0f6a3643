"""What the merged engine computes by hand: a segment of an operation, and the weighted sum of batch-normalised maps.

Both keep only the map that enters them for the backward pass and compute the rest again. Activations are (N, C, H, W)
in channels-last memory. Gradients of weights are skipped where the weights do not ask for them, as in the alpha step.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nas.blocks.sync_norm import joint_gradients
from nas.engine.segments import ATEN, Geometry, Statistics

LAST = torch.channels_last


class SegmentFunction(torch.autograd.Function):
    """What stands between two batch norms: [batch norm → activation] → convolution [→ convolution].

    ``SegmentFunction.apply(y, narrow or None, statistics or None, γ or None, β or None, activation or None, geometries,
    *weights)``; γ and β are those of the statistics. Where y is ``spread(narrow, …)``, as several edges read one state,
    only ``narrow`` is kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,
        narrow: Tensor | None,
        statistics: Statistics | None,
        scale: Tensor | None,
        shift: Tensor | None,
        activation: type[nn.Module] | None,
        geometries: Sequence[Geometry],
        *weights: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(y if narrow is None else narrow, *weights)
        ctx.statistics, ctx.activation, ctx.geometries = statistics, activation, geometries
        x = activate(y, statistics, activation)
        ctx.shapes = []
        for geometry, weight in zip(geometries, weights, strict=True):
            ctx.shapes.append(x.shape)
            x = convolve(x, geometry, weight)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, *weights = ctx.saved_tensors
        statistics, y_needs, weights_need = ctx.statistics, ctx.needs_input_grad[0], ctx.needs_input_grad[7:]
        grad = grad.contiguous(memory_format=LAST)
        if y.shape != ctx.shapes[0]:
            reads = any(weights_need) or ctx.activation is not None
            y = spread(y, ctx.shapes[0][1] // y.shape[1]) if reads else blank(y, ctx.shapes[0])
        inputs = [activate(y, statistics, ctx.activation)]
        for geometry, weight, shape in zip(ctx.geometries[:-1], weights[:-1], ctx.shapes[1:], strict=True):
            inputs.append(convolve(inputs[-1], geometry, weight) if any(weights_need) else blank(y, shape))
        weight_grads: list[Tensor | None] = [None] * len(weights)
        for index in reversed(range(len(weights))):
            x, geometry, weight = inputs.pop(), ctx.geometries[index], weights[index]
            if weights_need[index]:
                weight_grads[index] = weight_gradient(grad, x, geometry, weight)
            if index > 0 or y_needs:
                grad = input_gradient(grad, x, geometry, weight)
        grads: tuple[Tensor | None, ...] = (None, None, None)
        if y_needs:
            grads = activate_backward(grad, y, x, statistics, ctx.activation, ctx.needs_input_grad[3])
        return grads[0], None, None, *grads[1:], None, None, *weight_grads


def blank(like: Tensor, shape: Sequence[int]) -> Tensor:
    """Memory of which only the shape is used."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=LAST)


def activate(y: Tensor, statistics: Statistics | None, activation: type[nn.Module] | None) -> Tensor:
    """[Batch norm →] activation, as a new tensor (without either: ``y`` itself)."""
    x = y
    if statistics is not None:
        mean, var, _, eps, _, _, scale, shift = statistics
        x = F.batch_norm(y, mean, var, scale, shift, eps=eps)
    if activation is None:
        return x
    if statistics is None:
        x = x.clone()
    return x.clamp_(0, 6) if activation is nn.ReLU6 else x.relu_()


def activate_backward(
    grad: Tensor,
    y: Tensor,
    x: Tensor,
    statistics: Statistics | None,
    activation: type[nn.Module] | None,
    affine: bool,
) -> tuple[Tensor | None, ...]:
    """Gradients through :func:`activate`, whose result is ``x``, of y, γ and β; ``grad`` is written over.

    Args:
        affine: whether those of γ and β are needed.
    """
    if activation is nn.ReLU6:
        grad = ATEN.hardtanh_backward.grad_input(grad, x, 0, 6, grad_input=grad)
    elif activation is nn.ReLU:
        grad = ATEN.threshold_backward.grad_input(grad, x, 0, grad_input=grad)
    if statistics is None:
        return grad, None, None
    return norm_backward(grad, y, statistics.scale, statistics, (True, affine, affine))


def norm_backward(
    grad: Tensor, y: Tensor, scale: Tensor | None, statistics: Statistics, needs: tuple[bool, bool, bool]
) -> tuple[Tensor | None, ...]:
    """Gradients of scale · (y − mean) / σ + shift with respect to ``y``, scale and shift, (channels,), where needed."""
    mean, var, invstd, eps, training, values, *_ = statistics
    if values is not None:
        every: tuple[Tensor, ...] = joint_gradients(grad, y, scale, (mean, var, values), eps)
    else:
        every = ATEN.native_batch_norm_backward(grad, y, scale, mean, var, mean, invstd, training, eps, list(needs))
    return tuple(each if need else None for each, need in zip(every, needs, strict=True))


def convolve(x: Tensor, geometry: Geometry, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, None, *geometry)


def spread(x: Tensor, times: int) -> Tensor:
    """The channels of ``x`` repeated."""
    return torch.cat([x] * times, dim=1)


def input_gradient(grad: Tensor, x: Tensor, geometry: Geometry, weight: Tensor) -> Tensor:
    """Gradient of :func:`convolve` with respect to ``x``; of ``x`` only the shape is used."""
    reach = [(taps - 1) * dilation for taps, dilation in zip(weight.shape[2:], geometry.dilation, strict=True)]
    same = set(geometry.stride) == {1} and all(2 * p == r for p, r in zip(geometry.padding, reach, strict=True))
    if weight.shape[1] == 1 and geometry.groups == weight.shape[0] and same:
        # Depthwise with "same" padding: the flipped kernel, forward, which is faster than the backward kernel.
        return F.conv2d(grad, weight.flip(2, 3), None, *geometry)
    return _convolution_backward(grad, x, geometry, weight, 0)


def weight_gradient(grad: Tensor, x: Tensor, geometry: Geometry, weight: Tensor) -> Tensor:
    """Gradient of :func:`convolve` with respect to its weight."""
    depthwise = weight.shape[1] == 1 and geometry.groups == weight.shape[0]
    if depthwise and set(geometry.dilation) == {1} and weight.shape[3] > 3 and x.device.type == "cpu":
        return depthwise_weight_gradient(grad, x, geometry, weight)
    return _convolution_backward(grad, x, geometry, weight, 1)


def _convolution_backward(grad: Tensor, x: Tensor, geometry: Geometry, weight: Tensor, which: int) -> Tensor:
    stride, padding, dilation, groups = geometry
    mask = [which == 0, which == 1, False]
    gradients: list[Tensor] = ATEN.convolution_backward(
        grad, x, weight, None, stride, padding, dilation, False, [0, 0], groups, mask
    )
    return gradients[which]


CACHE = 2**19
"""Elements of a map that stay in a core's cache."""


def depthwise_weight_gradient(grad: Tensor, x: Tensor, geometry: Geometry, weight: Tensor) -> Tensor:
    """A wide depthwise kernel's gradient in overlapping strips of 3 columns, for which oneDNN has a fast kernel.

    A strip that starts j columns to the right is the same gradient with ``x`` read j pixels later: in zero-padded
    channels-last memory a view at another offset. ``grad`` has zeros where a view reads past its row. The images go in
    groups that fit the cache, through the same memory.
    """
    n, c, h, w = x.shape
    columns, (down, across) = weight.shape[3], geometry.padding
    height, width = h + 2 * down, w + 2 * across
    group = min(n, max(1, CACHE // (c * height * width)))
    memory = x.new_zeros((group * height * width + columns) * c)
    wide = grad.new_zeros(group, grad.shape[2], (width - 3) // geometry.stride[1] + 1, c)
    strips = {first: torch.zeros_like(weight[..., :3]) for first in (*range(0, columns - 3, 3), columns - 3)}
    geometry = Geometry(geometry.stride, (0, 0), (1, 1), c)
    for images, grads in zip(x.split(group), grad.split(group), strict=True):
        shape, n = (images.shape[0], height, width, c), images.shape[0]
        frame = memory[: n * height * width * c].view(shape)
        frame[:, down : down + h, across : across + w] = images.permute(0, 2, 3, 1)
        wide[:n, :, : grad.shape[3]] = grads.permute(0, 2, 3, 1)
        for first in strips:
            later = memory.as_strided(shape, frame.stride(), first * c).permute(0, 3, 1, 2)
            strips[first] += _convolution_backward(wide[:n].permute(0, 3, 1, 2), later, geometry, strips[first], 1)
    out = torch.empty_like(weight)
    for first, strip in strips.items():
        out[..., first : first + 3] = strip
    return out


class MixFunction(torch.autograd.Function):
    """Σ scale · (map − mean) / σ, + shift: one affine map each; only the maps are kept.

    ``MixFunction.apply(scales, shift or None, statistics, *maps)``: scales (maps, edges · C), shift (edges · C,), maps
    (N, edges · C, H, W) → their shape.
    """

    @staticmethod
    def forward(
        ctx: Any, scales: Tensor, shift: Tensor | None, statistics: Sequence[Statistics], *maps: Tensor
    ) -> Tensor:
        ctx.save_for_backward(scales, *maps)
        ctx.statistics = statistics
        factors = [scale * each.invstd for scale, each in zip(scales, statistics, strict=True)]
        offset = -sum(factor * each.mean for factor, each in zip(factors, statistics, strict=True))
        offset = offset if shift is None else offset + shift
        dtype, shape = maps[0].dtype, (1, -1, 1, 1)
        out = torch.addcmul(offset.to(dtype).view(shape), maps[0], factors[0].to(dtype).view(shape))
        for x, factor in zip(maps[1:], factors[1:], strict=True):
            out.addcmul_(x, factor.to(dtype).view(shape))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scales, *maps = ctx.saved_tensors
        grad = grad.contiguous(memory_format=LAST)
        needs = True, *ctx.needs_input_grad[:2]
        gradients = [
            norm_backward(grad, x, scale, statistics, needs)
            for x, scale, statistics in zip(maps, scales, ctx.statistics, strict=True)
        ]
        by_map, by_scale, by_shift = zip(*gradients, strict=True)
        return torch.stack(by_scale) if needs[1] else None, by_shift[0], None, *by_map
