"""The chains of a state's fan-out and their weighted sum as one function over compiled kernels (nas/cells/native).

Each map is read and written as few times as can be: a segment's batch norm, activation and convolutions are one pass,
and a batch norm's backward is an affine map within the next pass. Maps of all edges are (edges · N, C, H, W).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nas.cells import native
from nas.cells.chains import Modules, letter
from nas.cells.kernels import LAST, buffers, update_running

ACTIVATIONS: dict[type[nn.Module], int] = {nn.ReLU: 1, nn.ReLU6: 2}


@dataclass(frozen=True)
class Part:
    """A segment: [activation] → depthwise convolution and/or pointwise convolution → batch norm."""

    activation: int
    depthwise: Modules
    pointwise: Modules
    norms: Modules

    @property
    def channels(self) -> tuple[int, int]:
        """That enter and leave one edge."""
        convs = [modules[0] for modules in (self.depthwise, self.pointwise) if modules]
        return convs[0].in_channels, convs[-1].out_channels  # type: ignore[return-value]

    def geometry(self, height: int, width: int) -> dict[str, int]:
        """Of the depthwise convolution on maps of this size, and the size of what it gives."""
        if not self.depthwise:
            return {"kernel": 0, "stride": 1, "padding": 0, "dilation": 1, "out_height": height, "out_width": width}
        conv = self.depthwise[0]
        (kernel, _), (stride, _), (padding, _), (dilation, _) = (  # type: ignore[misc]
            conv.kernel_size, conv.stride, conv.padding, conv.dilation  # type: ignore[arg-type]
        )
        sizes = [(side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for side in (height, width)]
        found = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        return {**found, "out_height": sizes[0], "out_width": sizes[1]}


def parts_of(layers: Sequence[Modules]) -> list[Part] | None:
    """A chain's segments; None where there is no kernel for one."""
    parts, activation, convs = [], 0, {"d": (), "p": ()}
    for layer in layers:
        kind = letter(layer[0])
        if kind == "a":
            activation = ACTIVATIONS[type(layer[0])]
        elif kind == "b":
            parts.append(Part(activation, convs["d"], convs["p"], layer))
            activation, convs = 0, {"d": (), "p": ()}
        else:
            form = form_of(layer[0])
            if not form or convs[form] or convs["p"]:
                return None
            convs[form] = layer
    return parts


def form_of(conv: nn.Module) -> str:
    """d: a depthwise convolution there is a kernel for; p: a pointwise one; empty: neither."""
    assert isinstance(conv, nn.Conv2d)
    square = all(len(set(pair)) == 1 for pair in (conv.kernel_size, conv.stride, conv.padding, conv.dilation))
    if square and conv.kernel_size[0] in (3, 5, 7) and conv.groups == conv.in_channels == conv.out_channels:
        return "d" if 0 <= int(conv.padding[0]) <= (conv.kernel_size[0] - 1) * conv.dilation[0] else ""
    plain = (conv.kernel_size, conv.stride, conv.padding, conv.groups) == ((1, 1), (1, 1), (0, 0), 1)
    return "p" if plain else ""


def can_compile(x: Tensor, chains: Sequence[Sequence[Part]]) -> bool:
    """Whether there are kernels for these chains on such maps."""
    channels = [count for parts in chains for part in parts for count in part.channels]
    kernels = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and native.lanes_for(channels)
    return bool(kernels) and native.library() is not None


def parameters_of(chains: Sequence[Sequence[Part]]) -> Iterator[nn.Parameter]:
    """Their convolutions' weights, edge by edge."""
    for parts in chains:
        for part in parts:
            for conv in (*part.depthwise, *part.pointwise):
                yield conv.weight  # type: ignore[misc]


@dataclass
class Passed:
    """What a segment's forward pass leaves for its backward pass, but for the maps.

    Statistics are (edges · channels) in float64; those of ``x`` are None where it is not normalised.
    """

    fields: dict[str, Any]
    sizes: list[int]
    x_mean: Tensor | None
    x_invstd: Tensor | None
    y_mean: Tensor
    y_invstd: Tensor


