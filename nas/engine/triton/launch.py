"""How the Triton kernels are started: addresses, sizes of tiles."""

from typing import Any

import torch
from torch import Tensor

from nas.engine.tables import plain

ELEMENTS = 2048
"""Of a tile: 16 a thread."""
WARPS = 4
PARTS = 64
"""Into which the sums of a weight's gradient are cut."""


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Starts a kernel on tensors and numbers; on fake tensors nothing."""
    if all(plain(each) for each in arguments if isinstance(each, Tensor)):
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


def blocks(count: int, size: int) -> int:
    return -(-count // size)


def tile(*channels: int) -> int:
    """Pixels of a tile, for blocks of channels."""
    return max(16, ELEMENTS // max(channels))
