"""Segments of all edges that leave a state: the same layers, of each edge its own; read once, at construction."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas.blocks.segment import ModuleStep, Segment, Step, Term, terms_of
from nas.blocks.sync_norm import SyncBatchNorm, joint_statistics, unbiased

ATEN = torch.ops.aten
ACTIVATIONS = (None, nn.ReLU, nn.ReLU6)
"""That a segment can begin with."""


class Geometry(NamedTuple):
    """A convolution without its weight."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


class Statistics(NamedTuple):
    """Of a batch norm: per channel mean, (biased) variance and 1/√(variance + ε); whether they are the batch's.

    ``values``: how many a channel of all ranks, where several share the batch. ``scale``, ``shift``: γ and β of an
    affine one, (channels,), with their gradients; None: 1 and 0.
    """

    mean: Tensor
    var: Tensor
    invstd: Tensor
    eps: float
    training: bool
    values: Tensor | None = None
    scale: Tensor | None = None
    shift: Tensor | None = None


@dataclass(frozen=True)
class MergedConvolution:
    """A convolution of each edge; as one, the channels of the edges stand one after another."""

    modules: tuple[nn.Conv2d, ...]

    @cached_property
    def geometry(self) -> Geometry:
        """Of all as one, grouped by edge."""
        first = self.modules[0]
        assert not isinstance(first.padding, str)
        return Geometry(first.stride, first.padding, first.dilation, first.groups * len(self.modules))

    @cached_property
    def sides(self) -> tuple[int, int, int]:
        """Stride, padding and dilation, of a square one."""
        stride, padding, dilation, _ = self.geometry
        return stride[0], padding[0], dilation[0]

    @cached_property
    def kind(self) -> str:
        """Which of the two convolutions of a fused kernel this can be: "depthwise" or "pointwise"; else empty."""
        conv = self.modules[0]
        square = all(len(set(pair)) == 1 for pair in (conv.kernel_size, conv.stride, conv.padding, conv.dilation))
        if square and conv.kernel_size[0] in (3, 5, 7) and conv.groups == conv.in_channels == conv.out_channels:
            return "depthwise" if 0 <= int(conv.padding[0]) <= (conv.kernel_size[0] - 1) * conv.dilation[0] else ""
        plain = (conv.kernel_size, conv.stride, conv.padding, conv.groups) == ((1, 1), (1, 1), (0, 0), 1)
        return "pointwise" if plain else ""

    @property
    def weights(self) -> list[Tensor]:
        """Edge by edge, (C', C/groups, K, K)."""
        return [module.weight for module in self.modules]

    @property
    def mergeable(self) -> bool:
        first = self.modules[0]
        return first.bias is None and first.padding_mode == "zeros" and not isinstance(first.padding, str)


