"""The one skeleton of cell networks: stem, cells, head. What fills the cells is passed in.

A cell hands each of its states to that state's fan-out, which returns what leaves the state towards the nodes that read
it. The reference supernet, the merged one and a found network differ only in their fan-outs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nas.blocks.layers import FactorizedReduce, conv_bn, relu_conv_bn
from nas.blocks.residual import ResidualReduction
from nas.cells.recompute import recomputed
from nas.errors import UsageError
from nas.skeleton import SKELETONS, Skeleton

Weights = Sequence[Any]
"""Per cell what its fan-outs weigh with: (edges, operations), or a path an edge."""


@dataclass(frozen=True)
class Filling:
    """What fills a cell.

    Args:
        fan_outs: for states 0, 1, … a module: (state, mixing weights) → list of (node, contribution). A cell with
            k nodes has k + 1 of them, as nothing reads the last node.
        concat: the states whose concatenation is the cell's output.
    """

    fan_outs: Sequence[nn.Module]
    concat: Sequence[int]


Fill = Callable[[str, int], Filling]
"""``fill(kind, channels)``: kind is "normal" or "reduce"; in a reduce cell, states 0 and 1 are read at stride 2."""


def stride_of(kind: str, state: int) -> int:
    """In a reduction cell the edges from the two inputs have stride 2, all others stride 1."""
    return 2 if kind == "reduce" and state < 2 else 1


class CellModule(nn.Module):
    """Preprocesses its inputs, sums the nodes, concatenates.

    Args:
        inputs: modules that bring the outputs of the last cells, oldest first, to this cell's channels and size.
        filling: its fan-outs and concatenated states.
    """

    def __init__(self, inputs: Sequence[nn.Module], filling: Filling) -> None:
        super().__init__()
        self.inputs = nn.ModuleList(inputs)
        self.fan_outs = nn.ModuleList(filling.fan_outs)
        self.concat = tuple(filling.concat)

    def forward(self, inputs: Sequence[Tensor], weights: Any = None) -> Tensor:
        """[(N, C₋₂, H₋₂, W₋₂),] (N, C₋₁, H, W) → (N, len(concat)·C, H/stride, W/stride)."""
        states: dict[int, Tensor] = {
            i: module(x) for i, (module, x) in enumerate(zip(self.inputs, inputs, strict=True))
        }
        for index, fan_out in enumerate(self.fan_outs):
            for node, contribution in fan_out(states[index], weights) if index in states else ():
                state = node + len(self.inputs)
                states[state] = states[state] + contribution if state in states else contribution
        return torch.cat([states[index] for index in self.concat], dim=1)


class CellNetwork(nn.Module):
    """Stem → cells (reductions at one and two thirds of the depth, where channels double) → pooling → classifier.

    Args:
        fill: fills each cell.
        channels: C of the first cells.
        cells: L.
        classes: number of logits.
        stem: "cifar" (3×3 to 3C) or "imagenet" (three strided convolutions, 1/8 of the resolution).
        affine: whether the cells' batch norms scale and shift.
        auxiliary: a second classifier at two thirds of the depth, in training mode only.
        recompute: keep only the cells' inputs for the backward pass.
        skeleton: DARTS' or another.

    Raises:
        UsageError: a stem or a number of cells that it cannot have.
    """

    def __init__(
        self,
        fill: Fill,
        *,
        channels: int,
        cells: int,
        classes: int,
        stem: str = "cifar",
        affine: bool = True,
        auxiliary: bool = False,
        recompute: bool = False,
        skeleton: Skeleton = SKELETONS["darts"],
    ) -> None:
        super().__init__()
        skeleton.check(cells)
        self.recompute = recompute
        self.stem, widths, larger = _stem(stem, channels, skeleton)
        self.cells = nn.ModuleList()
        self.halving = [index in {cells // 3, 2 * cells // 3} for index in range(cells)]
        self.kinds = [skeleton.kinds[-1] if halves else "normal" for halves in self.halving]
        for kind, halves in zip(self.kinds, self.halving, strict=True):
            channels *= 2 if halves else 1
            if skeleton.residual:
                inputs: list[nn.Module] = [ResidualReduction(widths[0], channels) if halves else nn.Identity()]
            else:
                inputs = _preprocessing(widths, channels, larger, affine)
            filling = fill(kind, channels)
            self.cells.append(CellModule(inputs, filling))
            widths, larger = (*widths[1:], len(filling.concat) * channels), halves
            if len(self.cells) - 1 == 2 * cells // 3:
                auxiliary_width = widths[-1]
        self.auxiliary = auxiliary_head(auxiliary_width, classes, stem) if auxiliary else None
        before = [nn.BatchNorm2d(widths[-1]), nn.ReLU()] if skeleton.residual else []
        self.pool = nn.Sequential(*before, nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor, weights: Weights | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """(N, 3, H, W) → logits (N, classes); with an auxiliary head in training mode (logits, auxiliary logits)."""
        outputs = self.stem(images)
        auxiliary = None
        for index, cell in enumerate(self.cells):
            run = partial(recomputed, cell) if self.recompute and torch.is_grad_enabled() else cell
            outputs = (*outputs[1:], run(outputs, weights[index] if weights else None))
            if self.auxiliary is not None and self.training and index == 2 * len(self.cells) // 3:
                auxiliary = self.auxiliary(outputs[-1])
        logits: Tensor = self.classifier(self.pool(outputs[-1]).flatten(1))
        return logits if auxiliary is None else (logits, auxiliary)


def _preprocessing(widths: Sequence[int], channels: int, larger: bool, affine: bool) -> list[nn.Module]:
    """What brings the outputs of the last two cells to C channels; the older may be twice as large."""
    older = FactorizedReduce(widths[0], channels, affine=affine)
    return [
        older if larger else relu_conv_bn(widths[0], channels, affine=affine),
        relu_conv_bn(widths[1], channels, affine=affine),
    ]


class CifarStem(nn.Sequential):
    """3×3 and batch norm; all inputs of the first cell.

    Args:
        channels: it puts out.
        inputs: of the first cell.
    """

    def __init__(self, channels: int, inputs: int) -> None:
        super().__init__(*conv_bn(3, channels, 3))
        self.inputs = inputs

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        out: Tensor = super().forward(images)  # type: ignore[no-untyped-call]
        return (out,) * self.inputs


class ImagenetStem(nn.Module):
    """Three 3×3 convolutions of stride 2 to C; the first cell reads the second and the third, or the third alone."""

    def __init__(self, channels: int, inputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        half = conv_bn(3, channels // 2, 3, stride=2, activation=nn.ReLU)
        self.quarter = nn.Sequential(half, conv_bn(channels // 2, channels, 3, stride=2))
        self.eighth = nn.Sequential(nn.ReLU(), conv_bn(channels, channels, 3, stride=2))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        quarter = self.quarter(images)
        return (quarter, self.eighth(quarter))[-self.inputs :]


def _stem(name: str, channels: int, skeleton: Skeleton) -> tuple[nn.Module, tuple[int, ...], bool]:
    """The stem, the widths of its outputs, and whether the older one is twice as large."""
    if name == "cifar":
        width = channels if skeleton.residual else 3 * channels
        return CifarStem(width, skeleton.inputs), (width,) * skeleton.inputs, False
    if name == "imagenet":
        return ImagenetStem(channels, skeleton.inputs), (channels,) * skeleton.inputs, True
    raise UsageError(f'stem "{name}": it must be cifar or imagenet')


def auxiliary_head(channels: int, classes: int, stem: str) -> nn.Sequential:
    """DARTS' second classifier: pool to 2×2 → 1×1 to 128 → 2×2 to 768 → linear.

    The pooling is 5×5 with stride 3 (2 for the ImageNet stem) on the maps of the paper, and adaptive on smaller ones.
    Like the published code, the ImageNet form has no batch norm after the last convolution.
    """
    last_norm = [nn.BatchNorm2d(768)] if stem == "cifar" else []
    return nn.Sequential(
        nn.ReLU(),
        AuxiliaryPool(3 if stem == "cifar" else 2),
        *conv_bn(channels, 128, activation=nn.ReLU),
        nn.Conv2d(128, 768, 2, bias=False),
        *last_norm,
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(768, classes),
    )


class AuxiliaryPool(nn.Module):
    """Average pooling 5×5; on maps under 8×8 (7×7 at stride 2), which it would shrink below 2×2, adaptive to 2×2."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < 5 + self.stride:
            return nn.functional.adaptive_avg_pool2d(x, 2)
        return nn.functional.avg_pool2d(x, 5, self.stride, count_include_pad=False)
