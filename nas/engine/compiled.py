"""What leaves a state as one function over compiled kernels (nas/cells/native): chains of layers and their sum.

Each map is read and written as few times as can be: a segment's batch norm, activation and convolutions are one pass,
and the backward of a batch norm is an affine map within the next pass. Maps of all edges are (edges · N, C, H, W).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, starmap
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nas.engine import native
from nas.engine.chains import Modules, letter
from nas.engine.kernels import LAST, Statistics, buffers, update_running

ACTIVATIONS: dict[type[nn.Module], int] = {nn.ReLU: 1, nn.ReLU6: 2}


@dataclass(frozen=True)
class Part:
    """A segment: [activation] → depthwise convolution and/or pointwise convolution → batch norm, of all edges."""

    activation: int
    depthwise: Modules
    pointwise: Modules
    norms: Modules

    @property
    def convs(self) -> list[nn.Conv2d]:
        """Edge by edge, the depthwise ones first."""
        return [*self.depthwise, *self.pointwise]  # type: ignore[list-item]

    @property
    def channels(self) -> tuple[int, int]:
        """That enter and leave one edge."""
        return self.convs[0].in_channels, self.convs[-1].out_channels

    def geometry(self, height: int, width: int) -> dict[str, int]:
        """Of the depthwise convolution on maps of this size, and the size of what it gives."""
        if not self.depthwise:
            return {"kernel": 0, "stride": 1, "padding": 0, "dilation": 1, "out_height": height, "out_width": width}
        conv = self.convs[0]
        kernel, stride, padding, dilation = (
            int(pair[0]) for pair in (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
        )
        rows, columns = ((side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for side in (height, width))
        found = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        return {**found, "out_height": rows, "out_width": columns}


def parts_of(layers: Sequence[Modules]) -> list[Part] | None:
    """The segments of a chain of activations, convolutions and batch norms; None where there is no kernel for one."""
    parts: list[Part] = []
    activation, convs = 0, dict[str, Modules]()
    for layer in layers:
        kind = letter(layer[0])
        if kind == "a":
            activation = ACTIVATIONS[type(layer[0])]
        elif kind == "b":
            parts.append(Part(activation, convs.get("depthwise", ()), convs.get("pointwise", ()), layer))
            activation, convs = 0, {}
        else:
            form = form_of(layer[0])
            if not form or form in convs or "pointwise" in convs:
                return None
            convs[form] = layer
    return parts


def form_of(conv: nn.Module) -> str:
    """Which of the two convolutions of a segment this can be; empty: neither."""
    assert isinstance(conv, nn.Conv2d)
    square = all(len(set(pair)) == 1 for pair in (conv.kernel_size, conv.stride, conv.padding, conv.dilation))
    if square and conv.kernel_size[0] in (3, 5, 7) and conv.groups == conv.in_channels == conv.out_channels:
        return "depthwise" if 0 <= int(conv.padding[0]) <= (conv.kernel_size[0] - 1) * conv.dilation[0] else ""
    plain = (conv.kernel_size, conv.stride, conv.padding, conv.groups) == ((1, 1), (1, 1), (0, 0), 1)
    return "pointwise" if plain else ""


def can_compile(x: Tensor, parts: Sequence[Part]) -> bool:
    """Whether there are kernels for these segments on such maps."""
    channels = [count for part in parts for count in part.channels]
    fits = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and native.lanes_for(channels) > 0
    return fits and native.library() is not None


class Moments(NamedTuple):
    """Of batch norms over a map: mean and 1/√(variance + ε) of all edges' channels, float64."""

    mean: Tensor
    invstd: Tensor


