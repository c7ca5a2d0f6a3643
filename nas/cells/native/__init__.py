"""The kernels of the merged engine on a CPU, compiled on first use where a C++ compiler is there.

Plain C++ through ctypes, not torch.utils.cpp_extension: it compiles in seconds where torch's headers take most of a
minute, and a process killed meanwhile leaves no lock behind that all later ones wait for.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)
HERE = Path(__file__).parent
OPTIONS = ("-O3", "-std=c++17", "-fPIC", "-shared")
AVX2 = ["-mavx2", "-mfma"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"]
MACHINES = {"AVX2": AVX2, "AVX512": [*AVX2, *AVX512]}
"""Compiler options by what torch finds in the processor, as unlike machines may share a folder of compiled files."""


def _structure(name: str, integers: str, pointers: str) -> type[ctypes.Structure]:
    fields: list[tuple[str, Any]] = [(field, ctypes.c_int64) for field in integers.split()]
    fields += [(field, ctypes.c_void_p) for field in pointers.split()]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


SegmentCall = _structure(
    "SegmentCall",
    "threads precise lanes images edges shared channels height width out out_height out_width kernel stride padding"
    " dilation pointwise activation",
    "x depthwise_weight pointwise_weight x_mean x_invstd y y_mean y_var y_grad y_weight y_invstd y_sums x_grad"
    " depthwise_grad pointwise_grad x_sums",
)
"""As ``struct Segment`` in segment.cpp, whose ``in`` is ``channels`` here."""

MixCall = _structure(
    "MixCall",
    "threads precise lanes images edges channels pixels terms",
    "shared maps scale offset out grads mean sums slope shift map_grads",
)
"""As ``struct Mix`` in mix.cpp."""


def run(function: str, structure: type[ctypes.Structure], dtype: torch.dtype, /, **fields: Any) -> None:
    """Calls a kernel on maps of a dtype: a tensor or a list of tensors becomes a pointer, None the null pointer."""
    kept = {name: _pointers(value) for name, value in fields.items() if isinstance(value, list)}
    plain = {name: _pointer(value) if isinstance(value, Tensor) else value for name, value in fields.items()}
    plain |= {name: ctypes.addressof(pointers) for name, pointers in kept.items()}
    found = library()
    assert found is not None
    filled = structure(threads=torch.get_num_threads(), precise=dtype == torch.float64, **plain)
    found[function](ctypes.byref(filled))


def _pointers(tensors: Sequence[Tensor | None]) -> ctypes.Array[Any]:
    return (ctypes.c_void_p * len(tensors))(*(None if tensor is None else _pointer(tensor) for tensor in tensors))


def _pointer(tensor: Tensor) -> int:
    """Kernels know no strides."""
    assert tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)
    return tensor.data_ptr()


def lanes_for(channels: Sequence[int]) -> int:
    """The widest vectors that divide all these numbers of channels, or 0 where none does."""
    widths = (16, 8, 4) if torch.backends.cpu.get_cpu_capability() == "AVX512" else (8, 4)
    return next((lanes for lanes in widths if all(count % lanes == 0 for count in channels)), 0)


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None (said once, with the reason) where they cannot be had.

    ``CXX`` names another compiler than ``c++``, with options if need be; empty, it turns the kernels off.
    """
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if not compiler:
        return None
    try:
        return _kept(compiler) or _compiled(compiler)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
        log.warning(
            "the supernet runs at about half the speed, its kernels could not be compiled: %s", *said or compiler
        )
        return None


def _kept(compiler: Sequence[str]) -> ctypes.CDLL | None:
    """The library that was compiled before; None: none, or none that can be loaded."""
    try:
        return ctypes.CDLL(str(_cache() / _name(compiler)))
    except OSError:
        return None


def _compiled(compiler: Sequence[str]) -> ctypes.CDLL:
    """The library, compiled and loaded; then kept for others, if there is a place."""
    try:
        _cache().mkdir(parents=True, exist_ok=True)
        aside = tempfile.TemporaryDirectory(prefix="compiling-", dir=_cache())
    except OSError:
        aside = tempfile.TemporaryDirectory()
    with aside as folder:
        made = Path(folder) / "kernels.so"
        command = [*compiler, *OPTIONS, *_machine(), *map(str, sorted(HERE.glob("*.cpp"))), "-o", str(made)]
        try:
            _run([*command, "-fopenmp"])
        except subprocess.CalledProcessError:  # as of Apple's compiler: one thread
            _run(command)
        loaded = ctypes.CDLL(str(made))
        with suppress(OSError):
            made.replace(_cache() / _name(compiler))
    return loaded


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)


def _cache() -> Path:
    """The folder of compiled kernels.

    Raises:
        OSError: this user has none.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nas"
    except RuntimeError as error:  # no home
        raise OSError(*error.args) from None


def _name(compiler: Sequence[str]) -> str:
    """Of the library of these sources, for a kind of machine."""
    sources = [path.read_text() for path in sorted(HERE.iterdir()) if path.suffix in (".cpp", ".h")]
    parts = [*sources, *compiler, *OPTIONS, *_machine(), platform.machine(), *platform.libc_ver()]
    return f"kernels-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}.so"


def _machine() -> list[str]:
    return MACHINES.get(torch.backends.cpu.get_cpu_capability(), [])
