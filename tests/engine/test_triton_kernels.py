"""The committed table of the Triton kernels' registers (benchmarks/triton_kernels.py): it is of this source."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
table = pytest.importorskip("benchmarks.triton_kernels")
ROWS = table.read()


def test_the_table_is_of_this_source() -> None:
    old = {row.kernel for row in ROWS.values() if row.source != table.source(row.kernel)}
    assert not old, "TRITON_INTERPRET=0 python -m benchmarks.triton_kernels compiles these again"


def test_every_kernel_is_there_on_every_architecture() -> None:
    forms = {(row.kernel, row.form) for row in ROWS.values()}
    assert len({kernel for kernel, _ in forms}) == 14
    assert set(ROWS) == {(*form, arch) for form in forms for arch in table.ARCHES}


@pytest.mark.parametrize(("arch", "kilobytes"), [(90, 227), (80, 163), (89, 99)])
def test_registers_and_shared_memory_suffice(arch: int, kilobytes: int) -> None:
    """Some 8 bytes spill in a few forms of 64 channels; a program's shared memory is what such a GPU has at most."""
    assert max(row.spills for row in ROWS.values() if row.arch == arch) <= 16
    assert max(row.shared for row in ROWS.values() if row.arch == arch) <= kilobytes * 1024


def test_a_kernel_compiles(tmp_path: Path) -> None:
    """One, in a process where Triton is not its interpreter."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    code = (
        "from benchmarks import triton_kernels as table\n"
        "forms = table.forms_of_steps()\n"
        "key = min(key for key in forms if key[0] == 'norm_gradients')\n"
        "print(table.compiled(key, forms[key], 90).registers)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 16 <= int(done.stdout) <= 255
