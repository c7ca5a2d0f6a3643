"""A study on real raylets, one of which dies on the way: it comes to what it comes to on one machine."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.commands.studying import study
from nas.execution import Execution
from nas.reports.studies import StudyDocument
from nas.run.documents import read
from nas.run.folder import Run
from nas.run.log import Epoch
from nas.settings import StudySettings, make
from tests.cluster.test_trainings import cluster, ended, once, start  # noqa: F401 - a fixture
from tests.commands.test_studying import NAMES, SMALL


@pytest.mark.slow
def test_a_node_dies(cluster: Any, tmp_path: Path) -> None:  # noqa: F811
    folder, text = tmp_path / "killed", SMALL.replace("epochs = 1", "epochs = 3")
    folder.mkdir()
    (folder / "study.toml").write_text(text)
    command = start(folder, "study", "study.toml", "--cluster", cluster.address, "--threads", "1")
    run = once(folder, lambda run: len(Run(run.path / NAMES[1]).log(Epoch)) > 0, command)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    ended(command)
    whole = study(make(StudySettings, tomllib.loads(text)), runs=tmp_path / "whole", execution=Execution(threads=1))
    ours, theirs = (read(each.path / "study.json", StudyDocument).rows for each in (run, whole))
    assert [replace(row, seconds=0.0) for row in ours] == [replace(row, seconds=0.0) for row in theirs]
    assert all(row.status == "finished" for row in ours)
