"""What the compiled kernels compute as one function of autograd: chains of segments and the weighted sum of their maps.

Each map is read and written as few times as can be: a segment's batch norm, activation and convolutions are one pass,
and the backward of a batch norm is an affine map within the next pass. Maps of all edges are (edges · N, C, H, W).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks

from nas.engine.backend import Chain
from nas.engine.native.kernels import MixFields, SegmentFields, Value, call, fill
from nas.engine.segments import MergedSegment, Statistics, buffers, check_values

LAST = torch.channels_last


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


class SumFunction(torch.autograd.Function):
    """Σ weight · batch norm over chains and common maps, one map (N, C', H', W') an edge.

    ``SumFunction.apply(plan, state, scales, shift, *common, *weights)``: the state (N, C, H, W), or (edges · N, C, H,
    W) of an edge each; scales (chains + common maps, edges · C') of what the batch norms give, in float64, and a shift
    (edges · C',) or None; common maps (N, C', H', W'); for each segment γ and β of the batch norm before it, if that is
    affine, and the weight of each convolution, edge after edge. γ and β of the last ones are in scales and shift.
    """

    @staticmethod
    def forward(
        ctx: Any, plan: Plan, x: Tensor, scales: Tensor, shift: Tensor | None, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        x = x.contiguous(memory_format=LAST)
        common = [each.contiguous(memory_format=LAST) for each in tensors[: len(plan.common)]]
        weights = iter(tensors[len(common) :])
        chains = [forward_chain(plan, chain, x, weights) for chain in plan.chains]
        ctx.passes = [passes for passes, _ in chains]
        ctx.sum = total = Sum(plan, scales, shift, [passes[-1] for passes in ctx.passes])
        ctx.save_for_backward(x, *common, *(y for _, maps in chains for y in maps))
        out = total.forward([*(maps[-1] for _, maps in chains), *common])
        return out.chunk(plan.edges) if plan.edges > 1 else (out,)  # into a view of it no shortcut could be added

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        total: Sum = ctx.sum
        plan = total.plan
        saved = iter(ctx.saved_tensors)
        x, *common = islice(saved, 1 + len(plan.common))
        chains = [[x, *islice(saved, len(chain))] for chain in plan.chains]
        maps = [*(chain[-1] for chain in chains), *common]
        grads = tuple(grad.contiguous(memory_format=LAST) for grad in grads)
        sums = total.sums(maps, grads)
        x_grad: Tensor | None = None
        common_grads: list[Tensor | None] = [None] * len(common)
        if ctx.needs_input_grad[1]:
            common_grads = total.common_gradients(maps, grads, sums)
            x_grad = torch.empty_like(x, memory_format=LAST) if plan.state is None else common_grads[plan.state]
        if plan.state is not None:
            common_grads[plan.state] = None  # the chains' part comes to it: it goes back as that of x
        needs = ctx.needs_input_grad[4 + len(common) :]
        weight_grads: list[Tensor | None] = [None] * len(needs)
        if any(needs) or x_grad is not None:
            weight_grads = []
            for index, (passes, chain) in enumerate(zip(ctx.passes, chains, strict=True)):
                gradient, add = Gradient(grads, total.scales[index], sums[index]), index > 0 or plan.state is not None
                weight_grads += backward_chain(passes, chain, gradient, x_grad, add, any(needs))
        shift_grad = sums[0, 0] if ctx.needs_input_grad[3] else None
        return None, x_grad, sums[:, 1] * total.invstds, shift_grad, *common_grads, *weight_grads


@contextmanager
def remaking(state: Tensor) -> Iterator[None]:
    """A context in which what reads a state does not keep it for the backward pass, if it is the batch norm of a single
    map: that map is kept anyway, and the state is made of it again."""
    source: Any = state.grad_fn
    total = getattr(source, "sum", None)
    if not isinstance(total, Sum) or total.scales.numel() > state.shape[1]:
        yield
        return
    place, shape = state.data_ptr(), state.shape

    def pack(kept: Tensor) -> Tensor | None:
        return None if (kept.data_ptr(), kept.shape) == (place, shape) else kept

    def unpack(kept: Tensor | None) -> Tensor:
        return total.forward(source.saved_tensors[-1:]) if kept is None else kept

    with saved_tensors_hooks(pack, unpack):
        yield


@dataclass(frozen=True)
class Gradient:
    """Of what comes out of a batch norm.

    Args:
        maps: (N, C, H, W) an edge.
        scale: γ of the batch norm and the mixing weight, (edges · C,); None: 1.
        sums: Σ gradient and Σ gradient · (map − mean), (2, edges · C).
    """

    maps: Sequence[Tensor]
    scale: Tensor | None
    sums: Tensor


def forward_chain(
    plan: Plan, chain: Chain, x: Tensor, weights: Iterator[Tensor]
) -> tuple[list["SegmentPass"], list[Tensor]]:
    """A pass of each segment, and the map that leaves it, before its batch norm."""
    passes: list[SegmentPass] = []
    maps: list[Tensor] = []
    for segment in chain:
        passes.append(SegmentPass(plan, segment, passes[-1] if passes else None, weights))
        maps.append(passes[-1].forward(maps[-1] if maps else x))
    return passes, maps


def backward_chain(
    passes: Sequence["SegmentPass"],
    maps: Sequence[Tensor],
    gradient: Gradient,
    x_grad: Tensor | None,
    add: bool,
    needs: bool,
) -> list[Tensor | None]:
    """The gradients of the segments' weights; that of the state goes to ``x_grad``.

    Args:
        maps: that entered the first segment and left each.
        gradient: of the last batch norm.
        add: whether it is added to what is there.
        needs: whether those of the weights are needed.
    """
    weight_grads: list[Tensor | None] = []
    for one, (x, y) in reversed(list(zip(passes, pairwise(maps), strict=True))):
        gradient, own = one.backward(x, y, gradient, x_grad, add, needs)
        weight_grads = own + weight_grads
    return weight_grads


class SegmentPass:
    """A pass of a segment, forward and back, which keeps all but the maps.

    Args:
        before: the pass whose map enters, under its batch norm; None: there is none, it is the state.
        weights: the next are γ and β of that batch norm, if it is affine, and the convolutions' weights, edge after
            edge.
    """

    def __init__(
        self, plan: Plan, segment: MergedSegment, before: "SegmentPass | None", weights: Iterator[Tensor]
    ) -> None:
        self.segment, self.edges, self.before = segment, plan.edges, before
        affine = before is not None and before.segment.norm.modules[0].affine
        self.affine = [next(weights).double() for _ in ("scale", "shift")] if affine else []
        self.shared = before is None and not plan.apart
        self.depthwise = next(weights) if segment.depthwise else None
        self.pointwise = next(weights) if segment.pointwise or segment.odd else None

    def forward(self, x: Tensor) -> Tensor:
        """The map before the segment's batch norm, (edges · N, C', H', W'); the running statistics move.

        Raises:
            ValueError: one value a channel has no variance.
        """
        images = x.shape[0] if self.shared else x.shape[0] // self.edges
        fields = self.fields = sizes(images, x.shape[2], x.shape[3], self.edges, self.shared, *self.segment.form)
        norm, first = self.segment.norm, self.segment.norm.modules[0]
        fields.training, fields.eps, fields.momentum = first.training, first.eps, first.momentum
        if fields.training:
            check_values(images * fields.out_height * fields.out_width)
        y = x.new_empty(self.edges * images, fields.out_height, fields.out_width, fields.out).permute(0, 3, 1, 2)
        self.mean, self.invstd = torch.empty(2, self.edges * fields.out, dtype=torch.float64).unbind()
        if self.before:
            fill(fields, x_mean=self.before.mean, x_invstd=self.before.invstd)
        if self.affine:
            fill(fields, x_scale=self.affine[0], x_shift=self.affine[1])
        fill(fields, depthwise_weight=self.depthwise, pointwise_weight=self.pointwise)
        fill(fields, x=x, y=y, y_mean=self.mean, y_invstd=self.invstd)
        running = [*buffers(norm.modules, "running_mean"), *buffers(norm.modules, "running_var")]
        fill(fields, running=running, batches=buffers(norm.modules, "num_batches_tracked"))
        call("segment_forward", fields, x.dtype)
        return y

    def backward(
        self, x: Tensor, y: Tensor, gradient: Gradient, x_grad: Tensor | None, add: bool, needs: bool
    ) -> tuple[Gradient, list[Tensor | None]]:
        """The gradient of what the batch norm over what enters gives, and those of the weights.

        Args:
            x_grad: where that of the state is written or added; None: it is not needed.
            needs: whether those of the weights are needed.
        """
        before, x_sums, affine = gradient, None, list[Tensor | None]([None] * len(self.affine))
        if self.before:
            x_grad, x_sums = torch.empty_like(x), gradient.sums.new_empty(2, len(self.before.mean))
            before = Gradient(x_grad.chunk(self.edges), self.affine[0] if self.affine else None, x_sums)
        depthwise, pointwise = (
            torch.empty_like(weight) if needs and weight is not None else None
            for weight in (self.depthwise, self.pointwise)
        )
        self.fields.add = add and not self.before
        fill(self.fields, x=x, y=y, y_grad=gradient.maps, y_scale=gradient.scale, y_sums=gradient.sums)
        fill(self.fields, x_grad=x_grad, x_sums=x_sums, depthwise_grad=depthwise, pointwise_grad=pointwise)
        call("segment_backward", self.fields, x.dtype)
        if x_sums is not None and self.before and self.affine and needs:
            affine = [x_sums[1] * self.before.invstd, x_sums[0]]
        every = zip((depthwise, pointwise), (self.depthwise, self.pointwise), strict=True)
        return before, affine + [grad for grad, weight in every if weight is not None]


def sizes(images: int, height: int, width: int, edges: int, shared: bool, *form: int) -> SegmentFields:
    """The kernel's structure with all sizes; ``form`` is that of the segment."""
    return SegmentFields.from_buffer_copy(_sizes(images, height, width, edges, shared, *form))


@cache
def _sizes(images: int, height: int, width: int, edges: int, shared: bool, *form: int) -> SegmentFields:
    channels, out, kernel, stride, padding, dilation, pointwise, activation, even = form
    reach = max(kernel - 1, 0) * dilation + 1
    return SegmentFields(
        images=images,
        edges=edges,
        shared=shared,
        channels=channels,
        height=height,
        width=width,
        out=out,
        out_height=(height + 2 * padding - reach) // stride + 1,
        out_width=(width + 2 * padding - reach) // stride + 1,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        pointwise=pointwise,
        activation=activation,
        even=even,
    )


class Sum:
    """The weighted sum of batch-normalised maps: chains' last, (edges · N, C, H, W), then common ones, (N, C, H, W).

    Args:
        scales: (maps, edges · C).
        shift: (edges · C,); None: 0.
        chains: the last pass of each.
    """

    def __init__(self, plan: Plan, scales: Tensor, shift: Tensor | None, chains: Sequence[SegmentPass]) -> None:
        self.plan, self.scales, self.shift = plan, scales, shift
        plain = torch.zeros(len(chains[0].mean) // plan.edges), torch.ones(len(chains[0].mean) // plan.edges)
        common = [plain if each is None else (each.mean, each.invstd) for each in plan.common]
        wide = [[each.double().repeat(plan.edges) for each in pair] for pair in common]
        self.means = torch.stack([*(each.mean for each in chains), *(mean for mean, _ in wide)])
        self.invstds = torch.stack([*(each.invstd for each in chains), *(invstd for _, invstd in wide)])
        self.factors = scales * self.invstds

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(edges · N, C, H, W)."""
        out = torch.empty_like(maps[0])
        offset = -(self.factors * self.means).sum(0)
        offset = offset if self.shift is None else offset + self.shift
        self._call("mix_forward", maps, scale=self.factors, offset=offset, out=out)
        return out

    def sums(self, maps: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
        """Σ grad and Σ grad · (map − mean), (maps, 2, edges · C), from one gradient (N, C, H, W) an edge."""
        sums = self.means.new_empty(len(maps), 2, self.means.shape[1])
        self._call("mix_sums", maps, grads=grads, mean=self.means, sums=sums)
        return sums

    def common_gradients(self, maps: Sequence[Tensor], grads: Sequence[Tensor], sums: Tensor) -> list[Tensor | None]:
        """Of the common maps, each summed over the edges and through its batch norm."""
        chains = len(self.plan.chains)
        own = [torch.empty_like(x) for x in maps[chains:]]
        values = maps[0].numel() // self.plan.edges // maps[0].shape[1]
        training = [each is not None and each.training for each in self.plan.common]
        share = sums.new_tensor([0] * chains + training) / values
        whole = (sums * self.scales[:, None]).view(len(maps), 2, self.plan.edges, -1)
        mean_grad, along = (whole.sum(2) * share[:, None, None]).unbind(1)
        mean, invstd = self._by_edge(self.means)[:, 0], self._by_edge(self.invstds)[:, 0]
        slope = -(invstd**3) * along
        shift = -slope * mean - invstd * mean_grad
        map_grads = [*([None] * chains), *own]
        affine = {"scale": self.factors, "slope": slope, "shift": shift}
        self._call("mix_shared_gradients", maps, **affine, grads=grads, map_grads=map_grads)
        return [*own]

    def _by_edge(self, values: Tensor) -> Tensor:
        """(maps, edges · C) → (maps, edges, C)."""
        return values.view(len(values), self.plan.edges, -1)

    def _call(self, function: str, maps: Sequence[Tensor], **values: Value) -> None:
        """Calls a kernel."""
        (images, channels, height, width), edges = maps[0].shape, self.plan.edges
        sizes = {"images": images // edges, "edges": edges, "channels": channels, "pixels": height * width}
        fields = MixFields(terms=len(maps), **sizes)
        shared = torch.tensor([0] * len(self.plan.chains) + [1] * len(self.plan.common))
        call(function, fields, maps[0].dtype, maps=maps, shared=shared, **values)