@dataclass(frozen=True)
class Plan:
    """What is added up: chains that start from the state, then maps that all edges share.

    Args:
        edges: how many.
        chains: the segments of each.
        shared: the batch norm of each shared map; None: it is added as it is.
        state: which of the shared maps is the state itself; -1: none.
        separate: every edge has a state of its own, (edges · N, C, H, W); then there is one chain, whose gradient of
            the state is not added to another's.
    """

    edges: int
    chains: Sequence[Sequence[Part]]
    shared: Sequence[Statistics | None] = ()
    state: int = -1
    separate: bool = False

    def __post_init__(self) -> None:
        assert not self.separate or len(self.chains) == 1

    @property
    def slices(self) -> list[slice]:
        """Where each chain's segments are among all."""
        ends = accumulate((len(parts) for parts in self.chains), initial=0)
        return list(starmap(slice, pairwise(ends)))

    @property
    def parameters(self) -> list[Tensor]:
        """All convolutions' weights."""
        return [conv.weight for parts in self.chains for part in parts for conv in part.convs]

    @property
    def training(self) -> bool:
        """Whether the batch norms normalise by the batch."""
        return bool(self.chains[0][0].norms[0].training)

    def moments(self, maps: Sequence[Tensor]) -> list[Moments]:
        """Of the shared maps."""
        found = []
        for x, stats in zip(maps, self.shared, strict=True):
            plain = torch.zeros(x.shape[1]), torch.ones(x.shape[1])
            mean, invstd = plain if stats is None else (stats.mean, stats.invstd)
            found.append(Moments(mean.double().repeat(self.edges), invstd.double().repeat(self.edges)))
        return found


@dataclass
class Passed:
    """What a segment's forward pass leaves for its backward pass, but for the maps.

    Args:
        fields: of the kernel's structure.
        entered, left: the batch norms before it (None: its input is not normalised) and after.
    """

    fields: dict[str, Any]
    entered: Moments | None
    left: Moments