class CompiledMix(torch.autograd.Function):
    """Σ weight · batch norm over the chains that leave a state.

    ``CompiledMix.apply(x, weights, chains, *parameters_of(chains))``: x (N, C, H, W), weights (chains, edges) →
    one (N, C', H', W') an edge.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weights: Tensor, chains: Sequence[Sequence[Part]], *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        left, passed, maps = iter(parameters), [], []
        for parts in chains:
            y, before = x, None
            for part in parts:
                y, before = forward_segment(part, y, before, weights.shape[1], left)
                maps.append(y)
                passed.append(before)
        ctx.lengths = [len(parts) for parts in chains]
        ctx.training = chains[0][0].norms[0].training
        ctx.save_for_backward(x, weights, *maps)
        ctx.passed = passed
        ends = last_of(ctx.lengths)
        return mix([maps[end] for end in ends], [passed[end] for end in ends], weights).chunk(weights.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weights, *maps = ctx.saved_tensors
        wanted, parameters_wanted = ctx.needs_input_grad[0], any(ctx.needs_input_grad[3:])
        edges = [grad.contiguous(memory_format=LAST) for grad in grads]
        ends = last_of(ctx.lengths)
        sums = mix_sums([maps[end] for end in ends], [ctx.passed[end] for end in ends], edges)
        x_grad = torch.zeros_like(x, memory_format=LAST) if wanted else None
        found: list[Tensor | None] = []
        weight_grads = torch.empty_like(weights)
        for chain in reversed(range(len(ctx.lengths))):
            end = ends[chain]
            along = sums[chain, 1] * ctx.passed[end].y_invstd
            weight_grads[chain] = along.view(len(edges), -1).sum(1).to(weights.dtype)
            grad, scale, own = edges, weights[chain].double(), sums[chain] if ctx.training else None
            for index in reversed(range(end + 1 - ctx.lengths[chain], end + 1)):
                first = index == end + 1 - ctx.lengths[chain]
                entering = x if first else maps[index - 1]
                into = x_grad if first else torch.empty_like(entering)
                own, given = backward_segment(
                    ctx.passed[index], entering, into, maps[index], grad, scale, own, ctx.training, parameters_wanted
                )
                found = given + found
                grad, scale = list(into.chunk(len(edges))) if into is not None else [], None
        return x_grad, weight_grads, None, *found


def last_of(lengths: Sequence[int]) -> list[int]:
    """Index of each chain's last segment among all segments."""
    return [sum(lengths[: chain + 1]) - 1 for chain in range(len(lengths))]


