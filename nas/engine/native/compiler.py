"""The library of kernels for a CPU, compiled on first use where a C++ compiler is there.

Plain C++ through ctypes, not torch.utils.cpp_extension: it compiles in seconds where torch's headers take most of a
minute, and a process killed meanwhile leaves no lock behind that all later ones wait for.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from nas.errors import UsageError
from nas.files import cache

log = logging.getLogger(__name__)
HERE = Path(__file__).parent
LONG_AGO = 3600.0
"""Seconds after which nothing is still being compiled."""
OPTIONS = ("-O3", "-std=c++17", "-fPIC", "-shared")
AVX2 = ["-mavx2", "-mfma"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"]
MACHINES = {"AVX2": AVX2, "AVX512": [*AVX2, *AVX512]}
"""Compiler options by what torch finds in the processor, as unlike machines may share a folder of compiled files."""


def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None (and a warning that says why) where they cannot be had.

    ``CXX`` names another compiler than ``c++``, with options if need be; empty, it turns the kernels off.
    """
    try:
        compiler = shlex.split(os.environ.get("CXX", "c++"))
        return (_load(compiler) or _compile(compiler)) if compiler else None
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        log.warning("the supernet runs at about half the speed, its kernels could not be compiled: %s", reason)
        return None


def _load(compiler: Sequence[str]) -> ctypes.CDLL | None:
    """The library that was compiled before; None: none, or it is damaged, another user's or for another machine."""
    with suppress(OSError, UsageError):
        for path in cache().glob(f"{_name(compiler)}-*.so"):
            whole = path.name.endswith(f"-{_digest(path.read_bytes())}.so")  # a part of one would kill the process
            if whole and _is_ours(path):
                return ctypes.CDLL(str(path))
    return None


def _compile(compiler: Sequence[str]) -> ctypes.CDLL:
    """The library, compiled and loaded; then kept for others, if there is a place."""
    with _folder() as folder:
        path = Path(folder) / "kernels.so"
        command = [*compiler, *OPTIONS, *_machine(), *map(str, sorted(HERE.glob("*.cpp"))), "-o", str(path)]
        try:
            _run([*command, "-fopenmp"])
        except subprocess.CalledProcessError:  # as of Apple's compiler: one thread
            _run(command)
        kernels = ctypes.CDLL(str(path))
        with suppress(OSError, UsageError):
            path.chmod(0o700)
            path.replace(cache() / f"{_name(compiler)}-{_digest(path.read_bytes())}.so")
    return kernels


def _folder() -> tempfile.TemporaryDirectory[str]:
    """A folder to compile in, beside those kept; what killed processes left there long ago goes."""
    try:
        cache().mkdir(parents=True, exist_ok=True)
        for folder in cache().glob("compiling-*"):
            if time.time() - folder.stat().st_mtime > LONG_AGO:
                shutil.rmtree(folder, ignore_errors=True)
        return tempfile.TemporaryDirectory(prefix="compiling-", dir=cache())
    except (OSError, UsageError):
        return tempfile.TemporaryDirectory()


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, errors="replace", timeout=300)


def _name(compiler: Sequence[str]) -> str:
    """Of the library of these sources and this compiler, for a kind of machine."""
    sources = [path.read_text() for path in sorted(HERE.iterdir()) if path.suffix in (".cpp", ".h")]
    parts = [
        *sources,
        *compiler,
        _edition(compiler[0]),
        *OPTIONS,
        *_machine(),
        platform.machine(),
        *platform.libc_ver(),
    ]
    return f"kernels-{_digest(' '.join(parts).encode())}"


def _edition(compiler: str) -> str:
    """Of a compiler, another one after an update: the file that it is, how long and of when; empty: there is none."""
    path = shutil.which(compiler)
    about = os.stat(path) if path else None
    return f"{os.path.realpath(path)} {about.st_size} {about.st_mtime_ns}" if path and about else ""


def _is_ours(path: Path) -> bool:
    """Whether none but this user, or root, can have written a file."""
    about = path.stat()
    return about.st_uid in (os.getuid(), 0) and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _machine() -> list[str]:
    return MACHINES.get(torch.backends.cpu.get_cpu_capability(), [])