class CompiledMix(torch.autograd.Function):
    """Σ weight · batch norm over the chains and the shared maps.

    ``CompiledMix.apply(plan, x, weights, *shared, *plan.parameters)``: the state x (N, C, H, W), or (edges · N, C, H,
    W) of an edge each; weights (chains + shared maps, edges), shared maps (N, C, H', W') → one (N, C, H', W') an edge.
    """

    @staticmethod
    def forward(ctx: Any, plan: Plan, x: Tensor, weights: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        x, weights = x.contiguous(memory_format=LAST), weights.contiguous()
        parameters = iter(others[len(plan.shared) :])
        shared = [each.contiguous(memory_format=LAST) for each in others[: len(plan.shared)]]
        maps: list[Tensor] = []
        ctx.plan, ctx.passed = plan, []
        for parts in plan.chains:
            y, entered = x, None
            for part in parts:
                y, passed = forward_segment(plan, part, y, entered, parameters)
                entered = passed.left
                maps.append(y)
                ctx.passed.append(passed)
        ctx.save_for_backward(x, weights, *shared, *maps)
        return mixture_of(plan, weights, shared, maps, ctx.passed).forward().chunk(plan.edges)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        plan: Plan = ctx.plan
        x, weights, *saved = ctx.saved_tensors
        shared, maps = saved[: len(plan.shared)], saved[len(plan.shared) :]
        edges = [grad.contiguous(memory_format=LAST) for grad in grads]
        mixture = mixture_of(plan, weights, shared, maps, ctx.passed)
        sums = mixture.sums(edges)
        x_grad: Tensor | None = None
        shared_grads: list[Tensor | None] = [None] * len(shared)
        if ctx.needs_input_grad[1]:
            shared_grads = [*mixture.shared_gradients(edges, sums)]
            x_grad = torch.zeros_like(x, memory_format=LAST) if plan.state < 0 else shared_grads[plan.state]
        if plan.state >= 0:
            shared_grads[plan.state] = None  # the chains' part comes to it: it goes back as that of x
        found: list[Tensor | None] = [None] * len(plan.parameters)
        learning = any(ctx.needs_input_grad[3 + len(shared) :])
        if learning or x_grad is not None:
            found = []
            for term, where in enumerate(plan.slices):
                entering, leaving = [x, *maps[where][:-1]], maps[where]
                chain = Chain(ctx.passed[where], entering, leaving, plan.training, learning)
                found += chain.backward(x_grad, edges, weights[term], sums[term])
        return None, x_grad, mixture.weight_gradients(sums), *shared_grads, *found


def forward_segment(
    plan: Plan, part: Part, x: Tensor, entered: Moments | None, parameters: Iterator[Tensor]
) -> tuple[Tensor, Passed]:
    """A segment's map before its batch norm, (edges · N, C', H', W'); the running statistics move.

    Args:
        x: the state, or (edges · N, C, H, W).
        entered: the batch norm over ``x``; None: it is the state.
        parameters: the next are this segment's.
    """
    edges, (channels, out) = plan.edges, part.channels
    shared = entered is None and not plan.separate
    images = x.shape[0] if shared else x.shape[0] // edges
    weights = [
        torch.cat([next(parameters) for _ in convs]) if convs else None for convs in (part.depthwise, part.pointwise)
    ]
    fields: dict[str, Any] = {
        "lanes": native.lanes_for(part.channels),
        "images": images,
        "edges": edges,
        "shared": shared,
        "channels": channels,
        "height": x.shape[2],
        "width": x.shape[3],
        "out": out,
        **part.geometry(x.shape[2], x.shape[3]),
        "pointwise": bool(part.pointwise),
        "activation": part.activation,
        "depthwise_weight": weights[0],
        "pointwise_weight": weights[1],
        "x_mean": entered and entered.mean,
        "x_invstd": entered and entered.invstd,
    }
    y = x.new_empty(edges * images, fields["out_height"], fields["out_width"], out).permute(0, 3, 1, 2)
    mean, var = torch.empty(2, edges * out, dtype=torch.float64)
    native.run("segment_forward", native.SegmentCall, x.dtype, **fields, x=x, y=y, y_mean=mean, y_var=var)
    return y, Passed(fields, entered, settled(part.norms, mean, var, y.numel() // (edges * out)))


def settled(norms: Modules, mean: Tensor, var: Tensor, values: int) -> Moments:
    """In training the batch's moments, towards which the running statistics are moved; else the running ones.

    Args:
        mean, var: of the batch, (edges · channels), of so many values each.

    Raises:
        ValueError: one value has no variance.
    """
    if norms[0].training and values < 2:
        raise ValueError(f"batch norm in training needs more than {values} value a channel")
    if norms[0].training:
        running = buffers(norms, "running_mean")[0].dtype
        update_running(norms, torch.stack([mean, var * (values / (values - 1))]).to(running))  # type: ignore[arg-type]
    else:
        mean, var = (torch.cat(buffers(norms, name)).double() for name in ("running_mean", "running_var"))
    return Moments(mean, torch.rsqrt(var + norms[0].eps))  # type: ignore[operator]


@dataclass
class Chain:
    """A chain of segments on its way back.

    Args:
        passed: what each left.
        entering, leaving: each one's maps.
        training: whether batch norms normalised by the batch.
        learning: whether the gradients of the convolutions' weights are wanted.
    """

    passed: Sequence[Passed]
    entering: Sequence[Tensor]
    leaving: Sequence[Tensor]
    training: bool
    learning: bool

    def backward(
        self, x_grad: Tensor | None, grads: Sequence[Tensor], weight: Tensor, sums: Tensor
    ) -> list[Tensor | None]:
        """Adds the gradient of the state to ``x_grad``; gives those of the convolutions' weights, edge by edge.

        Args:
            grads: of the mix, one an edge, of which the chain's share is its weight, (edges,).
            sums: over the last batch norm, of :meth:`Mixture.sums`.
        """
        found: list[Tensor | None] = []
        scale: Tensor | None = weight.double()
        for passed, x, y in reversed(list(zip(self.passed, self.entering, self.leaving, strict=True))):
            into, x_sums = x_grad, None
            if passed.entered is not None:
                into, x_sums = torch.empty_like(x), sums.new_empty(2, len(passed.entered.mean))
            weights = [passed.fields[name] for name in ("depthwise_weight", "pointwise_weight")]
            own = [torch.empty_like(each) if self.learning and each is not None else None for each in weights]
            native.run(
                "segment_backward",
                native.SegmentCall,
                x.dtype,
                **passed.fields,
                x=x,
                y=y,
                y_mean=passed.left.mean,
                y_invstd=passed.left.invstd,
                y_grad=list(grads),
                y_weight=scale,
                y_sums=sums if self.training else None,
                x_grad=into,
                x_sums=x_sums,
                depthwise_grad=own[0],
                pointwise_grad=own[1],
            )
            split = [
                [None] * len(grads) if grad is None else grad.chunk(len(grads))
                for grad, each in zip(own, weights, strict=True)
                if each is not None
            ]
            found = [*(grad for part in split for grad in part), *found]
            if into is not None and x_sums is not None:
                grads, scale, sums = into.chunk(len(grads)), None, x_sums
        return found


def mixture_of(
    plan: Plan, weights: Tensor, shared: Sequence[Tensor], maps: Sequence[Tensor], passed: Sequence[Passed]
) -> "Mixture":
    """Of the last maps of all chains and the shared maps."""
    lasts = [where.stop - 1 for where in plan.slices]
    moments = [passed[last].left for last in lasts] + plan.moments(shared)
    return Mixture(plan, [*(maps[last] for last in lasts), *shared], moments, weights)


@dataclass
class Mixture:
    """The weighted sum of batch-normalised maps.

    Args:
        plan: which of the maps are of all edges, (edges · N, C, H, W), and which shared, (N, C, H, W).
        maps: chains' last ones, then the shared ones.
        moments: of their batch norms.
        weights: (maps, edges).
    """

    plan: Plan
    maps: Sequence[Tensor]
    moments: Sequence[Moments]
    weights: Tensor

    def _run(self, function: str, **fields: Any) -> None:
        """Calls a kernel."""
        edges, (images, channels, height, width) = self.plan.edges, self.maps[0].shape
        shared = torch.tensor([0] * len(self.plan.chains) + [1] * len(self.plan.shared))
        fields |= {"images": images // edges, "edges": edges, "channels": channels, "pixels": height * width}
        fields |= {
            "lanes": native.lanes_for([channels]),
            "terms": len(self.maps),
            "maps": list(self.maps),
            "shared": shared,
        }
        native.run(function, native.MixCall, self.maps[0].dtype, **fields)

    @property
    def means(self) -> Tensor:
        """(maps, edges · channels)."""
        return torch.stack([each.mean for each in self.moments])

    @property
    def invstds(self) -> Tensor:
        """(maps, edges, channels)."""
        return torch.stack([each.invstd for each in self.moments]).view(len(self.maps), self.plan.edges, -1)

    @property
    def scales(self) -> Tensor:
        """Weight / σ, (maps, edges · channels)."""
        return (self.weights.double()[..., None] * self.invstds).flatten(1)

    def forward(self) -> Tensor:
        """(edges · N, C, H, W)."""
        scale, out = self.scales, torch.empty_like(self.maps[0])
        self._run("mix_forward", scale=scale, offset=-(scale * self.means).sum(0), out=out)
        return out

    def sums(self, grads: Sequence[Tensor]) -> Tensor:
        """Σ grad and Σ grad · (map − mean), (maps, 2, edges · channels), from one gradient (N, C, H, W) an edge."""
        means = self.means
        sums = means.new_empty(len(self.maps), 2, means.shape[1])
        self._run("mix_sums", grads=list(grads), mean=means, sums=sums)
        return sums

    def weight_gradients(self, sums: Tensor) -> Tensor:
        """(maps, edges)."""
        return (sums[:, 1].view_as(self.invstds) * self.invstds).sum(2).to(self.weights.dtype)

    def shared_gradients(self, grads: Sequence[Tensor], sums: Tensor) -> list[Tensor]:
        """Of the shared maps, each summed over the edges and through its batch norm."""
        chains, edges = len(self.plan.chains), self.plan.edges
        own = [torch.empty_like(x) for x in self.maps[chains:]]
        values = self.maps[0].numel() // edges // self.maps[0].shape[1]
        normed = [stats is not None and self.plan.training for stats in self.plan.shared]
        moving = sums.new_tensor([0] * chains + normed) / values
        whole = sums.view(len(self.maps), 2, edges, -1) * self.weights.double()[:, None, :, None]
        mean_grad, along = (whole.sum(2) * moving[:, None, None]).unbind(1)
        invstd, mean = self.invstds[:, 0], self.means.view_as(self.invstds)[:, 0]
        slope = -(invstd**3) * along
        fields = {"slope": slope, "shift": -slope * mean - invstd * mean_grad, "scale": self.scales}
        self._run("mix_shared_gradients", **fields, grads=list(grads), map_grads=[*([None] * chains), *own])
        return own
