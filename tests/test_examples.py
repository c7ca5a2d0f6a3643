"""The scripts in examples/ run from top to bottom, and leave what they say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
FILES = {"search": ["curves.pdf", "alphas.pdf"], "tune": ["front.pdf"], "own_images": []}


def test_every_example_is_known() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(FILES)
    assert all(path.name in (EXAMPLES / "README.md").read_text() for path in EXAMPLES.glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_it_runs(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"}
    environment.pop("NAS_RUNS", None)
    run = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / file).read_bytes().startswith(b"%PDF") for file in FILES[name])
