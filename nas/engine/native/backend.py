"""The merged engine on compiled kernels (the C++ beside this file), on a CPU. Maps of all edges: (edges · N, C, H, W).

Each map is read and written as few times as can be: a segment's batch norm, activation and convolutions are one pass,
and the backward of a batch norm is an affine map within the next pass.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise, starmap
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nas.engine.backend import Backend, Chain, CommonMap, Contribution
from nas.engine.native.kernels import MixFields, SegmentFields, Value, call, lanes_for, library
from nas.engine.segments import MergedNorm, MergedSegment, Statistics, check_values

LAST = torch.channels_last
ACTIVATIONS: dict[type[nn.Module] | None, int] = {None: 0, nn.ReLU: 1, nn.ReLU6: 2}


class Native(Backend):
    """The back end of compiled kernels; all chains that start from the state are one function with the sum."""

    def __init__(self, state: Tensor, edges: int) -> None:
        super().__init__(state, edges)
        self.chains: list[tuple[Chain, Tensor]] = []

    @staticmethod
    def supports(chain: Chain, state: Tensor) -> bool:
        fits = state.device.type == "cpu" and state.dtype in (torch.float32, torch.float64)
        return fits and all(segment.fused and lanes_of(segment) for segment in chain) and library() is not None

    def weighted(self, chain: Chain, row: Tensor, starts: Sequence[Tensor] | None = None) -> Sequence[Tensor]:
        plan = Plan(self.edges, [chain], apart=starts is not None)
        return add_up(plan, self.state if starts is None else torch.cat(list(starts)), [row], [])

    def add(self, chain: Chain, row: Tensor, starts: Sequence[Tensor] | None = None) -> Sequence[Tensor]:
        if starts is not None:
            return self.weighted(chain, row, starts)
        self.chains.append((chain, row))
        return ()

    @property
    def pending(self) -> bool:
        return bool(self.chains)

    def contributions(self, common: Sequence[CommonMap]) -> list[Contribution]:
        if not self.chains:
            return []
        chains, rows = zip(*self.chains, strict=True)
        state = next((index for index, each in enumerate(common) if each.map is self.state), None)
        plan = Plan(self.edges, chains, [each.statistics for each in common], state)
        rows = (*rows, *(each.row for each in common))
        return list(enumerate(add_up(plan, self.state, rows, [each.map for each in common])))


def lanes_of(segment: MergedSegment) -> int:
    """How many channels a kernel computes at once; 0: there is none for so many channels."""
    return lanes_for(*segment.channels)


@dataclass(frozen=True)
class Plan:
    """What is added up: chains, then maps that all edges share.

    Args:
        edges: how many.
        chains: each starts from the state.
        common: the batch norm of each common map; None: it is added as it is.
        state: which of the common maps is the state itself; None: none is.
        apart: every edge has a state of its own, (edges · N, C, H, W); there is one chain then.
    """

    edges: int
    chains: Sequence[Chain]
    common: Sequence[Statistics | None] = ()
    state: int | None = None
    apart: bool = False

    @cached_property
    def slices(self) -> list[slice]:
        """Where each chain's segments are among all."""
        ends = accumulate(map(len, self.chains), initial=0)
        return list(starmap(slice, pairwise(ends)))

    def summands(self, maps: Sequence[Tensor], common: Sequence[Tensor]) -> list[Tensor]:
        """What is added up: the last map of each chain, and the common ones."""
        return [*(maps[where][-1] for where in self.slices), *common]


def add_up(plan: Plan, state: Tensor, rows: Sequence[Tensor], common: Sequence[Tensor]) -> Sequence[Tensor]:
    """One map (N, C, H, W) an edge: Σ weight · batch norm over the chains and the common maps.

    Args:
        rows: the weights of each, (edges,).
    """
    convolutions = [each for chain in plan.chains for segment in chain for each in segment.convolutions]
    weights = [torch.cat(convolution.weights) for convolution in convolutions]
    total: Sequence[Tensor] = SumFunction.apply(plan, state, torch.stack(list(rows)), *common, *weights)
    return total


