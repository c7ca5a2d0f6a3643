"""The merged engine on torch's own functions, on any device. Maps of all edges are (N, edges · C, H, W)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.blocks.layers import from_grids, pad_to_even, to_grids
from nas.engine.backend import Backend, Chain, CommonMap, Contribution
from nas.engine.library.functions import LAST, MixFunction, SegmentFunction, spread
from nas.engine.segments import MergedConvolution, MergedSegment, Statistics

Normed = tuple[Tensor, Statistics, Tensor]
"""A map (N, edges · C, H, W), the statistics of its batch norms, its mixing weights (edges,)."""


class Library(Backend):
    """The back end that can run all chains."""

    def __init__(self, state: Tensor, edges: int) -> None:
        super().__init__(state, edges)
        self.forms = {"state": state}
        self.maps: list[Normed] = []
        self.grids: list[Normed] = []

    @staticmethod
    def supports(chain: Chain, state: Tensor) -> bool:
        return True

    def states(self) -> Sequence[Tensor]:
        """Views, whose gradients are added up over the edges in one go."""
        return self.state.unsqueeze(1).expand(-1, self.edges, -1, -1, -1).unbind(1)

    def weighted(self, chain: Chain, row: Tensor, starts: Sequence[Tensor] | None = None) -> Sequence[Tensor]:
        y, statistics, form = self.run(chain, starts)
        mixed = mix([(y, statistics, row)])
        return (from_grids(mixed) if form == "grids" else mixed).chunk(self.edges, dim=1)

    def add(self, chain: Chain, row: Tensor, starts: Sequence[Tensor] | None = None) -> Sequence[Tensor]:
        y, statistics, form = self.run(chain, starts)
        (self.grids if form == "grids" else self.maps).append((y, statistics, row))
        return ()

    @property
    def pending(self) -> bool:
        return bool(self.maps or self.grids)

    def contributions(self, common: Sequence[CommonMap]) -> list[Contribution]:
        mixed = [mix(self.maps)] if self.maps else []
        mixed += [from_grids(mix(self.grids))] if self.grids else []
        own = list(enumerate(sum(mixed[1:], mixed[0]).chunk(self.edges, dim=1))) if mixed else []
        return own + list(enumerate(mix_common(common) if common else ()))

    def run(self, chain: Chain, starts: Sequence[Tensor] | None) -> tuple[Tensor, Statistics, str]:
        """A chain's last map before its batch norm, that norm's statistics, and the form of the state it reads."""
        first, form = chain[0], "state"
        if starts is not None:
            whole = torch.cat(list(starts), dim=1).contiguous(memory_format=LAST)
            y = convolve(first, whole, None)
        elif first.shifted:
            y = self.side_by_side(first.convolutions[0], first.shifted)
        else:
            form = form_of(chain, self.state)
            y = self.start(first, form)
        statistics = first.norm.statistics(y)
        for segment in chain[1:]:
            y = convolve(segment, y, statistics)
            statistics = segment.norm.statistics(y)
        return y, statistics, form

    def start(self, segment: MergedSegment, form: str) -> Tensor:
        """A segment's map before its batch norm, from a form of the state.

        A convolution from all channels (dense) reads it as it is, others read it once for every edge.
        """
        geometries = [convolution.geometry for convolution in segment.convolutions]
        if form in ("even", "grids"):
            padding = tuple(side // 2 for side in geometries[0].padding)
            geometries[0] = geometries[0]._replace(stride=(1, 1), padding=padding, dilation=(1, 1))
        x, narrow = self.form(form), None
        if segment.convolutions[0].modules[0].groups == 1:
            geometries[0] = geometries[0]._replace(groups=1)
        else:
            x, narrow = self.wide(form), x.detach()
        activation = segment.activation if form == "state" else None
        weights = weights_of(segment, x.dtype)
        y: Tensor = SegmentFunction.apply(x, narrow, None, activation, geometries, *weights)
        return y

    def side_by_side(self, even: MergedConvolution, odd: MergedConvolution) -> Tensor:
        """Two convolutions of the even and the odd pixels of the relu, put together edge by edge."""
        halves = []
        for form, convolution in (("even", even), ("odd", odd)):
            weight = torch.cat(convolution.weights).to(self.state.dtype)
            halves.append(F.conv2d(self.form(form), weight).unflatten(1, (self.edges, -1)))
        return torch.cat(halves, dim=2).flatten(1, 2).contiguous(memory_format=LAST)

    def form(self, name: str) -> Tensor:
        """Of the state, computed once: itself, its ``relu``, of this every second pixel (``even``, ``odd``: shifted by
        one down and right), its four half-resolution ``grids``."""
        if name not in self.forms:
            self.forms[name] = self.derive(name)
        return self.forms[name]

    def derive(self, name: str) -> Tensor:
        if name == "relu":
            return F.relu(self.state)
        relu = self.form("relu")
        if name == "grids":
            return to_grids(relu)
        if name == "odd":
            return pad_to_even(relu)[:, :, 1::2, 1::2]
        return relu[:, :, ::2, ::2].contiguous(memory_format=LAST)

    def wide(self, form: str) -> Tensor:
        """That form with its channels repeated for every edge."""
        if self.edges == 1:
            return self.form(form)
        if f"wide {form}" not in self.forms:
            self.forms[f"wide {form}"] = spread(self.form(form), self.edges)
        return self.forms[f"wide {form}"]


def form_of(chain: Chain, state: Tensor) -> str:
    """What a chain reads of the state: a convolution of dilation 2 is one of dilation 1 at half resolution.

    At stride 1 on all four grids, in whose order the maps stay until they are summed; at stride 2 only the even one.
    """
    if chain[0].activation is not nn.ReLU:
        return "state"
    first, *rest = (convolution.modules[0] for convolution in chain[0].convolutions)
    same = first.padding == (first.kernel_size[0] - 1, first.kernel_size[1] - 1)
    if len(chain) > 1 or first.dilation != (2, 2) or not same or any(max(conv.kernel_size) > 1 for conv in rest):
        return "relu"
    if first.stride == (2, 2):
        return "even"
    even = state.shape[2] % 2 == 0 and state.shape[3] % 2 == 0
    return "grids" if first.stride == (1, 1) and even else "relu"


def convolve(segment: MergedSegment, y: Tensor, statistics: Statistics | None) -> Tensor:
    """A segment's map before its batch norm; what enters is under a batch norm of those statistics, or under none."""
    geometries = [convolution.geometry for convolution in segment.convolutions]
    weights = weights_of(segment, y.dtype)
    z: Tensor = SegmentFunction.apply(y, None, statistics, segment.activation, geometries, *weights)
    return z