def forward_segment(
    part: Part, x: Tensor, before: Passed | None, edges: int, parameters: Iterator[Tensor]
) -> tuple[Tensor, Passed]:
    """A segment's map before its batch norm; the running statistics move.

    Args:
        x: (N, C, H, W) for all edges where there is nothing before, else (edges · N, C, H, W).
        before: the segment that ``x`` comes from.
        parameters: the next are this segment's.
    """
    shared = before is None
    images, (channels, out) = x.shape[0] // (1 if shared else edges), part.channels
    sizes = [len(part.depthwise), len(part.pointwise)]
    weights = [torch.cat([next(parameters) for _ in range(size)]) if size else None for size in sizes]
    fields: dict[str, Any] = {
        "images": images, "edges": edges, "shared": shared, "channels": channels, "out": out,
        "height": x.shape[2], "width": x.shape[3], "pointwise": bool(part.pointwise), "activation": part.activation,
        **part.geometry(x.shape[2], x.shape[3]),
        "lanes": native.lanes_for(part.channels), "depthwise_weight": weights[0], "pointwise_weight": weights[1],
    }
    y = x.new_empty(edges * images, fields["out_height"], fields["out_width"], out).permute(0, 3, 1, 2)
    mean, var = torch.empty(2, edges * out, dtype=torch.float64)
    x_mean, x_invstd = (None, None) if before is None else (before.y_mean, before.y_invstd)
    native.run(
        "segment_forward", native.Segment, x.dtype, **fields, x=x, x_mean=x_mean, x_invstd=x_invstd, y=y, y_mean=mean, y_var=var
    )
    mean, var = settled(part.norms, mean, var, y.numel() // (edges * out))
    invstd = torch.rsqrt(var + part.norms[0].eps)  # type: ignore[operator]
    return y, Passed(fields, sizes, x_mean, x_invstd, mean, invstd)


def settled(norms: Modules, mean: Tensor, var: Tensor, values: int) -> tuple[Tensor, Tensor]:
    """In training the batch's statistics, towards which the running ones are moved; else the running ones."""
    if norms[0].training:
        unbiased = var * (values / (values - 1))
        update_running(norms, torch.stack([mean, unbiased]).to(norms[0].running_mean.dtype))  # type: ignore
        return mean, var
    running = [torch.cat(buffers(norms, name)).double() for name in ("running_mean", "running_var")]
    return running[0], running[1]


def mix(maps: Sequence[Tensor], passed: Sequence[Passed], weights: Tensor) -> Tensor:
    """Σ_t weight_t · (map_t − mean_t) / σ_t."""
    scale = torch.stack([each.y_invstd for each in passed]).unflatten(1, (weights.shape[1], -1)) * weights.double()[..., None]
    scale = scale.flatten(1)
    offset = -(scale * torch.stack([each.y_mean for each in passed])).sum(0)
    out = torch.empty_like(maps[0])
    native.run("mix_forward", native.Mix, out.dtype, **_mixing(maps, weights.shape[1]), scale=scale, offset=offset, out=out)
    return out


def mix_sums(maps: Sequence[Tensor], passed: Sequence[Passed], grads: Sequence[Tensor]) -> Tensor:
    """Per map Σ grad and Σ grad · (map − mean), (terms, 2, edges · channels)."""
    mean = torch.stack([each.y_mean for each in passed])
    sums = torch.empty(len(maps), 2, mean.shape[1], dtype=torch.float64)
    native.run("mix_backward", native.Mix, maps[0].dtype, **_mixing(maps, len(grads)), grad=list(grads), mean=mean, sums=sums)
    return sums


def _mixing(maps: Sequence[Tensor], edges: int) -> dict[str, Any]:
    images, channels, height, width = maps[0].shape
    sizes = {"images": images // edges, "channels": channels, "pixels": height * width}
    return {**sizes, "edges": edges, "lanes": native.lanes_for([channels]), "terms": len(maps), "maps": list(maps)}


def backward_segment(
    passed: Passed,
    x: Tensor,
    x_grad: Tensor | None,
    y: Tensor,
    grads: Sequence[Tensor],
    scale: Tensor | None,
    sums: Tensor | None,
    training: bool,
    wanted: bool,
) -> tuple[Tensor | None, list[Tensor | None]]:
    """Writes (where all edges read ``x``: adds) the gradient of ``x`` normalised; gives its sums and the weights' gradients.

    Args:
        grads: of ``y`` normalised, per edge, to be multiplied with ``scale``.
        sums: Σ grad and Σ grad · (y − mean); None: y was normalised by running statistics.
        wanted: whether the weights' gradients are.
    """
    found = [torch.empty_like(passed.fields[name]) if size and wanted else None for name, size in zip(("depthwise_weight", "pointwise_weight"), passed.sizes, strict=True)]
    x_sums = torch.empty(2, *passed.x_mean.shape, dtype=torch.float64) if passed.x_mean is not None and training else None
    native.run(
        "segment_backward",
        native.Segment,
        x.dtype,
        **passed.fields,
        x=x,
        x_mean=passed.x_mean,
        x_invstd=passed.x_invstd,
        y=y,
        y_mean=passed.y_mean,
        y_invstd=passed.y_invstd,
        y_grad=list(grads),
        y_weight=scale,
        y_sums=sums,
        x_grad=x_grad,
        x_sums=x_sums,
        depthwise_grad=found[0],
        pointwise_grad=found[1],
    )
    split: list[Tensor | None] = []
    for grad, size in zip(found, passed.sizes, strict=True):
        split += [None] * size if grad is None else grad.chunk(size)
    return x_sums, split
