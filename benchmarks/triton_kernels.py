"""The Triton kernels of a step compiled without a GPU: registers, spills and shared memory of each form.

    TRITON_INTERPRET=0 python -m benchmarks.triton_kernels [--arch 90 --arch 80 --arch 89] [--only segment_forward]

writes benchmarks/results/triton-kernels.csv: what ptxas says of every form that a step of the spaces and precisions
below launches, at 16, 32 and 64 channels (of forms that differ in the number of edges alone, the one of most), with the
digest of the source. Kernels whose source is the table's keep their rows; a test says when the table is old.
"""

import argparse
import csv
import hashlib
import inspect
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor, nn
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import MockTensor

from nas import space as spaces
from nas.cells.supernet import Supernet
from nas.engine.merged import BACKENDS, MergedFanOut
from nas.engine.triton import backend, kernels, launch

TABLE = Path(__file__).parent / "results" / "triton-kernels.csv"
SPACES, PRECISIONS, ARCHES = ("darts+sandglass",), ("bf16", "fp32"), (90, 80, 89)


@dataclass(frozen=True)
class Compiled:
    """A form of a kernel on one architecture: registers a thread, bytes that spill, shared bytes a program."""

    kernel: str
    form: str
    arch: int
    registers: int
    spills: int
    shared: int
    triton: str
    source: str


class Target:
    """A GPU that is not there."""

    def __init__(self, arch: int) -> None:
        self.target = GPUTarget("cuda", arch, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def source(name: str) -> str:
    """The digest of a kernel's text, with those that it calls."""
    text, names = {}, [name]
    for each in names:
        function = getattr(kernels, each).fn
        text[each] = inspect.getsource(function)
        called = [other for other in function.__code__.co_names if hasattr(getattr(kernels, other, None), "fn")]
        names += [other for other in called if other not in names]
    return hashlib.sha256("".join(text[each] for each in sorted(text)).encode()).hexdigest()[:16]


def mocked(value: Any) -> Any:
    """A kernel's argument without memory."""
    if isinstance(value, tuple):
        return tuple(map(mocked, value))
    return MockTensor(value.dtype, list(value.shape)) if isinstance(value, Tensor) else value


@contextmanager
def collecting(forms: dict[tuple[str, str], Any]) -> Iterator[None]:
    """A context in which kernels are kept by name and form instead of being launched."""

    def start(kernel: Any, grid: Any, arguments: tuple[Any, ...], constants: dict[str, Any]) -> None:
        dtype = next(each.dtype for each in arguments for each in (each if isinstance(each, tuple) else (each,)))
        numbers = {name: value for name, value in constants.items() if not isinstance(value, tuple)}
        text = " ".join([str(dtype).removeprefix("torch."), *(f"{name}={value}" for name, value in numbers.items())])
        key, own = (kernel.fn.__name__, text), (kernel, tuple(map(mocked, arguments)), constants)
        if key not in forms or len(str(own[2])) > len(str(forms[key][2])):
            forms[key] = own

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(launch, "start", start))
        stack.enter_context(mock.patch.object(backend, "DEVICES", {"cpu"}))
        yield


def forms_of_steps() -> dict[tuple[str, str], Any]:
    """What both halves of a step launch, in training and evaluation; nothing is computed."""
    forms: dict[tuple[str, str], Any] = {}
    fan_out = partial(MergedFanOut, backends=BACKENDS["triton"])
    for name in SPACES:
        supernet: nn.Module = Supernet(spaces.load(name), cells=3, fan_out=fan_out).to(
            memory_format=torch.channels_last
        )
        images = torch.zeros(16, 3, 32, 32)
        for precision in PRECISIONS:
            with collecting(forms), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                supernet.train()(images).float().sum().backward()
                with torch.no_grad():
                    supernet.eval()(images)
    return forms


def compiled(key: tuple[str, str], own: Any, arch: int) -> Compiled:
    """What ptxas says of a form on an architecture."""
    kernel, arguments, constants = own
    driver.set_active(Target(arch))
    binary = kernel.warmup(*arguments, grid=(1,), **constants, num_warps=launch.WARPS)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(binary.asm["cubin"])
        command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = re.search(r"REG:(\d+) STACK:(\d+)", said)
    assert used
    version = triton.__version__
    return Compiled(*key, arch, int(used[1]), int(used[2]), binary.metadata.shared, version, source(key[0]))


def read() -> dict[tuple[str, str, int], Compiled]:
    """The table that there is."""
    if not TABLE.is_file():
        return {}
    kinds = {field.name: int if field.type in (int, "int") else str for field in fields(Compiled)}
    with TABLE.open(newline="") as file:
        rows = [Compiled(**{name: kinds[name](value) for name, value in row.items()}) for row in csv.DictReader(file)]
    return {(row.kernel, row.form, row.arch): row for row in rows}


def write(rows: dict[tuple[str, str, int], Compiled]) -> None:
    """Sorted, a line a form and architecture."""
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Compiled)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(rows[key]) for key in sorted(rows))


def main() -> None:
    """Compiles what is not in the table, and writes it after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", type=int, action="append", help="compute capability, times ten")
    parser.add_argument("--only", default="", help="kernels of that name")
    given, rows = parser.parse_args(), read()
    wanted = {(*key, arch): own for key, own in forms_of_steps().items() for arch in given.arch or ARCHES}
    rows = {key: row for key, row in rows.items() if row.source == source(row.kernel) and key in wanted}
    for key, own in wanted.items():
        if key not in rows and given.only in key[0]:
            rows[key] = compiled(key[:2], own, key[2])
            print(rows[key], flush=True)
            write(rows)


if __name__ == "__main__":
    main()