def weights_of(segment: MergedSegment, dtype: torch.dtype) -> list[Tensor]:
    """Of each convolution, edge after edge."""
    return [torch.cat(convolution.weights).to(dtype) for convolution in segment.convolutions]


def mix(maps: Sequence[Normed]) -> Tensor:
    """Σ weight · batch norm, (N, edges · C, H, W)."""
    ys, statistics, rows = zip(*maps, strict=True)
    mixed: Tensor = MixFunction.apply(torch.stack(rows), statistics, *ys)
    return mixed


def mix_common(maps: Sequence[CommonMap]) -> list[Tensor]:
    """Per edge the weighted sum of common maps: all edges are one matrix product."""
    normed = [x if statistics is None else normalised(x, statistics) for x, statistics, _ in maps]
    n, c, h, w = normed[0].shape
    flat = torch.stack([x.permute(0, 2, 3, 1) for x in normed]).flatten(1)
    sums = torch.stack([row for _, _, row in maps], dim=1).to(flat.dtype) @ flat
    return list(sums.view(-1, n, h, w, c).permute(0, 1, 4, 2, 3).unbind())


def normalised(y: Tensor, statistics: Statistics) -> Tensor:
    """A batch norm's output, for all edges the same."""
    return mix([(y, statistics, torch.ones(1, dtype=statistics.mean.dtype, device=y.device))])
