"""Checkpoints: two kept, damage seen, no code run."""

import os
from pathlib import Path

import pytest
import torch

from nas.errors import UsageError
from nas.train import checkpoint


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, {"step": step, "tensor": torch.full((2,), float(step))})
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["000000002.pt", "000000003.pt"]
    state = checkpoint.load(tmp_path)
    assert state is not None and state["step"] == 3 and state["tensor"].tolist() == [3.0, 3.0]


def test_a_damaged_one_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"step": step})
    path = tmp_path / "000000002.pt"
    path.write_bytes(path.read_bytes()[:-10])
    state = checkpoint.load(tmp_path)
    assert state is not None and state["step"] == 1
    assert str(path) in capsys.readouterr().err
    (tmp_path / "000000001.pt").unlink()
    with pytest.raises(UsageError, match="all checkpoints"):
        checkpoint.load(tmp_path)


def test_saving_a_step_again(tmp_path: Path) -> None:
    for value in (1, 2):
        checkpoint.save(tmp_path, 7, {"value": value})
    state = checkpoint.load(tmp_path)
    assert state is not None and state["value"] == 2


@pytest.mark.parametrize("content", ["{", "{}", "[1]", '[{"file": "x"}]'])
def test_malformed_index(content: str, tmp_path: Path) -> None:
    (tmp_path / "latest.json").write_text(content)
    with pytest.raises(UsageError, match=r"latest\.json"):
        checkpoint.load(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self").exists(), reason="needs /proc")
def test_a_folder_that_cannot_be_written() -> None:
    with pytest.raises(UsageError, match="cannot write"):
        checkpoint.save(Path("/proc/self/nas"), 1, {})
