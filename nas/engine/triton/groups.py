"""Segments that one launch computes: those of several chains, as deep in each, of one form."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

from nas.engine.backend import Chain
from nas.engine.segments import MergedConvolution, MergedSegment, Statistics


class Part(NamedTuple):
    """What computes some channels of a segment's map: its convolutions, the first of those channels."""

    depthwise: MergedConvolution | None
    pointwise: MergedConvolution | None
    channel: int = 0

    @property
    def sides(self) -> tuple[int, int, int]:
        """Kernel, dilation and padding of what reads the map: a pixel, of a segment's second part the one after it."""
        if self.depthwise is None:
            return 1, 1, -1 if self.channel else 0
        _, padding, dilation = self.depthwise.sides
        return self.depthwise.modules[0].kernel_size[0], dilation, padding

    @property
    def taps(self) -> list[Tensor]:
        """The depthwise weights, edge after edge."""
        return self.depthwise.weights if self.depthwise else []

    @property
    def convolutions(self) -> list[MergedConvolution]:
        return [each for each in (self.depthwise, self.pointwise) if each]


class Form(NamedTuple):
    """What the segments of a group have in common.

    Args:
        before: the group whose maps they read; None: they read the state.
        margin: pixels by which the map is larger than one of stride 1 would have to be, the kernel's reach subtracted.
        channels: that enter, that leave a part, that leave the segment.
    """

    before: int | None
    activation: type[nn.Module] | None
    stride: int
    margin: int
    channels: tuple[int, int, int]
    depthwise: bool
    pointwise: bool

    def side(self, pixels: int) -> int:
        """Of the map that leaves, from that of what enters."""
        return (pixels + self.margin - 1) // self.stride + 1


@dataclass(frozen=True, eq=False)
class Group:
    """Segments of one form, by the numbers of their chains."""

    form: Form
    segments: dict[int, MergedSegment] = field(default_factory=dict)

    def place(self, chain: int) -> int:
        """Of a chain's segment among those of the group."""
        return list(self.segments).index(chain)

    def parts(self) -> Iterator[tuple[int, Part]]:
        """The parts of each segment, with its chain."""
        for chain, segment in self.segments.items():
            for part in parts_of(segment):
                yield chain, part

    @property
    def widest(self) -> int:
        """Taps a side, at most."""
        return max(part.sides[0] for _, part in self.parts())

    @property
    def dilations(self) -> list[int]:
        """Of the parts."""
        return [part.sides[1] for _, part in self.parts()]

    @property
    def weights(self) -> list[Tensor]:
        """Of each convolution, edge after edge."""
        return [weight for _, part in self.parts() for each in part.convolutions for weight in each.weights]


def parts_of(segment: MergedSegment) -> list[Part]:
    """One, or two that are side by side."""
    if segment.odd:
        even = segment.convolutions[0]
        return [Part(None, even), Part(None, segment.odd, even.modules[0].out_channels)]
    return [Part(segment.depthwise, segment.pointwise)]


def groups_of(chains: Sequence[Chain]) -> list[Group]:
    """Each after those whose maps it reads; equal dilations together, the widest of their kernels first."""
    groups: list[Group] = []
    where: dict[int, int | None] = dict.fromkeys(range(len(chains)))

    def rank(chain: int) -> tuple[int, int]:
        kernel, dilation, _ = parts_of(chains[chain][0])[0].sides
        return dilation, -kernel

    order = sorted(where, key=rank)
    for depth in range(max(map(len, chains), default=0)):
        level: dict[Form, Group] = {}
        for chain in order:
            if depth < len(chains[chain]):
                form = form_of(chains[chain][depth], where[chain])
                level.setdefault(form, Group(form)).segments[chain] = chains[chain][depth]
        for group in level.values():
            where |= dict.fromkeys(group.segments, len(groups))
            groups.append(group)
    return groups


def form_of(segment: MergedSegment, before: int | None) -> Form:
    part = parts_of(segment)[0]
    first = (part.depthwise or segment.convolutions[0]).modules[0]
    kernel, dilation, padding = part.sides
    last = segment.convolutions[-1].modules[0]
    return Form(
        before,
        segment.activation,
        first.stride[0],
        2 * padding - (kernel - 1) * dilation,
        (first.in_channels, last.out_channels, segment.norm.modules[0].num_features),
        part.depthwise is not None,
        part.pointwise is not None,
    )


@dataclass(frozen=True)
class Plan:
    """What is added up: chains, then maps that all edges share.

    Args:
        edges: how many.
        groups: of the chains.
        chains: how many.
        common: the batch norm of each common map; None: it is added as it is.
        state: which of the common maps is the state itself; None: none is.
        apart: every edge has a state of its own, (edges · N, C, H, W); there is one chain then.
    """

    edges: int
    groups: Sequence[Group]
    chains: int
    common: Sequence[Statistics | None] = ()
    state: int | None = None
    apart: bool = False
