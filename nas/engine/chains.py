"""Chains of layers on all edges of a state at once: which modules form one, and how it runs.

A chain is segments, each [activation] → convolutions → batch norm. The channels of the edges stand one after another,
so that a convolution of several edges is one grouped convolution.
"""

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.blocks.layers import to_grids
from nas.engine.kernels import LAST, Geometry, Segment, Statistics, spread, statistics

Modules = Sequence[nn.Module]
"""The same module of each edge."""


class State:
    """A state and what several operations derive from it, computed once.

    Args:
        edges: how many read it.
    """

    def __init__(self, x: Tensor, edges: int) -> None:
        self.x = x
        self.edges = edges
        self.derived: dict[str, Tensor] = {}

    def get(self, form: str) -> Tensor:
        """``x``; ``relu``; ``even``: every second pixel of the relu; ``grids``: its four half-resolution grids."""
        if form == "x":
            return self.x
        if form not in self.derived:
            self.derived[form] = self._derive(form)
        return self.derived[form]

    def wide(self, form: str) -> Tensor:
        """That form with its channels repeated for every edge."""
        if self.edges > 1 and f"wide {form}" not in self.derived:
            self.derived[f"wide {form}"] = spread(self.get(form), self.edges)
        return self.derived[f"wide {form}"] if self.edges > 1 else self.get(form)

    def _derive(self, form: str) -> Tensor:
        if form == "relu":
            return F.relu(self.x)
        relu = self.get("relu")
        return to_grids(relu) if form == "grids" else relu[:, :, ::2, ::2].contiguous(memory_format=LAST)


def layers_of(modules: Modules) -> list[Modules] | None:
    """The layers of a chain, each with all its edges; None: something else is among them."""
    layers: list[Modules] = list(zip(*map(leaves, modules), strict=True))
    return layers if all(letter(layer[0]) for layer in layers) else None


def leaves(module: nn.Module) -> list[nn.Module]:
    """What runs, in order; a layer used twice is there twice, which ``module.modules()`` would hide."""
    if type(module) is nn.Sequential:
        return [leaf for child in module for leaf in leaves(child)]
    return [] if type(module) is nn.Identity else [module]


def letter(layer: nn.Module) -> str:
    """c: convolution, b: batch norm, a: activation; empty: none that can be merged."""
    if type(layer) is nn.Conv2d:
        plain = layer.bias is None and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        return "c" if plain else ""
    if type(layer) is nn.BatchNorm2d:
        return "" if layer.affine or layer.momentum is None or not layer.track_running_stats else "b"
    return "a" if type(layer) in (nn.ReLU, nn.ReLU6) else ""


SEGMENTS = re.compile(r"(a?c+b)+")


def can_run(layers: Sequence[Modules] | None) -> bool:
    """Whether the layers are segments, each [activation] → convolutions → batch norm."""
    return layers is not None and bool(SEGMENTS.fullmatch("".join(letter(layer[0]) for layer in layers)))


def run_shared(layers: Sequence[Modules], state: State, form: str = "x") -> tuple[Tensor, Statistics]:
    """A chain that starts from a form of the state, the same for all edges."""
    first, x, halved = layers[0][0], state.get(form), form in ("even", "grids")
    if isinstance(first, nn.Conv2d) and first.groups == 1:
        return run(layers, x, dense=True, halved=halved)
    return run(layers, state.wide(form), narrow=x.detach(), halved=halved)


def run(
    layers: Sequence[Modules], x: Tensor, *, narrow: Tensor | None = None, dense: bool = False, halved: bool = False
) -> tuple[Tensor, Statistics]:
    """A chain of segments on all edges: its last map before the batch norm, and that norm's statistics.

    Args:
        x: (N, edges·C, H, W).
        narrow: (N, C, H, W) where ``x`` is this for every edge.
        dense: ``x`` is (N, C, H, W), and the first convolution is one from C to edges·C channels.
        halved: ``x`` is at half the resolution, where the first convolution, of dilation 2, has dilation and stride 1.
    """
    stats: Statistics | None = None
    activation: type[nn.Module] | None = None
    geometries: list[Geometry] = []
    weights: list[Tensor] = []
    for layer in layers:
        if letter(layer[0]) == "a":
            activation = type(layer[0])
        elif letter(layer[0]) == "c":
            geometries.append(geometry_of(layer, dense, halved))
            weights.append(torch.cat([conv.weight for conv in layer]).to(x.dtype))  # type: ignore[misc]
            dense = halved = False
        else:
            x = Segment.apply(x, narrow, stats, activation, geometries, *weights)
            stats, activation, geometries, weights = statistics(layer, x), None, [], []  # type: ignore[arg-type]
            narrow = None
    assert stats is not None
    return x, stats


def geometry_of(convs: Modules, dense: bool, halved: bool) -> Geometry:
    """The geometry of several edges' convolutions as one."""
    first = convs[0]
    assert isinstance(first, nn.Conv2d) and not isinstance(first.padding, str)
    groups = 1 if dense else first.groups * len(convs)
    if halved:
        return Geometry((1, 1), (first.padding[0] // 2, first.padding[1] // 2), (1, 1), groups)
    return Geometry(first.stride, first.padding, first.dilation, groups)


def half_form(layers: Sequence[Modules], x: Tensor) -> str:
    """What a chain after a ReLU reads: a convolution of dilation 2 is one of dilation 1 at half resolution.

    At stride 1 on all four grids, in whose order the maps stay until they are summed; at stride 2 only the even one.
    """
    conv = layers[0][0]
    assert isinstance(conv, nn.Conv2d)
    code = "".join(letter(layer[0]) for layer in layers)
    same = conv.padding == (conv.kernel_size[0] - 1, conv.kernel_size[1] - 1)
    if conv.dilation != (2, 2) or not same or code.count("b") > 1:
        return "relu"
    if conv.stride == (2, 2):
        return "even"
    return "grids" if conv.stride == (1, 1) and x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0 else "relu"
