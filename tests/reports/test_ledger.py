"""The ledger counts what was begun, however it ended."""

import json
from pathlib import Path

import pytest

from nas.errors import Interrupted
from nas.execution import Execution
from nas.pages.records import record_of
from nas.reports.ledger import Count, ledger, sentence
from nas.run import names
from nas.run.folder import Run, create
from nas.run.log import Epoch
from nas.run.results import TrainResult
from nas.run.spec import TrainSpec
from nas.settings import TrainSettings
from nas.train.session import Session
from nas.tuning.objective import Stop

SPEC = TrainSpec(settings=TrainSettings(), execution=Execution())
RESULT = TrainResult(
    test_accuracy=0.5,
    test_loss=1.0,
    valid_accuracy=None,
    params=1,
    madds=1,
    seed=0,
    recipe="0",
    seconds=1.0,
    hardware="none",
    test_openings=3,
)


def begun(root: Path, error: Exception | None = None) -> Run:
    """A training after an epoch of an hour, which ends by the error, if there is one."""
    run = create(root, "retrain", SPEC)
    session = Session(run, {}, Epoch, epochs=2, steps=1, title="", quiet=True)
    session.restore(None)
    run.append_log(Epoch(epoch=0, seconds=3600.0, train_loss=1.0, train_accuracy=0.5))
    if error:
        with pytest.raises(type(error)), session:
            raise error
    return run


def counts(root: Path) -> dict[tuple[str, str], int]:
    return {(count.command, count.state): count.runs for count in ledger([root]).counts}


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, "unfinished"),
        (Interrupted(15, ""), "interrupted"),
        (Stop(), "stopped early"),
        (RuntimeError("no memory"), "failed"),
    ],
)
def test_how_a_training_ended(error: Exception | None, state: str, tmp_path: Path) -> None:
    run = begun(tmp_path, error)
    assert counts(tmp_path) == {("retrain", state): 1}
    Session(run, {}, Epoch, epochs=2, steps=1, title="", quiet=True).restore(None)  # goes on
    assert counts(tmp_path) == {("retrain", "unfinished"): 1}
    run.write(names.RESULT, RESULT)
    assert counts(tmp_path) == {("retrain", "finished"): 1}


def test_a_trial_that_failed_is_no_stopped_one_when_its_tuning_ends(tmp_path: Path) -> None:
    parent = create(tmp_path, "parent", TrainSpec(settings=TrainSettings(), execution=Execution(), seeds=(0, 1)))
    begun(parent.path, RuntimeError("no memory")), begun(parent.path)
    parent.write(names.RESULT, {})
    assert counts(tmp_path) == {("retrain", "failed"): 1, ("retrain", "stopped early"): 1}


def test_one_of_several_workers_notes_no_end(tmp_path: Path) -> None:
    run = create(tmp_path, "retrain", SPEC)
    with pytest.raises(RuntimeError), Session(run, {}, Epoch, epochs=1, steps=1, title="", quiet=True, writes=False):
        raise RuntimeError
    assert not (run.path / names.EVENTS).exists()


def test_all_depths_once_with_hours_and_openings(tmp_path: Path) -> None:
    parent = create(tmp_path, "parent", TrainSpec(settings=TrainSettings(), execution=Execution(), seeds=(0, 1)))
    for name in ("s0", "s1"):
        child = parent.child(name, SPEC)
        child.append_log(Epoch(epoch=0, seconds=1800.0, train_loss=1.0, train_accuracy=0.5))
    Run(parent.path / "s0").write(names.RESULT, RESULT)
    whole = ledger([tmp_path, parent.path, parent.path / "s0"])
    assert whole.counts == (
        Count(command="retrain", state="finished", runs=1),
        Count(command="retrain", state="unfinished", runs=1),
    )
    assert (whole.device_hours, whole.test_openings) == (1.0, 3)
    said = "1 retrain finished, 1 retrain unfinished; 1 device hours; test set opened 3 times"
    assert sentence(whole) == said


def test_hours_that_a_sentinel_undid_count(tmp_path: Path) -> None:
    run = create(tmp_path, "search", SPEC)
    run.append_log(Epoch(epoch=0, seconds=1800.0, train_loss=1.0, train_accuracy=0.5))
    (run.path / names.ABANDONED).write_text((run.path / names.LOG).read_text())
    assert ledger([tmp_path]).device_hours == 1.0 and record_of(run).seconds == 3600


def test_damaged_folders_are_counted_too(tmp_path: Path) -> None:
    run = begun(tmp_path)
    with (run.path / names.EVENTS).open("a") as file:
        file.write('{"event": "en')
    assert counts(tmp_path) == {("retrain", "unfinished"): 1}
    run.write(names.RESULT, json.dumps({"valid_accuracy": 1}))
    assert counts(tmp_path) == {("retrain", "finished"): 1} and ledger([tmp_path]).test_openings == 0
    run.write(names.SETTINGS, "{")
    assert counts(tmp_path) == {("unknown", "unreadable"): 1}
    assert sentence(ledger([tmp_path / "none"])) == "no runs; 0 device hours; test set opened 0 times"