@dataclass
class SegmentPass:
    """What a segment's forward pass leaves for its backward pass, but for the maps.

    Args:
        fields: of the kernel.
        depthwise, pointwise: that convolution's weights, edge after edge; None: there is none.
        before: the batch norm over what enters; None: there is none.
        after: that over what leaves.
    """

    fields: SegmentFields
    depthwise: Tensor | None
    pointwise: Tensor | None
    before: Statistics | None
    after: Statistics


class SumFunction(torch.autograd.Function):
    """Σ weight · batch norm over chains and common maps, one map (N, C', H', W') an edge.

    ``SumFunction.apply(plan, state, rows, *common, *weights)``: the state (N, C, H, W), or (edges · N, C, H, W) of an
    edge each; rows (chains + common maps, edges); common maps (N, C', H', W'); weights of each
    convolution, edge after edge.
    """

    @staticmethod
    def forward(ctx: Any, plan: Plan, x: Tensor, rows: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        x = x.contiguous(memory_format=LAST)
        common = [each.contiguous(memory_format=LAST) for each in tensors[: len(plan.common)]]
        weights = iter(tensors[len(plan.common) :])
        maps: list[Tensor] = []
        ctx.plan, ctx.passes = plan, []
        for chain in plan.chains:
            y, before = x, None
            for segment in chain:
                y, one = forward_segment(plan, segment, y, before, weights)
                before = one.after
                maps.append(y)
                ctx.passes.append(one)
        ctx.save_for_backward(x, rows, *common, *maps)
        ctx.moments = moments(plan, ctx.passes, maps[-1].shape[1])
        return Sum(plan, rows, plan.summands(maps, common), *ctx.moments).forward().chunk(plan.edges)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        plan: Plan = ctx.plan
        x, rows, *saved = ctx.saved_tensors
        common, maps = saved[: len(plan.common)], saved[len(plan.common) :]
        grads = tuple(grad.contiguous(memory_format=LAST) for grad in grads)
        total = Sum(plan, rows, plan.summands(maps, common), *ctx.moments)
        sums = total.sums(grads)
        x_grad: Tensor | None = None
        common_grads: list[Tensor | None] = [None] * len(common)
        if ctx.needs_input_grad[1]:
            common_grads = [*total.common_gradients(grads, sums)]
            x_grad = torch.zeros_like(x, memory_format=LAST) if plan.state is None else common_grads[plan.state]
        if plan.state is not None:
            common_grads[plan.state] = None  # the chains' part comes to it: it goes back as that of x
        weights_wanted = ctx.needs_input_grad[3 + len(common) :]
        weight_grads: list[Tensor | None] = [None] * len(weights_wanted)
        if any(weights_wanted) or x_grad is not None:
            weight_grads = []
            for where, row, own in zip(plan.slices, rows, sums, strict=False):
                chain = ChainPass(ctx.passes[where], [x, *maps[where]], any(weights_wanted))
                weight_grads += chain.backward(x_grad, grads, row, own)
        return None, x_grad, total.row_gradients(sums), *common_grads, *weight_grads


def forward_segment(
    plan: Plan, segment: MergedSegment, x: Tensor, before: Statistics | None, weights: Iterator[Tensor]
) -> tuple[Tensor, SegmentPass]:
    """A segment's map before its batch norm, (edges · N, C', H', W'); the running statistics move.

    Args:
        x: the state, or (edges · N, C, H, W).
        before: the batch norm over ``x``; None: it is the state.
        weights: the next are this segment's.
    """
    shared = before is None and not plan.apart
    images = x.shape[0] if shared else x.shape[0] // plan.edges
    depthwise = next(weights) if segment.depthwise else None
    pointwise = next(weights) if segment.pointwise else None
    fields = fields_of(segment, plan.edges, images, shared, x.shape[2], x.shape[3])
    channels = plan.edges * fields.out
    y = x.new_empty(plan.edges * images, fields.out_height, fields.out_width, fields.out).permute(0, 3, 1, 2)
    mean, var = torch.empty(2, channels, dtype=torch.float64)
    call(
        "segment_forward",
        fields,
        x.dtype,
        x=x,
        x_mean=before and before.mean,
        x_invstd=before and before.invstd,
        depthwise_weight=depthwise,
        pointwise_weight=pointwise,
        y=y,
        y_mean=mean,
        y_var=var,
    )
    after = statistics_of(segment.norm, mean, var, y.numel() // channels)
    return y, SegmentPass(fields, depthwise, pointwise, before, after)


def fields_of(segment: MergedSegment, edges: int, images: int, shared: bool, height: int, width: int) -> SegmentFields:
    """The sizes of a segment over maps of that size; what is shared are the maps, by all edges."""
    channels, out = segment.channels
    fields = SegmentFields(
        lanes=lanes_for(channels, out),
        images=images,
        edges=edges,
        shared=shared,
        channels=channels,
        height=height,
        width=width,
        out=out,
        out_height=height,
        out_width=width,
        stride=1,
        dilation=1,
        pointwise=segment.pointwise is not None,
        activation=ACTIVATIONS[segment.activation],
    )
    if segment.depthwise:
        first, geometry = segment.depthwise.modules[0], segment.depthwise.geometry
        fields.kernel, reach = first.kernel_size[0], (first.kernel_size[0] - 1) * geometry.dilation[0]
        fields.stride, fields.padding, fields.dilation = geometry.stride[0], geometry.padding[0], geometry.dilation[0]
        fields.out_height = (height + 2 * fields.padding - reach - 1) // fields.stride + 1
        fields.out_width = (width + 2 * fields.padding - reach - 1) // fields.stride + 1
    return fields


def statistics_of(norm: MergedNorm, mean: Tensor, var: Tensor, values: int) -> Statistics:
    """In training the batch's, towards which the running ones are moved; else the running ones; in float64.

    Args:
        mean, var: of the batch, (edges · channels,), of so many values each.

    Raises:
        ValueError: one value has no variance.
    """
    if not norm.modules[0].training:
        return norm.of(*(each.double() for each in norm.running(len(mean))))
    check_values(values)
    norm.move(torch.stack([mean, var * (values / (values - 1))]))
    return norm.of(mean, var)


@dataclass
class ChainPass:
    """A chain on its way back.

    Args:
        segments: their forward passes.
        maps: that entered the first and left each.
        learning: whether the gradients of the convolutions' weights are wanted.
    """

    segments: Sequence[SegmentPass]
    maps: Sequence[Tensor]
    learning: bool

    def backward(
        self, x_grad: Tensor | None, grads: Sequence[Tensor], row: Tensor, sums: Tensor
    ) -> list[Tensor | None]:
        """Adds the gradient of the state to ``x_grad``; gives those of the convolutions' weights, edge by edge.

        Args:
            grads: of the sum, one an edge, of which the chain's share is its weight, (edges,).
            sums: over the last batch norm, of :meth:`Sum.sums`.
        """
        weight_grads: list[Tensor | None] = []
        scale: Tensor | None = row.double()
        for segment, (x, y) in zip(reversed(self.segments), reversed(list(pairwise(self.maps))), strict=True):
            into, x_sums = x_grad, None
            if segment.before:
                into, x_sums = torch.empty_like(x), sums.new_empty(2, len(segment.before.mean))
            own = [
                torch.empty_like(weight) if self.learning and weight is not None else None
                for weight in (segment.depthwise, segment.pointwise)
            ]
            call(
                "segment_backward",
                segment.fields,
                x.dtype,
                x=x,
                y=y,
                y_mean=segment.after.mean,
                y_invstd=segment.after.invstd,
                y_grad=grads,
                y_weight=scale,
                y_sums=sums if segment.after.training else None,
                x_grad=into,
                x_sums=x_sums,
                depthwise_grad=own[0],
                pointwise_grad=own[1],
            )
            kinds = zip(own, (segment.depthwise, segment.pointwise), strict=True)
            weight_grads = [*(grad for grad, weight in kinds if weight is not None), *weight_grads]
            if into is not None and x_sums is not None:
                grads, scale, sums = into.chunk(len(grads)), None, x_sums
        return weight_grads


def moments(plan: Plan, passes: Sequence[SegmentPass], channels: int) -> tuple[Tensor, Tensor]:
    """Of the batch norms over all maps that are added up: their means and 1/σ, (maps, edges · channels), float64."""
    plain = torch.zeros(channels), torch.ones(channels)
    common = [plain if each is None else (each.mean, each.invstd) for each in plan.common]
    chains = [(each.mean, each.invstd) for each in (passes[where][-1].after for where in plan.slices)]
    wide = [tuple(each.double().repeat(plan.edges) for each in pair) for pair in common]
    means, invstds = zip(*chains, *wide, strict=True)
    return torch.stack(means), torch.stack(invstds)


@dataclass
class Sum:
    """The weighted sum of batch-normalised maps.

    Args:
        plan: how many of the maps are chains' last ones, (edges · N, C, H, W), and how many common, (N, C, H, W).
        rows: (maps, edges).
        maps: in this order.
        means, invstds: of their batch norms, (maps, edges · C).
    """

    plan: Plan
    rows: Tensor
    maps: Sequence[Tensor]
    means: Tensor
    invstds: Tensor

    def forward(self) -> Tensor:
        """(edges · N, C, H, W)."""
        scale, out = self.scale, torch.empty_like(self.maps[0])
        self._call("mix_forward", scale=scale, offset=-(scale * self.means).sum(0), out=out)
        return out

    def sums(self, grads: Sequence[Tensor]) -> Tensor:
        """Σ grad and Σ grad · (map − mean), (maps, 2, edges · C), from one gradient (N, C, H, W) an edge."""
        sums = self.means.new_empty(len(self.maps), 2, self.means.shape[1])
        self._call("mix_sums", grads=grads, mean=self.means, sums=sums)
        return sums

    def row_gradients(self, sums: Tensor) -> Tensor:
        """(maps, edges)."""
        gradients: Tensor = self._by_edge(sums[:, 1] * self.invstds).sum(2)
        return gradients.to(self.rows.dtype)

    def common_gradients(self, grads: Sequence[Tensor], sums: Tensor) -> list[Tensor]:
        """Of the common maps, each summed over the edges and through its batch norm."""
        chains, edges = len(self.plan.chains), self.plan.edges
        own = [torch.empty_like(x) for x in self.maps[chains:]]
        values = self.maps[0].numel() // edges // self.maps[0].shape[1]
        normed = [statistics is not None and statistics.training for statistics in self.plan.common]
        moving = sums.new_tensor([0] * chains + normed) / values
        whole = sums.view(len(self.maps), 2, edges, -1) * self.rows.double()[:, None, :, None]
        mean_grad, along = (whole.sum(2) * moving[:, None, None]).unbind(1)
        mean, invstd = self._by_edge(self.means)[:, 0], self._by_edge(self.invstds)[:, 0]
        slope = -(invstd**3) * along
        shift = -slope * mean - invstd * mean_grad
        map_grads = [*([None] * chains), *own]
        self._call("mix_shared_gradients", slope=slope, shift=shift, scale=self.scale, grads=grads, map_grads=map_grads)
        return own

    @property
    def scale(self) -> Tensor:
        """Weight / σ, (maps, edges · C)."""
        return (self.rows.double()[..., None] * self._by_edge(self.invstds)).flatten(1)

    def _by_edge(self, values: Tensor) -> Tensor:
        """(maps, edges · C) → (maps, edges, C)."""
        return values.view(len(values), self.plan.edges, -1)

    def _call(self, function: str, **values: Value) -> None:
        """Calls a kernel."""
        images, channels, height, width = self.maps[0].shape
        fields = MixFields(
            lanes=lanes_for(channels),
            images=images // self.plan.edges,
            edges=self.plan.edges,
            channels=channels,
            pixels=height * width,
            terms=len(self.maps),
        )
        shared = torch.tensor([0] * len(self.plan.chains) + [1] * len(self.plan.common))
        call(function, fields, self.maps[0].dtype, maps=self.maps, shared=shared, **values)
