"""Trained networks as backbones: the feature maps between their strides, for detection and segmentation heads."""

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any, cast

from torch import Tensor, nn

from nas.architecture import Architecture
from nas.blocks.harmonious import Harmonious
from nas.blocks.inverted_residual import InvertedResidual
from nas.cells.network import CellNetwork
from nas.errors import UsageError, nearest

EXPANSION = ".expansion"
STRIDES = (2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Level:
    """One feature map: its channels, and how many image pixels lie between two of its own."""

    channels: int
    stride: int


class Backbone(nn.Module):
    """Images (N, 3, H, W), normalised → ordered {name: (N, channels, H/stride, W/stride)}, odd sides rounded up,
    by MobileNeXt's own first versions (b0, b1) down.

    Args:
        trunk: images → all feature maps by name.
        levels: what it makes, in its order.
        chosen: names of the wanted ones, or {name: what to call it}; None: all but the expansions.

    Attributes:
        levels: {name: Level} of the outputs, in their order.

    Raises:
        UsageError: there is no such level.
    """

    def __init__(
        self, trunk: nn.Module, levels: Mapping[str, Level], chosen: Sequence[str] | Mapping[str, str] | None
    ) -> None:
        super().__init__()
        if chosen is None:
            chosen = [name for name in levels if not name.endswith(EXPANSION)]
        if unknown := [name for name in chosen if name not in levels]:
            raise UsageError(f'no feature level "{unknown[0]}": {nearest(unknown[0], list(levels))}')
        called = dict(chosen) if isinstance(chosen, Mapping) else {name: name for name in chosen}
        self.trunk = trunk
        self.called = {name: called[name] for name in levels if name in called}
        self.levels = {called[name]: levels[name] for name in self.called}

    @property
    def channels(self) -> list[int]:
        """Of each output."""
        return [level.channels for level in self.levels.values()]

    @property
    def strides(self) -> list[int]:
        """Of each output."""
        return [level.stride for level in self.levels.values()]

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        maps = self.trunk(images)
        return OrderedDict((called, maps[name]) for name, called in self.called.items())


def backbone(
    architecture: Architecture,
    network: nn.Module,
    levels: Sequence[str] | Mapping[str, str] | None = None,
    output_stride: int | None = None,
) -> Backbone:
    """The feature maps of a network, with its weights as they are.

    A level is the last map before a stride: C0 at full resolution … C5 at 1/32; dilated ones keep their names.
    ``C4.expansion`` is the widened map inside the inverted residual that leaves C4, which torchvision's SSDLite takes
    (Sandler et al., MobileNetV2, CVPR 2018, §6.2). A sandglass has none: it is wide at its ends.

    Args:
        levels: as ``chosen`` of :class:`Backbone`.
        output_stride: largest stride; later convolutions are dilated instead (Chen et al., DeepLabv3, 2017, §3.1).

    Raises:
        UsageError: an unknown level, or a stride that dilation cannot take out.
    """
    if output_stride not in (None, *STRIDES):
        raise UsageError(f"output_stride {output_stride}: it must be one of {', '.join(map(str, STRIDES))}")
    network = copy.deepcopy(network)
    if isinstance(network, CellNetwork):
        return _of_cells(network, architecture.stem, levels, output_stride)
    return _of_blocks(network, architecture.body["rows"], levels, output_stride)


class BlockTrunk(nn.Module):
    """A chain of blocks.

    Args:
        ends: {index of a level's last block: the level's name}.
    """

    def __init__(self, blocks: Sequence[nn.Module], ends: Mapping[int, str]) -> None:
        super().__init__()
        self.blocks, self.ends = nn.ModuleList(blocks), dict(ends)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = {}
        for index, block in enumerate(self.blocks):
            if index - 1 in self.ends and (residual := widening(block)):
                wide = maps[self.ends[index - 1] + EXPANSION] = residual.expand(x)
                x = residual.narrow(wide, x)
            else:
                x = block(x)
            if index in self.ends:
                maps[self.ends[index]] = x
        return maps


def widening(block: nn.Module) -> InvertedResidual | None:
    """The block, if it widens its input before its depthwise convolution."""
    return block if isinstance(block, InvertedResidual) and not isinstance(block.expand, nn.Identity) else None


def _of_blocks(
    network: nn.Module, rows: Sequence[Mapping[str, Any]], chosen: Any, output_stride: int | None
) -> Backbone:
    stages = cast(nn.Sequential, network.stages)
    blocks = [block for stage in stages for block in cast(nn.Sequential, stage)]
    length = next((index for index, row in enumerate(rows) if row["block"] in ("pool", "idle_norm")), len(rows))
    blocks, strides = blocks[:length], [row.get("stride", 1) for row in rows[:length]]
    ends, levels, total, limit = {}, {}, 1, output_stride or 32 * 32
    for index, (block, row) in enumerate(zip(blocks, rows, strict=False)):
        total *= strides[index]
        if total > limit:
            dilate(block, strides[index], total // limit)
        if index + 1 == length or strides[index + 1] > 1:
            name = f"C{int(log2(total))}"
            ends[index] = name
            levels[name] = Level(row["c_out"], min(total, limit))
            if index + 1 < length and (residual := widening(blocks[index + 1])):
                wide = cast(nn.Conv2d, residual.depthwise[0]).in_channels
                levels[name + EXPANSION] = Level(wide, min(total, limit))
    return Backbone(BlockTrunk(blocks, ends), levels, chosen)


def dilate(block: nn.Module, stride: int, rate: int) -> None:
    """Takes out a block's stride; its convolutions see as far as before, so that its old output is a part of the new.

    Args:
        stride: the block's, 1 or 2.
        rate: dilation after the block's stride; before it a ``stride``-th of that.

    Raises:
        UsageError: a harmonious bottleneck, whose inside is made of strides.
    """
    if any(isinstance(module, Harmonious) for module in block.modules()):
        raise UsageError("output_stride: a harmonious bottleneck contracts by strides, which cannot be dilated")
    now, pad = rate // stride, None
    for module in block.modules():
        if isinstance(module, nn.ZeroPad2d):
            pad = module
        elif isinstance(module, nn.Conv2d):
            reach = now * (module.kernel_size[0] - 1)
            if pad is not None:
                before = now * pad.padding[0]
                pad.padding, pad = (before, reach - before, before, reach - before), None
            else:
                module.padding = (reach // 2, reach // 2)
            module.dilation = (now, now)
            if module.stride == (2, 2):
                module.stride, now = (1, 1), rate


class CellTrunk(nn.Module):
    """Stem and cells.

    Args:
        names: of the levels: the maps that cells read which halve them, and the last.
    """

    def __init__(self, network: CellNetwork, names: Sequence[str]) -> None:
        super().__init__()
        self.stem, self.cells, self.halving, self.names = network.stem, network.cells, network.halving, list(names)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        outputs = self.stem(images)
        maps = []
        for halves, cell in zip(self.halving, self.cells, strict=True):
            if halves:
                maps.append(outputs[-1])
            outputs = (*outputs[1:], cell(outputs))
        return dict(zip(self.names, [*maps, outputs[-1]], strict=True))


def _of_cells(network: CellNetwork, stem: str, chosen: Any, output_stride: int | None) -> Backbone:
    first = 1 if stem == "cifar" else 8
    reductions = [cell for halves, cell in zip(network.halving, network.cells, strict=True) if halves]
    widths = [_read_by(cell) for cell in reductions] + [network.classifier.in_features]
    strides = [first * 2**index for index in range(len(widths))]
    if output_stride is not None and output_stride < strides[-1]:
        raise UsageError(f"output_stride {output_stride}: the reductions of cells cannot be dilated")
    levels = {f"C{int(log2(stride))}": Level(width, stride) for width, stride in zip(widths, strides, strict=True)}
    return Backbone(CellTrunk(network, list(levels)), levels, chosen)


def _read_by(cell: Any) -> int:
    """Channels of the last cell's output, which this cell reads."""
    return next(module.in_channels for module in cell.inputs[-1].modules() if isinstance(module, nn.Conv2d))
