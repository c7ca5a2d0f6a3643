"""The device, its arithmetic, memory and disks."""

import os
import shutil
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.doctor.check import Case, Line, broken, ok, warning
from nas.execution import mixed
from nas.files import cache
from nas.run.environment import hardware
from nas.train.preflight import free_memory

LITTLE = 2 * 2**30
"""Bytes of memory or disk below which little can be done."""
BOUNDS = {"fp32": 1e-5, "tf32": 2e-3, "bf16": 2e-2}
"""Largest errors of a convolution's result, as a share of its largest value."""


def device(case: Case) -> Line:
    """The device, on a GPU with its kernels' language."""
    if case.device == "cpu":
        driver = shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists()
        if driver and not torch.cuda.is_available():
            return warning("there is a GPU, but torch cannot use it", "install a torch that is built for its driver")
        return ok(f"{hardware()}; no GPU: searches and retrainings of the papers' size take days")
    if find_spec("triton") is None:
        return warning(f"{hardware()}, without Triton", "pip install triton: searches are then faster")
    return ok(f"{hardware()}, Triton {metadata.version('triton')}")


def threads(case: Case) -> Line:
    """The CPU threads of a command against the processors it may use."""
    count, usable = torch.get_num_threads(), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    if usable and count > usable:
        return warning(f"{count} threads on {usable} processors", f"--threads {usable}, or OMP_NUM_THREADS={usable}")
    return ok(f"{count} threads on {usable or os.cpu_count()} processors")


def precision(case: Case) -> Line:
    """A convolution in single precision (on a GPU usually TF32) and in mixed, against one in double precision."""
    stream = torch.Generator().manual_seed(0)
    images, weight = (torch.randn(*shape, generator=stream) for shape in ((8, 32, 16, 16), (32, 32, 3, 3)))
    exact = F.conv2d(images.double(), weight.double(), padding=1)
    single = "tf32" if case.device != "cpu" and torch.backends.cudnn.allow_tf32 else "fp32"
    errors = {name: error(images, weight, exact, name, case.device) for name in (single, "bf16")}
    text = ", ".join(f"{name} is off by {value:.1e}" for name, value in errors.items())
    if wrong := [name for name, value in errors.items() if not value <= BOUNDS[name]]:
        return broken(f"{text}: too much in {' and '.join(wrong)}", "do not trust results of this device")
    return ok(text)


def error(images: Tensor, weight: Tensor, exact: Tensor, name: str, device: str) -> float:
    """The largest error of a convolution, as a share of the largest value."""
    with mixed(name, device):
        result = F.conv2d(images.to(device), weight.to(device), padding=1)
    return float((result.double().cpu() - exact).abs().max() / exact.abs().max())


def memory(case: Case) -> Line:
    """Memory still to be had, on the device."""
    free = free_memory(case.device)
    text = f"{free / 2**30:.1f} GiB free"
    return ok(text) if free >= LITTLE else warning(text, "end other programs, or take smaller --batch and --channels")


def disk(case: Case) -> Line:
    """Whether run folders and what is kept for later can be written, and how much of it."""
    parts, little = [], False
    for what, folder in (("runs", case.runs), ("cache", cache())):
        place = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir())
        if not os.access(place, os.W_OK):
            return broken(f"{place} cannot be written ({what})", "name another folder: --runs, or XDG_CACHE_HOME")
        free = shutil.disk_usage(place).free
        parts.append(f"{what}: {free / 2**30:.1f} GiB free in {place}")
        little = little or free < LITTLE
    text = "; ".join(parts)
    return warning(text, "make room, or name other folders: --runs, XDG_CACHE_HOME") if little else ok(text)
