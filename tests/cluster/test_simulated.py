"""A thousand trainings on a simulated cluster that keeps losing nodes: none is lost, and none is done twice."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from nas.cluster import trainings
from nas.cluster.trainings import Trainings
from nas.cluster.worker import Outcome
from nas.execution import Execution
from nas.run.folder import Run, create
from nas.run.spec import TrainSpec
from nas.settings import TrainSettings

COUNT, EPOCHS, NODES, ROOM = 1000, 4, 10, 4


class Cluster:
    """Nodes with room for some trainings each; one dies after every so many epochs trained on it, and another comes."""

    def __init__(self) -> None:
        self.random, self.lock, self.room = Random(0), threading.Lock(), threading.Semaphore(NODES * ROOM)
        self.lives = [0] * NODES
        self.epochs: dict[Path, list[int]] = {}
        self.deaths = 0

    def train(self, run: Run) -> Outcome:
        """What is left of a run, on a node; its epochs are its checkpoints."""
        with self.room:
            with self.lock:
                node = self.random.randrange(NODES)
                life, done = self.lives[node], self.epochs.setdefault(run.path, [])
            while len(done) < EPOCHS:
                time.sleep(0.0001)
                with self.lock:
                    if self.lives[node] != life:
                        return Outcome(death="its node is gone")
                    done.append(len(done))
                    if self.random.random() < 0.01:
                        self.lives[node], self.deaths = life + 1, self.deaths + 1
            assert not run.finished, "done twice"
            run.write("result.json", {"epochs": done})
            return Outcome()


def test_no_training_is_lost_or_done_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    monkeypatch.setattr(Trainings, "_attempt", lambda _, run: cluster.train(run))
    monkeypatch.setattr(trainings, "_print", lambda line: None)
    first = create(tmp_path, "x", TrainSpec(settings=TrainSettings(), execution=Execution()))
    runs = [replace(first, path=tmp_path / f"{number:04d}") for number in range(COUNT)]
    for run in runs:
        run.path.mkdir()
    began = time.monotonic()
    mistakes = Trainings(Execution(device="cpu"), lambda *_: None).finish(runs)
    assert not mistakes and cluster.deaths > 20, (mistakes, time.monotonic() - began)
    assert all(run.finished for run in runs)
    assert all(done == list(range(EPOCHS)) for done in cluster.epochs.values()) and len(cluster.epochs) == COUNT
