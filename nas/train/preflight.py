"""Before the first epoch: one measured step says how long it will take and how much memory it needs."""

import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch

from nas.errors import OutOfMemory


@dataclass(frozen=True)
class Estimate:
    """What one step costs.

    Args:
        seconds: of one step at the full batch.
        peak_bytes: memory of the process (of the device, on a GPU) at its highest.
    """

    seconds: float
    peak_bytes: int


def measure(
    step: Callable[[int], None],
    batch: int,
    device: str,
    whole: Callable[[], object] | None = None,
    *,
    workers: int = 1,
) -> Estimate:
    """Runs ``step(images)`` at an eighth and a quarter of the batch, and, if the whole will fit, once at the whole.

    On a GPU, which builds plans of its own for each size, the whole is tried first, and parts only if it does not fit.

    Args:
        step: does what a step does, on a copy that may be thrown away.
        batch: this worker's images.
        whole: the same at the whole batch, recorded for instance; None: ``step(batch)``.
        workers: so many share a ``--batch``.

    Raises:
        OutOfMemory: it will not fit; the message names a batch that does.
    """
    whole = whole or partial(step, batch)
    if device != "cpu":
        with suppress(torch.OutOfMemoryError):
            whole()
            return Estimate(timed(whole, device), peak(device))
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    eighth = max(2, batch // 8)
    used = []
    for count in (eighth, 2 * eighth):
        step(count)
        used.append(peak(device))
    per_image = max(0, used[1] - used[0]) // eighth
    need, free = used[1] + per_image * max(0, batch - 2 * eighth), used[1] + free_memory(device)
    if (need > free or device != "cpu") and per_image:
        fits = min(batch - 1, 2 * eighth + (free - used[1]) // per_image)
        raise OutOfMemory(
            f"--batch {batch * workers} needs about {need / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB are free: "
            f"--batch {max(2, fits // 8 * 8) * workers} fits"
        )
    seconds = min(timed(whole, device) for _ in range(2 if batch <= 128 else 1))
    return Estimate(seconds, peak(device))


def timed(step: Callable[[], object], device: str) -> float:
    """Seconds of one step, until the device has done it."""
    if device != "cpu":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    step()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


class Plan(Protocol):
    """What a session is called and how long it is: its epochs, and the steps of each."""

    title: str
    total: int
    per_epoch: int


def announce(estimate: Estimate, plan: Plan, device: str, preset: str) -> None:
    """Prints the estimate on stderr; on a CPU, where that is long, with a way out."""
    epochs, steps = plan.total, plan.per_epoch
    total = estimate.seconds * epochs * steps
    line = (
        f"{plan.title}: about {estimate.seconds:.2g} s a step, {steps} steps an epoch: "
        f"{epochs} {'epochs take' if epochs > 1 else 'epoch takes'} about {span(total)}; "
        f"peak memory about {estimate.peak_bytes / 2**30:.1f} GiB"
    )
    if device == "cpu" and total > 3600 and preset != "quick":
        line += "; --preset quick takes minutes"
    print(line, file=sys.stderr, flush=True)


def span(seconds: float) -> str:
    """A time a person can read: 40 s, 12 min, 5.5 h, 3.2 days."""
    for unit, length in (("days", 86400 * 2), ("h", 7200), ("min", 120)):
        if seconds >= length:
            return f"{seconds / {'days': 86400, 'h': 3600, 'min': 60}[unit]:.3g} {unit}"
    return f"{seconds:.0f} s"


def peak(device: str) -> int:
    """Bytes at most, of this process or on the GPU."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_memory(device: str) -> int:
    """Memory still to be had; without limit where the system does not say."""
    if device != "cpu":
        return torch.cuda.mem_get_info(device)[0]
    known = [_meminfo(), _cgroup()]
    return min((value for value in known if value is not None), default=2**62)


def _meminfo() -> int | None:
    path = Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    available = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    if available:
        return available[0]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None


def _cgroup() -> int | None:
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if not limit.is_file() or not used.is_file() or (text := limit.read_text().strip()) == "max":
        return None
    return max(0, int(text) - int(used.read_text()))
