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

    ``SegmentFunction.apply(y, narrow or None, statistics or None, activation or None, geometries, *weights)``. Where y
    is ``spread(narrow, …)``, as several edges read one state, only ``narrow`` is kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,
        narrow: Tensor | None,
        statistics: Statistics | None,
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
        statistics, y_needs, weights_need = ctx.statistics, ctx.needs_input_grad[0], ctx.needs_input_grad[5:]
        grad = grad.contiguous(memory_format=LAST)
        if y.shape != ctx.shapes[0]:
            y = spread(y, ctx.shapes[0][1] // y.shape[1]) if any(weights_need) else blank(y, ctx.shapes[0])
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
        y_grad = activate_backward(grad, y, x, statistics, ctx.activation) if y_needs else None
        return y_grad, None, None, None, None, *weight_grads


def blank(like: Tensor, shape: Sequence[int]) -> Tensor:
    """Memory of which only the shape is used."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=LAST)


def activate(y: Tensor, statistics: Statistics | None, activation: type[nn.Module] | None) -> Tensor:
    """[Batch norm →] activation, as a new tensor (without either: ``y`` itself)."""
    x = y if statistics is None else F.batch_norm(y, statistics.mean, statistics.var, eps=statistics.eps)
    if activation is None:
        return x
    if statistics is None:
        x = x.clone()
    return x.clamp_(0, 6) if activation is nn.ReLU6 else x.relu_()


def activate_backward(
    grad: Tensor, y: Tensor, x: Tensor, statistics: Statistics | None, activation: type[nn.Module] | None
) -> Tensor:
    """Gradient through :func:`activate`, whose result is ``x``; ``grad`` is written over."""
    if activation is nn.ReLU6:
        grad = ATEN.hardtanh_backward.grad_input(grad, x, 0, 6, grad_input=grad)
    elif activation is nn.ReLU:
        grad = ATEN.threshold_backward.grad_input(grad, x, 0, grad_input=grad)
    return grad if statistics is None else norm_backward(grad, y, None, statistics, (True, False))[0]


def norm_backward(
    grad: Tensor, y: Tensor, weight: Tensor | None, statistics: Statistics, needs: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """Gradients of weight · (y − mean) / σ with respect to ``y`` and to the weight, (channels,), where needed."""
    mean, var, invstd, eps, training, values = statistics
    if values is not None:
        return joint_gradients(grad, y, weight, (mean, var, values), eps)[:2]
    mask = [*needs, False]
    y_grad, weight_grad, _ = ATEN.native_batch_norm_backward(
        grad, y, weight, mean, var, mean, invstd, training, eps, mask
    )
    return y_grad, weight_grad


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
    """Σ weight · batch norm over maps: one affine map each; only the maps are kept.

    ``MixFunction.apply(rows, statistics, *maps)``: rows (maps, edges), maps (N, edges · C, H, W) → their shape.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, statistics: Sequence[Statistics], *maps: Tensor) -> Tensor:
        ctx.save_for_backward(rows, *maps)
        ctx.statistics = statistics
        scales = [row * each.invstd for row, each in zip(_per_channel(rows, maps), statistics, strict=True)]
        shift = -sum(scale * each.mean for scale, each in zip(scales, statistics, strict=True))
        dtype, shape = maps[0].dtype, (1, -1, 1, 1)
        out = torch.addcmul(shift.to(dtype).view(shape), maps[0], scales[0].to(dtype).view(shape))
        for x, scale in zip(maps[1:], scales[1:], strict=True):
            out.addcmul_(x, scale.to(dtype).view(shape))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, *maps = ctx.saved_tensors
        grad = grad.contiguous(memory_format=LAST)
        gradients = [
            norm_backward(grad, x, row, statistics, (True, ctx.needs_input_grad[0]))
            for x, row, statistics in zip(maps, _per_channel(rows, maps), ctx.statistics, strict=True)
        ]
        rows_grad = None
        if ctx.needs_input_grad[0]:
            rows_grad = torch.stack([channels.view(rows.shape[1], -1).sum(1) for _, channels in gradients])
        return rows_grad, None, *[x_grad for x_grad, _ in gradients]


def _per_channel(rows: Tensor, maps: Sequence[Tensor]) -> Tensor:
    """(maps, edges) → (maps, edges · C)."""
    return rows.repeat_interleave(maps[0].shape[1] // rows.shape[1], dim=1)