@dataclass(frozen=True)
class MergedNorm:
    """A batch norm of each edge, over its part of the channels of a map or all over the same whole map."""

    modules: tuple[nn.BatchNorm2d, ...]

    @property
    def mergeable(self) -> bool:
        first = self.modules[0]
        return first.momentum is not None and first.track_running_stats

    @property
    def affine(self) -> list[Tensor]:
        """γ and β of all edges, (edges · C,) each, with their gradients; none: it is not affine."""
        names = ("weight", "bias") if self.modules[0].affine else ()
        return [torch.cat(buffers(self.modules, name)) for name in names]

    def statistics(self, y: Tensor) -> Statistics:
        """Those of a map in training, towards which the running ones are moved; else the running ones; γ and β.

        Raises:
            ValueError: one value a channel has no variance.
        """
        scale, shift = self.affine or (None, None)
        return self._statistics(y)._replace(scale=scale, shift=shift)

    @torch.no_grad()
    def _statistics(self, y: Tensor) -> Statistics:
        if not self.modules[0].training:
            return self.of(*self.running(y.shape[1]))
        if isinstance(self.modules[0], SyncBatchNorm):
            mean, var, count = joint = joint_statistics(y)
            self.move(torch.stack([mean, unbiased(joint)]))
            return self.of(mean, var)._replace(values=count)
        check_values(y.numel() // y.shape[1])
        batch = torch.zeros(2, y.shape[1], dtype=torch.promote_types(y.dtype, torch.float32), device=y.device)
        mean, var = ATEN.batch_norm_update_stats(y, batch[0], batch[1], 1.0)
        self.move(batch)
        return self.of(mean, var)

    def of(self, mean: Tensor, var: Tensor) -> Statistics:
        """Statistics of that mean and (biased) variance."""
        eps, training = self.modules[0].eps, self.modules[0].training
        return Statistics(mean, var, torch.rsqrt(var + eps), eps, training)

    def running(self, channels: int) -> list[Tensor]:
        """The running mean and variance of a map with so many channels."""
        modules = self.modules[: channels // self.modules[0].num_features]
        return [torch.cat(buffers(modules, name)) for name in ("running_mean", "running_var")]

    def move(self, batch: Tensor) -> None:
        """Moves all running statistics towards a batch's mean and unbiased variance, (2, channels)."""
        running = buffers(self.modules, "running_mean"), buffers(self.modules, "running_var")
        targets = batch.to(running[0][0].dtype).view(2, -1, self.modules[0].num_features).unbind()
        for values, target in zip(running, targets, strict=True):
            parts = target.unbind() * (len(values) // target.shape[0])
            torch._foreach_lerp_(values, parts, self.modules[0].momentum or 0.0)
        torch._foreach_add_(buffers(self.modules, "num_batches_tracked"), 1)


def check_values(count: int) -> None:
    """Raises ValueError where so many values a channel have no variance."""
    if count < 2:
        raise ValueError(f"batch norm in training needs more than {count} value a channel")


def buffers(modules: Sequence[nn.Module], name: str) -> list[Tensor]:
    """A buffer or parameter of each."""
    return [getattr(module, name) for module in modules]


@dataclass(frozen=True)
class MergedSegment:
    """A :class:`Segment` of each edge."""

    activation: type[nn.Module] | None
    convolutions: tuple[MergedConvolution, ...]
    norm: MergedNorm
    odd: MergedConvolution | None

    @cached_property
    def fusable(self) -> bool:
        """Whether it is a depthwise convolution, a pointwise one, or first the one and then the other."""
        kinds = [convolution.kind for convolution in self.convolutions]
        return kinds in (["depthwise"], ["pointwise"], ["depthwise", "pointwise"]) and self.odd is None

    @cached_property
    def depthwise(self) -> MergedConvolution | None:
        return next((each for each in self.convolutions if each.kind == "depthwise"), None)

    @cached_property
    def pointwise(self) -> MergedConvolution | None:
        return next((each for each in self.convolutions if each.kind == "pointwise"), None)

    @property
    def weights(self) -> list[list[Tensor]]:
        """Of each convolution, edge by edge; a pair of 1×1 ones counts as one."""
        if self.odd:
            pairs = zip(self.convolutions[0].weights, self.odd.weights, strict=True)
            return [[weight for pair in pairs for weight in pair]]
        return [convolution.weights for convolution in self.convolutions]

    @cached_property
    def channels(self) -> tuple[int, int]:
        """That enter and leave one edge."""
        last = [each.modules[0].out_channels for each in (self.convolutions[-1], self.odd) if each]
        return self.convolutions[0].modules[0].in_channels, sum(last)

    @cached_property
    def form(self) -> tuple[int, ...]:
        """Channels that enter and leave an edge; kernel size (0: no depthwise convolution), stride, padding, dilation;
        whether there is a pointwise convolution; activation (0: none, 1: ReLU, 2: ReLU6); how many of the channels that
        leave are not of odd pixels.
        """
        first, last = self.convolutions[0], self.convolutions[-1].modules[0]
        kernel = first.modules[0].kernel_size[0] if self.depthwise else 0
        pointwise = self.odd is not None or self.pointwise is not None
        activation = ACTIVATIONS.index(self.activation)
        return *self.channels, kernel, *first.sides, int(pointwise), activation, last.out_channels

    @property
    def mergeable(self) -> bool:
        convolutions = [*self.convolutions, *([self.odd] if self.odd else [])]
        pair = self.odd is None or self.activation is nn.ReLU
        return pair and self.norm.mergeable and all(convolution.mergeable for convolution in convolutions)


@dataclass(frozen=True)
class Stage:
    """Steps, then a chain of segments: what stands between two changes from the one to the other."""

    steps: tuple[Step, ...]
    chain: tuple[MergedSegment, ...]


@dataclass(frozen=True)
class MergedTerm:
    """A :class:`Term` of each edge."""

    stages: tuple[Stage, ...]
    zeros: tuple[int, int]

    @cached_property
    def common(self) -> bool:
        """Whether it is the same map for all edges, but for their weights: there is no convolution in it."""
        return not any(segment.convolutions for stage in self.stages for segment in stage.chain)

    @cached_property
    def pooling(self) -> nn.MaxPool2d | nn.AvgPool2d | None:
        """The 3×3 pooling that it is, with at most a batch norm."""
        steps = [step for stage in self.stages for step in stage.steps]
        pool = steps[0].module if len(steps) == 1 and isinstance(steps[0], ModuleStep) else None
        if self.zeros != (0, 0) or not isinstance(pool, (nn.MaxPool2d, nn.AvgPool2d)):
            return None
        sizes = (pool.kernel_size, pool.stride, pool.padding)
        sides = [each if isinstance(each, int) else each[0] for each in sizes]
        square = all(isinstance(each, int) or len(set(each)) == 1 for each in sizes)
        other = pool.ceil_mode or getattr(pool, "dilation", 1) != 1 or getattr(pool, "count_include_pad", False)
        return pool if square and not other and (sides[0], sides[2]) == (3, 1) and sides[1] in (1, 2) else None

    @property
    def mergeable(self) -> bool:
        """Whether an engine can run it: a map under at most one batch norm, or chains with steps between."""
        segments = [segment for stage in self.stages for segment in stage.chain]
        if not all(segment.mergeable for segment in segments) or any(segment.odd for segment in segments[1:]):
            return False
        if self.common:
            single = len(segments) == 1 and bool(self.stages[-1].chain) and self.zeros == (0, 0)
            return not segments or (single and not segments[0].norm.modules[0].affine)
        convolves = all(stage.chain for stage in self.stages) and all(segment.convolutions for segment in segments)
        return convolves and not self.stages[0].steps


def merge_terms(operations: Sequence[nn.Module]) -> list[MergedTerm] | None:
    """The terms of one operation on all edges; None: there is no rule to merge it."""
    terms = [each for each in map(terms_of, operations) if each is not None]
    if len(terms) < len(operations):
        return None
    plan = [merge_term(same) for same in zip(*terms, strict=True)]
    return plan if all(term.mergeable for term in plan) else None


def merge_term(terms: Sequence[Term]) -> MergedTerm:
    """The same term of each edge as one; a step is the same for all edges."""
    stages: list[Stage] = []
    steps: tuple[Step, ...] = ()
    pieces = zip(*(term.pieces for term in terms), strict=True)
    for convolves, group in groupby(pieces, lambda same: isinstance(same[0], Segment)):
        if convolves:
            stages.append(Stage(steps, tuple(merge_segments(same) for same in group)))
            steps = ()
        else:
            steps = tuple(same[0] for same in group)
    return MergedTerm((*stages, Stage(steps, ())) if steps else tuple(stages), terms[0].zeros)


def merge_segments(segments: Sequence[Segment]) -> MergedSegment:
    """The same segment of each edge as one."""
    first = segments[0]
    odd = tuple(segment.odd for segment in segments if segment.odd)
    return MergedSegment(
        first.activation,
        tuple(map(MergedConvolution, zip(*(segment.convolutions for segment in segments), strict=True))),
        MergedNorm(tuple(segment.norm for segment in segments)),
        MergedConvolution(odd) if odd else None,
    )
