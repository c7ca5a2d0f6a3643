"""What a machine can do at most: multiply-adds and bytes a second."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from nas.train.preflight import timed

REPEATS = 10


@dataclass(frozen=True)
class Limits:
    """Of a second: multiply-adds in single precision; bytes read from and written to memory."""

    madds: float
    bytes: float


@torch.no_grad()
def machine_limits(device: str = "cpu") -> Limits:
    """The fastest of some dense convolutions, and of some copies that no cache holds, on torch's threads.

    A CPU comes nearer to its rate in oneDNN's convolution than in torch's matrix product.
    """
    images, channels, side = 16, 256, 16
    x = torch.ones(images, channels, side + 2, side + 2, device=device).to(memory_format=torch.channels_last)
    weight = torch.ones(channels, channels, 3, 3, device=device).to(memory_format=torch.channels_last)
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    madds = images * side * side * weight.numel() / fastest(lambda: F.conv2d(x, weight), device)
    return Limits(madds, 2 * source.nbytes / fastest(lambda: target.copy_(source), device))


def fastest(call: Callable[[], object], device: str) -> float:
    """Seconds."""
    return min(timed(call, device) for _ in range(REPEATS))
