"""The merged engine on torch's own functions, on any device. Maps of all edges are (N, edges · C, H, W)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.blocks.grids import from_grids, to_grids
from nas.blocks.layers import pad_to_even
from nas.engine.backend import Backend, Chain, Contribution, Summand, spread_rows
from nas.engine.library.functions import LAST, MixFunction, SegmentFunction, spread
from nas.engine.segments import MergedConvolution, MergedSegment, Statistics


class Library(Backend):
    """The back end that can run all chains.

    What they read of the state is one of its forms: the ``state`` itself, its ``relu``; of this the ``even`` or the
    ``odd`` pixels, or its four half-resolution ``grids``, on which the maps then stay until they are summed.
    """

    shares = True

    def __init__(self, state: Tensor, edges: int) -> None:
        super().__init__(state, edges)
        self.forms = {"state": state}
        self.summands: list[Summand] = []
        self.grids: list[Summand] = []

    @staticmethod
    def available(device: str) -> bool:
        return True

    @staticmethod
    def supports(chain: Chain, state: Tensor) -> bool:
        return True

    def states(self) -> Sequence[Tensor]:
        """Views of the state, whose gradients are added up over the edges in one go."""
        return self.state.unsqueeze(1).expand(-1, self.edges, -1, -1, -1).unbind(1)

    def maps(self, chain: Chain, row: Tensor, starts: Sequence[Tensor] | None = None) -> Sequence[Tensor]:
        summand, form = self.run(chain, row, starts)
        y = mix([summand])
        return (from_grids(y) if form == "grids" else y).chunk(self.edges, dim=1)

    def add(self, chain: Chain, row: Tensor, starts: Sequence[Tensor] | None = None) -> Sequence[Tensor]:
        summand, form = self.run(chain, row, starts)
        (self.grids if form == "grids" else self.summands).append(summand)
        return ()

    @property
    def empty(self) -> bool:
        return not self.summands and not self.grids

    def contributions(self, common: Sequence[Summand]) -> list[Contribution]:
        sums = [mix(self.summands)] if self.summands else []
        sums += [from_grids(mix(self.grids))] if self.grids else []
        own = list(enumerate(sum(sums[1:], sums[0]).chunk(self.edges, dim=1))) if sums else []
        return [*own, *enumerate(mix_common(common) if common else ())]

    def run(self, chain: Chain, row: Tensor, starts: Sequence[Tensor] | None) -> tuple[Summand, str]:
        """A chain's last map, and the form of the state it started from."""
        first, form = chain[0], "state"
        if starts is not None:
            y = torch.cat(list(starts), dim=1).to(self.state.dtype, memory_format=LAST)  # a step may have made it wider
            y = convolve(first, y, None)
        elif first.odd:
            y = self.side_by_side(first.convolutions[0], first.odd)
        else:
            form = form_of(chain, self.state)
            y = self.start(first, form)
        statistics = first.norm.statistics(y)
        for segment in chain[1:]:
            y = convolve(segment, y, statistics)
            statistics = segment.norm.statistics(y)
        return Summand(y, statistics, row), form

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
        y: Tensor = SegmentFunction.apply(x, narrow, None, None, None, activation, geometries, *weights)
        return y

    def side_by_side(self, even: MergedConvolution, odd: MergedConvolution) -> Tensor:
        """The maps of two convolutions of the even and of the odd pixels, put together edge by edge."""
        halves = []
        for form, convolution in (("even", even), ("odd", odd)):
            weight = torch.cat(convolution.weights).to(self.state.dtype)
            halves.append(F.conv2d(self.form(form), weight).unflatten(1, (self.edges, -1)))
        return torch.cat(halves, dim=2).flatten(1, 2).contiguous(memory_format=LAST)

    def form(self, name: str) -> Tensor:
        """A form of the state, computed once."""
        if name not in self.forms:
            self.forms[name] = self._form(name)
        return self.forms[name]

    def _form(self, name: str) -> Tensor:
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
    """The form of the state that a chain reads: a dilation of 2 is one of 1 at half resolution.

    At stride 1 on all four grids, at stride 2 only on the even one.
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
    affine = (statistics.scale, statistics.shift) if statistics else (None, None)
    z: Tensor = SegmentFunction.apply(y, None, statistics, *affine, segment.activation, geometries, *weights)
    return z


def weights_of(segment: MergedSegment, dtype: torch.dtype) -> list[Tensor]:
    """The weight of each convolution, edge after edge."""
    return [torch.cat(convolution.weights).to(dtype) for convolution in segment.convolutions]


def mix(summands: Sequence[Summand]) -> Tensor:
    """Σ weight · batch norm of maps (N, edges · C, H, W)."""
    maps, statistics, rows = zip(*summands, strict=True)
    channels = maps[0].shape[1] // len(rows[0])
    affine = [() if each.scale is None else (each.scale, each.shift) for each in statistics]
    scales, shift = spread_rows(rows, channels, affine, rows[0].dtype)
    y: Tensor = MixFunction.apply(scales, shift, statistics, *maps)
    return y


def mix_common(summands: Sequence[Summand]) -> list[Tensor]:
    """Per edge the weighted sum of maps (N, C, H, W) that all edges share: all edges are one matrix product."""
    maps = [each.map if each.statistics is None else normalise(each.map, each.statistics) for each in summands]
    n, c, h, w = maps[0].shape
    flat = torch.stack([x.permute(0, 2, 3, 1) for x in maps]).flatten(1)
    sums = torch.stack([each.row for each in summands], dim=1).to(flat.dtype) @ flat
    return list(sums.view(-1, n, h, w, c).permute(0, 1, 4, 2, 3).unbind())


def normalise(x: Tensor, statistics: Statistics) -> Tensor:
    """A batch norm's output."""
    return mix([Summand(x, statistics, torch.ones(1, dtype=statistics.mean.dtype, device=x.device))])
