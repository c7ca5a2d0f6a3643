"""Where and how a run is executed: device, threads, folders. In exact arithmetic nothing here changes a result."""

import ctypes
import os
import warnings
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from nas.errors import UsageError

KEPT = ("threads", "storage", "backend")
"""What a run goes on with as it was begun."""


@dataclass(frozen=True)
class Execution:
    """Where a run is executed.

    Args:
        device: "cpu" or "cuda"; empty: a GPU where there is one.
        threads: CPU threads; None: torch's choice.
        data_root: folder of the data; None: ``NAS_DATA`` or the cache.
        cluster: Ray cluster that does the work: "local", an address, or empty: this process.
        workers: how many share each training on the cluster; None: one, or as the run was begun.
        storage: URL of an object store that keeps the trainings of a cluster; empty: the run folder is shared.
        backend: what the merged engine computes with: "auto", "library", "native" or "triton".
    """

    device: str = ""
    threads: int | None = None
    data_root: Path | None = None
    cluster: str = ""
    workers: int | None = None
    storage: str = ""
    backend: str = "auto"

    def start(self) -> str:
        """Sets the threads and returns the device.

        Raises:
            UsageError: no such device, or a senseless number of threads.
        """
        import torch

        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        if device.partition(":")[0] not in ("cpu", "cuda"):
            raise UsageError(f'--device "{device}": it must be cpu or cuda')
        if device != "cpu" and not torch.cuda.is_available():
            raise UsageError(f"--device {device}: torch {torch.__version__} finds no GPU here")
        if self.threads is not None:
            if not 1 <= self.threads <= most_threads():
                raise UsageError(f"--threads {self.threads}: it must be 1 to {most_threads()} on this machine")
            torch.set_num_threads(self.threads)
        keep_memory()
        return device

    def resolved(self) -> Self:
        """The same for the record: the actual device and threads; on a cluster those asked for, one thread by default.

        Raises:
            UsageError: as :meth:`start`.
        """
        import torch

        root = self.data_root.resolve() if self.data_root else None
        if self.cluster:
            return replace(self, threads=self.threads or 1, data_root=root, cluster="")
        return replace(self, device=self.start(), threads=torch.get_num_threads(), data_root=root)

    def going_on(self, begun: "Execution") -> Self:
        """That of a resumed run: what is empty as the run was begun; threads, as far as they go, and storage always so.

        Raises:
            UsageError: what is always so was given, or a run on an object store has no cluster to go on with.
        """
        if given := next((name for name in KEPT if getattr(self, name) != getattr(Execution, name)), None):
            raise UsageError(f"a resumed run keeps its {given}: {getattr(self, given)} cannot be given with it")
        if begun.storage and not self.cluster:
            raise UsageError(f"the run's checkpoints are on {begun.storage}: go on with --cluster (local will do)")
        threads = begun.threads
        return replace(
            self,
            device=self.device or begun.device,
            threads=threads if self.cluster or threads is None else at_most(threads),
            data_root=self.data_root or begun.data_root,
            workers=self.workers or begun.workers,
            storage=begun.storage,
            backend=begun.backend if self.device in ("", begun.device) else "auto",
        )


def most_threads() -> int:
    """Threads that a process may ask for on this machine; more than its cores, as containers count fewer."""
    return 4 * (os.cpu_count() or 1)


def at_most(threads: int) -> int:
    """The threads of a run that was begun elsewhere, or as many as are possible here, with a warning."""
    if threads <= (most := most_threads()):
        return threads
    warnings.warn(f"the run was begun with {threads} threads, of which this machine takes {most}", stacklevel=2)
    return most


def keep_memory() -> None:
    """Lets glibc keep what is freed: fresh pages for the maps of every step took a tenth of a CPU search's time."""
    trim_threshold, mmap_threshold = -1, -3  # of malloc.h
    with suppress(OSError, AttributeError, TypeError):  # another C library has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**31 - 1)


def mixed(precision: str, device: str) -> AbstractContextManager[None]:
    """Autocast to bfloat16 where the precision asks for it."""
    import torch

    if precision == "bf16":
        return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16)
    return nullcontext()
