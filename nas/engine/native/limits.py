"""What this machine's cores can do at most, to hold the kernels' times against; measured in the same run."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from nas.engine.native.kernels import INTEGER, POINTER, library

SUMS = 12
"""Of limits.cpp, all under way at once."""
ROUNDS = 50_000
"""Of a measurement, some 0.2 ms: the least of many is undisturbed."""


@dataclass(frozen=True)
class Limits:
    """Of one thread.

    Args:
        multiply_adds: a second, of single-precision numbers.
        bytes: a second, read and written, of a copy that no cache holds.
    """

    multiply_adds: float
    bytes: float


def measure_limits(repeats: int = 40) -> Limits | None:
    """The most of so many short measurements by one thread, about 0.3 s in all; None: there are no kernels."""
    kernels = library()
    if kernels is None:
        return None
    widest = kernels.limits_lanes()
    values = torch.zeros(SUMS * widest)
    adds = least(lambda: kernels.limits_multiply_add(INTEGER(ROUNDS), POINTER(values.data_ptr())), repeats)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    source = torch.zeros(2**24)  # 64 MB
    target = torch.zeros_like(source)
    copy = least(lambda: target.copy_(source), max(1, repeats // 4))
    torch.set_num_threads(threads)
    return Limits(ROUNDS * SUMS * widest / adds, 2 * source.numel() * source.element_size() / copy)


def least(work: Callable[[], object], repeats: int) -> float:
    """Seconds of a core that the quickest run took."""
    seconds = []
    for _ in range(repeats):
        started = time.thread_time()
        work()
        seconds.append(time.thread_time() - started)
    return min(seconds)
