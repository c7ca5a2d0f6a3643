"""Checkpoints: two kept, damage seen, no code run."""

import json
import os
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest
import torch

from nas.architecture import from_json
from nas.errors import Interrupted, UsageError
from nas.execution import Execution
from nas.macro.networks import document
from nas.run.folder import Run, create
from nas.run.log import Epoch
from nas.run.spec import TrainSpec
from nas.settings import TrainSettings
from nas.train import checkpoint
from nas.train.loop import train
from nas.train.session import Watch
from tests.conftest import digest


def state(step: int, **changes: Any) -> checkpoint.State:
    values = {"sums": {}, "seconds": 1.0, "threads": 1, "versions": {}, "parts": {"tensor": torch.full((2,), step)}}
    return checkpoint.State(**{"epoch": step, "done": 0, **values, **changes})


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, state(step))
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["000000002.pt", "000000003.pt"]
    last = checkpoint.load(tmp_path)
    assert last is not None and last.epoch == 3 and last.parts["tensor"].tolist() == [3.0, 3.0]


def test_a_damaged_one_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, step, state(step))
    path = tmp_path / "000000002.pt"
    path.write_bytes(path.read_bytes()[:-10])
    last = checkpoint.load(tmp_path)
    assert last is not None and last.epoch == 1
    assert str(path) in capsys.readouterr().err
    (tmp_path / "000000001.pt").unlink()
    with pytest.raises(UsageError, match="all checkpoints"):
        checkpoint.load(tmp_path)


def test_saving_a_step_again(tmp_path: Path) -> None:
    for value in (1, 2):
        checkpoint.save(tmp_path, 7, state(value))
    last = checkpoint.load(tmp_path)
    assert last is not None and last.epoch == 2


class Planted:
    """Would make a file where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("planted"),)


CONTENTS: dict[str, Any] = {
    "a planted pickle": {**vars(state(1)), "parts": Planted()},
    "a bare tensor": torch.ones(3),
    "versions": {name: value for name, value in vars(state(1)).items() if name != "versions"},
    "epoch": {**vars(state(1)), "epoch": -1},
    "done": {**vars(state(1)), "done": "3"},
    "seconds": {**vars(state(1)), "seconds": float("nan")},
    "threads": {**vars(state(1)), "threads": 10**6},
    "another version of nas": {**vars(state(1)), "format": 2},
}


@pytest.mark.parametrize("name", [*CONTENTS, "text"])
def test_one_that_is_none_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where latest.json has its digest."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "000000001.pt"
    torch.save(CONTENTS[name], path) if name != "text" else path.write_text("no checkpoint")
    index = [{"file": path.name, "sha256": digest(path), "step": 1}]
    (tmp_path / "latest.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match=rf"000000001\.pt is none: .*{name if name in vars(state(1)) else ''}"):
        checkpoint.load(tmp_path)
    assert not Path("planted").exists()


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").touch()
    with pytest.raises(UsageError, match="is a file"):
        checkpoint.load(tmp_path / "checkpoint")


@pytest.mark.parametrize(
    "content", ["{", "{}", "[1]", '[{"file": "x"}]', f'[{{"file": "\\0.pt", "sha256": "{64 * "0"}"}}]']
)
def test_malformed_index(content: str, tmp_path: Path) -> None:
    (tmp_path / "latest.json").write_text(content)
    with pytest.raises(UsageError, match=r"latest\.json"):
        checkpoint.load(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self").exists(), reason="needs /proc")
def test_a_folder_that_cannot_be_written() -> None:
    with pytest.raises(UsageError, match="cannot write"):
        checkpoint.save(Path("/proc/self/nas"), 1, state(1))


FULL = Path("/dev/full")
full_disk = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


@full_disk
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    def epoch() -> int:
        last = checkpoint.load(tmp_path)
        assert last is not None
        return last.epoch

    checkpoint.save(tmp_path, 1, state(1))
    for name in (".000000002.pt.part", ".latest.json.part"):
        (tmp_path / name).symlink_to(FULL)
        with pytest.raises(UsageError, match="No space left"):
            checkpoint.save(tmp_path, 2, state(2))
        assert not (tmp_path / name).is_symlink(), "the room is given back"
        assert epoch() == 1
    checkpoint.save(tmp_path, 2, state(2))
    assert epoch() == 2


SETTINGS = TrainSettings(data="digits", limit=48, batch=16, epochs=3)


def training(folder: Path, run: Run | None = None, watch: Watch[Epoch] | None = None) -> Run:
    """Three epochs of three steps, or what is left of them."""
    run = run or create(folder, "train", TrainSpec(settings=SETTINGS, execution=Execution("cpu", 1)))
    network = from_json(document("mobilenet_v2", {"width": 0.1}, input=(3, 16, 16), classes=10, stem="cifar"))
    train(run, network, SETTINGS, Execution("cpu", 1), watch=watch)
    return run


@full_disk
def test_a_full_disk_is_no_lost_run(tmp_path: Path) -> None:
    whole, run = (
        training(tmp_path / "whole"),
        create(tmp_path, "full", TrainSpec(settings=SETTINGS, execution=Execution("cpu", 1))),
    )

    def fill(entry: object) -> None:
        (run.path / "checkpoint" / ".000000006.pt.part").symlink_to(FULL)

    with pytest.raises(UsageError, match=r"No space left.*go on with: nas retrain --resume"):
        training(tmp_path, run, fill)
    assert len(run.log(Epoch)) == 2, "the second epoch is in the log, but not in a checkpoint"
    training(tmp_path, run)
    assert digest(run.path / "weights.safetensors") == digest(whole.path / "weights.safetensors")
    assert [entry.train_loss for entry in run.log(Epoch)] == [entry.train_loss for entry in whole.log(Epoch)]


def test_a_lost_folder_is_a_clear_error(tmp_path: Path) -> None:
    run = create(tmp_path, "lost", TrainSpec(settings=SETTINGS, execution=Execution("cpu", 1)))
    with pytest.raises(UsageError, match=r"cannot write .*No such file"):
        training(tmp_path, run, lambda entry: shutil.rmtree(run.path))


def test_a_signal_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that arrives while a checkpoint is read."""
    checkpoint.save(tmp_path, 1, state(1))
    monkeypatch.setattr("torch.load", Mock(side_effect=Interrupted(15)))
    with pytest.raises(Interrupted):
        checkpoint.load(tmp_path)


def test_killed_twice_while_the_first_is_written(tmp_path: Path) -> None:
    """At different steps, each time after the file and before what names it."""
    for step in (1, 2):
        with pytest.raises(KeyboardInterrupt), patch.object(checkpoint, "write_json", side_effect=KeyboardInterrupt):
            checkpoint.save(tmp_path, step, state(step))
        assert checkpoint.load(tmp_path) is None
    checkpoint.save(tmp_path, 3, state(3))
    assert [path.name for path in tmp_path.glob("*.pt")] == ["000000003.pt"]
