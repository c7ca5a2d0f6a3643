"""How the Triton kernels are started: addresses, sizes of tiles."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nas.engine.tables import plain

WARPS = 4
PARTS = 32
"""Into which the sums of a weight's gradient are cut."""


class Shape(NamedTuple):
    """How a depthwise kernel is cut, by what was measured (benchmarks/results).

    Args:
        pixels: of a row, that a lane computes together, where they share what the convolution reads.
        numbers: lanes times channels of a tile.
    """

    pixels: int
    numbers: int


FORWARD, BACKWARD, SHARED, WEIGHTS = Shape(4, 1024), Shape(4, 1024), Shape(4, 512), Shape(4, 1024)
"""Forward; back to one map an item; back to the one map that all items read; the weights' gradients."""


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Starts a kernel on tensors, tuples of tensors and numbers."""
    start(kernel, grid, arguments, constants)


def start(kernel: Any, grid: tuple[int, ...], arguments: tuple[Any, ...], constants: dict[str, Any]) -> None:
    """The same; what counts, compiles or fakes kernels takes its place."""
    kernel[grid](*arguments, **constants, num_warps=WARPS)


def address(tensor: Tensor | None) -> int:
    """Of a tensor's memory; 0 where there is none."""
    if tensor is None or not plain(tensor):
        return 0
    assert tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)
    return tensor.data_ptr()


def block(channels: int) -> int:
    """How many channels a program takes at once: a power of two, as many as a matrix product needs at least."""
    return min(64, max(16, 1 << (channels - 1).bit_length()))


@cache
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """Where what nothing waits for runs beside the rest."""
    return torch.cuda.Stream(device)


def blocks(count: int, size: int) -> int:
    return -(-count // size)


def tile(channels: int, elements: int = 2048, least: int = 16) -> int:
    """Pixels of a tile of so many numbers, for a block of channels."""
    return max(least, elements // channels)


def wide_tile(channels: int, numbers: int) -> int:
    """Pixels of a tile where maps have so many numbers: twice as many where there are enough tiles to fill a GPU."""
    return tile(channels, 4096 if numbers >= 4096 * 512 else 2048)


def lanes(rows: int, width: int, pixels: int, steps: Sequence[int]) -> int:
    """How many lanes rows are, each of so many pixels of a row that are a step apart; of the steps the most."""
    return rows * max(blocks(width, pixels * step) * step for step in steps)
