"""Seconds, memory and kernels of work on a device."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType

Call = Callable[[], object]


@dataclass(frozen=True)
class Meter:
    """Measures on a device; of a CPU's memory it knows nothing."""

    device: str

    def seconds(self, call: Call, times: int = 1) -> float:
        """Of so many calls, until the device has done them."""
        self.synchronise()
        started = time.perf_counter()
        for _ in range(times):
            call()
        self.synchronise()
        return time.perf_counter() - started

    def kernels(self, call: Call) -> list["Kernel"]:
        """What a call has the device do, the longest first; on a CPU its operations."""
        kinds = torch.profiler.ProfilerActivity
        kind, place = (kinds.CPU, DeviceType.CPU) if self.device == "cpu" else (kinds.CUDA, DeviceType.CUDA)
        with torch.profiler.profile(activities=[kind]) as profile:
            self.seconds(call)
        rows = [row for row in profile.key_averages() if row.device_type == place]
        every = [Kernel(row.key, row.count, row.self_cpu_time_total + row.self_device_time_total) for row in rows]
        return sorted(every, key=lambda kernel: -kernel.microseconds)

    def memory(self) -> int:
        """Bytes in use, once what is no longer needed is freed; from here :meth:`peak` counts."""
        gc.collect()
        self.synchronise()
        if self.device == "cpu":
            return 0
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()

    def peak(self) -> int:
        """Most bytes in use."""
        return 0 if self.device == "cpu" else torch.cuda.max_memory_allocated()

    def synchronise(self) -> None:
        """Waits for the device."""
        if self.device != "cpu":
            torch.cuda.synchronize()


@dataclass(frozen=True)
class Kernel:
    """A kernel or a copy: how often, how long together."""

    name: str
    count: int
    microseconds: float

    @property
    def copies(self) -> bool:
        """Whether it is a copy or fills memory."""
        return self.name.startswith(("Memcpy", "Memset"))

    def __str__(self) -> str:
        return f"{self.microseconds:10.0f} µs {self.count:6} × {self.name[:150]}"
