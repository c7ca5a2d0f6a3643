"""The checklist ticks what the records show, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from nas.execution import Execution
from nas.pages.checklist import PRACTICES, checklist
from nas.pages.records import record_of
from nas.run import names
from nas.run.folder import Run, create
from nas.run.results import TrainResult
from nas.run.spec import DeriveSpec, Size
from nas.settings import DeriveSettings, SearchSettings
from tests.pages import made
from tests.run.test_fingerprint import OWN

RANDOM, SEEDS, CODE = "Compared with random", "Several runs", "Code of the training"
HARDWARE, TIME, TEST, DATA, PROTOCOL = (
    "Hardware, library",
    "Time of the whole",
    "Test set",
    "All that is compared has the same data",
    "All that is compared has the same evaluation",
)


def state(beginning: str, *runs: Run) -> str:
    (item,) = [item for item in checklist([record_of(run) for run in runs]) if item.practice.startswith(beginning)]
    assert item.evidence
    return item.state


def test_one_search_is_not_several(tmp_path: Path) -> None:
    run = made.search(tmp_path)
    assert len(checklist([record_of(run)])) == len(PRACTICES)
    assert state(SEEDS, run) == "not done" and state(RANDOM, run) == "not done" and state(TIME, run) == "in part"
    assert state(SEEDS, run, made.trainings(tmp_path, {0: 0.9, 1: 0.8})) == "in part"
    assert state(TIME, run, made.trainings(tmp_path, {0: 0.9})) == "done"


@pytest.mark.parametrize(
    "git, expected",
    [(None, "in part"), ({"commit": "a", "changed": True}, "in part"), ({"commit": "a", "changed": False}, "done")],
)
def test_code(tmp_path: Path, git: object, expected: str) -> None:
    run = made.search(tmp_path)
    run.write(names.ENVIRONMENT, {"hardware": "one", "git": git})
    assert state(CODE, run) == expected


def test_different_hardware_is_told(tmp_path: Path) -> None:
    first, second = made.search(tmp_path), made.search(tmp_path)
    assert state(HARDWARE, first, second) == "done"
    second.write(names.ENVIRONMENT, {"hardware": "another"})
    assert state(HARDWARE, first, second) == "not done"


def test_different_recipes_are_told(tmp_path: Path) -> None:
    first = made.trainings(tmp_path, {0: 0.9, 1: 0.8})
    assert state(PROTOCOL, first) == "done"
    assert state(PROTOCOL, first, made.trainings(tmp_path, {0: 0.9}, replace(made.TRAINING, lr=0.5))) == "not done"


@pytest.mark.parametrize(("term", "practice"), [("resolution", PROTOCOL), ("init", PROTOCOL), ("data", DATA)])
def test_unlike_terms_are_told(tmp_path: Path, term: str, practice: str) -> None:
    """As nas compare tells them."""
    run = made.trainings(tmp_path, {0: 0.9, 1: 0.8})
    children = Run(run.path / "s0"), Run(run.path / "s1")
    for child, value in zip(
        children, (OWN, replace(OWN, **{term: 64 if term == "resolution" else "other"})), strict=True
    ):
        assert state(practice, run) == "done"
        child.write(names.RESULT, replace(child.result(TrainResult), fingerprint=value))
    assert state(practice, run) == "not done"


def test_a_derivation_has_no_data_to_compare(tmp_path: Path) -> None:
    run = create(
        tmp_path,
        "derive",
        DeriveSpec(
            settings=DeriveSettings(),
            execution=Execution(),
            search=SearchSettings(),
            source="x",
            epoch=1,
            final=Size(4, 3),
        ),
    )
    assert state(DATA, run) == "not done"


def test_a_test_set_read_twice_is_told(tmp_path: Path) -> None:
    run = made.trainings(tmp_path, {0: 0.9, 1: 0.8})
    assert state(TEST, run) == "done"
    child = Run(run.path / "s0")
    child.write(names.RESULT, replace(child.result(TrainResult), test_openings=2))
    assert state(TEST, run) == "in part"
