"""Where and how a run is executed: device, threads, folders. In exact arithmetic nothing here changes a result."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from nas.errors import UsageError


@dataclass(frozen=True)
class Execution:
    """Args:
    device: "cpu" or "cuda"; empty: a GPU where there is one.
    threads: CPU threads; None: torch's choice.
    data_root: folder of the data; None: ``NAS_DATA`` or the cache.
    cluster: Ray cluster that does the work: "local", an address, or empty: this process.
    workers: how many share each training on the cluster; None: one, or as the run was begun.
    storage: URL of an object store that keeps the trainings of a cluster; empty: the run folder is shared.
    """

    device: str = ""
    threads: int | None = None
    data_root: Path | None = None
    cluster: str = ""
    workers: int | None = None
    storage: str = ""

    def start(self) -> str:
        """Sets the threads and returns the device.

        Raises:
            UsageError: no such device, or a senseless number of threads.
        """
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        if device.partition(":")[0] not in ("cpu", "cuda"):
            raise UsageError(f'--device "{device}": it must be cpu or cuda')
        if device != "cpu" and not torch.cuda.is_available():
            raise UsageError(f"--device {device}: torch {torch.__version__} finds no GPU here")
        if self.threads is not None:
            if not 1 <= self.threads <= 4 * (os.cpu_count() or 1):
                raise UsageError(
                    f"--threads {self.threads}: it must be 1 to {4 * (os.cpu_count() or 1)} on this machine"
                )
            torch.set_num_threads(self.threads)
        return device


def mixed(precision: str, device: str) -> contextlib.AbstractContextManager[None]:
    """Autocast to bfloat16 where the precision asks for it."""
    if precision == "bf16":
        return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16)
    return contextlib.nullcontext()
