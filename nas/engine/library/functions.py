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
        stats: Statistics | None,
        activation: type[nn.Module] | None,
        geometries: Sequence[Geometry],
        *weights: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(y if narrow is None else narrow, *weights)
        ctx.stats, ctx.activation, ctx.geometries = stats, activation, geometries
        x = activate(y, stats, activation)
        ctx.shapes = []
        for geometry, weight in zip(geometries, weights, strict=True):
            ctx.shapes.append(x.shape)
            x = convolve(x, geometry, weight)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, *weights = ctx.saved_tensors
        stats, wanted, weights_wanted = ctx.stats, ctx.needs_input_grad[0], ctx.needs_input_grad[5:]
        grad = grad.contiguous(memory_format=LAST)
        if y.shape != ctx.shapes[0]:
            y = spread(y, ctx.shapes[0][1] // y.shape[1]) if any(weights_wanted) else blank(y, ctx.shapes[0])
        inputs = [activate(y, stats, ctx.activation)]
        for geometry, weight, shape in zip(ctx.geometries[:-1], weights[:-1], ctx.shapes[1:], strict=True):
            inputs.append(convolve(inputs[-1], geometry, weight) if any(weights_wanted) else blank(y, shape))
        weight_grads: list[Tensor | None] = [None] * len(weights)
        for index in reversed(range(len(weights))):
            x, geometry, weight = inputs.pop(), ctx.geometries[index], weights[index]
            if weights_wanted[index]:
                weight_grads[index] = weight_gradient(grad, x, geometry, weight)
            if index > 0 or wanted:
                grad = input_gradient(grad, x, geometry, weight)
        entered = activate_backward(grad, y, x, stats, ctx.activation) if wanted else None
        return entered, None, None, None, None, *weight_grads


def blank(like: Tensor, shape: Sequence[int]) -> Tensor:
    """Memory of which only the shape is used."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=LAST)


def activate(y: Tensor, stats: Statistics | None, activation: type[nn.Module] | None) -> Tensor:
    """[Batch norm →] activation, as a new tensor (without either: ``y`` itself)."""
    x = y if stats is None else _normalise(y, stats)
    if activation is None:
        return x
    if stats is None:
        x = x.clone()
    return x.clamp_(0, 6) if activation is nn.ReLU6 else x.relu_()


def _normalise(y: Tensor, stats: Statistics) -> Tensor:
    return F.batch_norm(y, stats.mean, stats.var, eps=stats.eps)


def activate_backward(
    grad: Tensor, y: Tensor, x: Tensor, stats: Statistics | None, activation: type[nn.Module] | None
) -> Tensor:
    """Gradient through :func:`activate`, whose result is ``x``; ``grad`` is written over."""
    if activation is nn.ReLU6:
        grad = ATEN.hardtanh_backward.grad_input(grad, x, 0, 6, grad_input=grad)
    elif activation is nn.ReLU:
        grad = ATEN.threshold_backward.grad_input(grad, x, 0, grad_input=grad)
    return grad if stats is None else norm_backward(grad, y, None, stats, (True, False))[0]


def norm_backward(
    grad: Tensor, y: Tensor, weight: Tensor | None, stats: Statistics, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """Gradients of weight · (y − mean) / σ with respect to ``y`` and to the weight, (channels,)."""
    mean, var, invstd, eps, training = stats
    mask = [*wanted, False]
    found = ATEN.native_batch_norm_backward(grad, y, weight, mean, var, mean, invstd, training, eps, mask)
    return found[0], found[1]


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


CACHED = 2**19
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
    group = min(n, max(1, CACHED // (c * height * width)))
    memory = x.new_zeros((group * height * width + columns) * c)
    wide = grad.new_zeros(group, grad.shape[2], (width - 3) // geometry.stride[1] + 1, c)
    strips = {first: torch.zeros_like(weight[..., :3]) for first in (*range(0, columns - 3, 3), columns - 3)}
    geometry = Geometry(geometry.stride, (0, 0), (1, 1), c)
    for images, grads in zip(x.split(group), grad.split(group), strict=True):
        shape, n = (images.shape[0], height, width, c), images.shape[0]
        framed = memory[: n * height * width * c].view(shape)
        framed[:, down : down + h, across : across + w] = images.permute(0, 2, 3, 1)
        wide[:n, :, : grad.shape[3]] = grads.permute(0, 2, 3, 1)
        for first in strips:
            later = memory.as_strided(shape, framed.stride(), first * c).permute(0, 3, 1, 2)
            strips[first] += _convolution_backward(wide[:n].permute(0, 3, 1, 2), later, geometry, strips[first], 1)
    out = torch.empty_like(weight)
    for first, strip in strips.items():
        out[..., first : first + 3] = strip
    return out


class MixFunction(torch.autograd.Function):
    """Σ_t weight_t · batch_norm(y_t): one affine map a term, nothing kept but the terms.

    ``MixFunction.apply(weights, statistics, *terms)``: weights (terms, edges), terms (N, edges·C, H, W) → their shape.
    """

    @staticmethod
    def forward(ctx: Any, weights: Tensor, stats: Sequence[Statistics], *terms: Tensor) -> Tensor:
        ctx.save_for_backward(weights, *terms)
        ctx.stats = stats
        scales = [row * each.invstd for row, each in zip(_per_channel(weights, terms), stats, strict=True)]
        shift = -sum(scale * each.mean for scale, each in zip(scales, stats, strict=True))
        dtype, shape = terms[0].dtype, (1, -1, 1, 1)
        out = torch.addcmul(shift.to(dtype).view(shape), terms[0], scales[0].to(dtype).view(shape))
        for term, scale in zip(terms[1:], scales[1:], strict=True):
            out.addcmul_(term, scale.to(dtype).view(shape))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, *terms = ctx.saved_tensors
        grad = grad.contiguous(memory_format=LAST)
        found = [
            norm_backward(grad, term, row, stats, (True, ctx.needs_input_grad[0]))
            for term, row, stats in zip(terms, _per_channel(weights, terms), ctx.stats, strict=True)
        ]
        weights_grad = None
        if ctx.needs_input_grad[0]:
            weights_grad = torch.stack([of_weight.view(weights.shape[1], -1).sum(1) for _, of_weight in found])
        return weights_grad, None, *[of_term for of_term, _ in found]


def _per_channel(weights: Tensor, terms: Sequence[Tensor]) -> Tensor:
    """(terms, edges) → (terms, edges·C)."""
    return weights.repeat_interleave(terms[0].shape[1] // weights.shape[1], dim=1)
