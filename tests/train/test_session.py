"""What every long loop needs, beside what resuming tests."""

import gc
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nas.errors import UsageError
from nas.execution import Execution
from nas.run.folder import Run, create
from nas.run.log import Epoch
from nas.run.spec import TrainSpec
from nas.settings import TrainSettings
from nas.train import session as session_module
from nas.train.session import Session, last_state


def test_the_collector_leaves_what_a_loop_begins_with_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "gc", gc)
    gc.unfreeze()
    run = create(tmp_path, "retrain", TrainSpec(settings=TrainSettings(), execution=Execution()))
    with Session(run, {}, Epoch, epochs=1, steps=1, title="", quiet=True):
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0
    gc.freeze()


def begun(run: Run, epochs: int) -> list[str]:
    """The lines of a log, once so many epochs are done."""
    session = Session(run, {}, Epoch, epochs=epochs, steps=1, title="", quiet=True)
    session.restore(last_state(run))
    with session:
        for _ in session.epochs():
            for _ in session.steps():
                session.add(loss=torch.tensor(math.nan))
            session.end_epoch("", train_loss=session.sums()["loss"], train_accuracy=0.5)
    return (run.path / "log.jsonl").read_text().splitlines()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(tmp_path, "retrain", TrainSpec(settings=TrainSettings(), execution=Execution()))


@pytest.mark.parametrize("damage", ["torn", "doubled", "emptied", "removed", "all", "gone"])
def test_the_log_is_what_the_checkpoint_says(damage: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lines, path = begun(run, 3), run.path / "log.jsonl"
    damaged = {"torn": lines[1][:20], "doubled": f"{lines[1]}\n{lines[1]}", "emptied": "", "removed": None}
    middle = [damaged[damage]] if damaged.get(damage) is not None else []
    path.write_text("\n".join([lines[0], *middle, lines[2], ""]) if damage in damaged else "")
    if damage == "gone":
        path.unlink()
    assert begun(run, 4)[:3] == lines and len(run.log(Epoch)) == 4
    assert "log.jsonl was damaged" in capsys.readouterr().err
    assert "NaN" not in path.read_text() and math.isnan(run.log(Epoch)[0].train_loss)


def test_a_run_goes_on_as_what_it_was_begun(run: Run) -> None:
    begun(run, 1)
    settings = run.path / "settings.json"
    settings.write_text(settings.read_text().replace('"epochs": 600', '"epochs": 300'))
    with pytest.raises(UsageError, match=r"settings\.json is not what this run was begun with"):
        last_state(run)


def test_a_checkpoint_that_is_gone_is_a_warning(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lines = begun(run, 2)
    shutil.rmtree(run.path / "checkpoint")
    assert len(begun(run, 2)) == len(lines)
    assert "begins anew" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"epoch": 2}, {"done": 2}, {"parts": {}}])
def test_a_state_that_does_not_fit(change: dict[str, Any], run: Run) -> None:
    begun(run, 1)
    state = last_state(run)
    assert state is not None
    session = Session(run, {"network": nn.Linear(1, 1)}, Epoch, epochs=1, steps=1, title="", quiet=True)
    with pytest.raises(UsageError, match="does not fit its settings"):
        session.restore(replace(state, **change))
