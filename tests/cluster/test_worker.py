"""What a cluster's task does, in plain processes: two ranks with an object store, stopped, and gone on with by one."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.cluster.storage import Store
from nas.commands.retraining import continue_retraining
from nas.execution import Execution
from nas.macro.networks import document
from nas.run import names
from nas.run.folder import Run, create
from nas.run.log import Epoch
from nas.run.spec import TrainSpec
from nas.settings import TRAIN_PRESETS, TrainSettings, resolve
from nas.train import checkpoint
from nas.train.process_group import rendezvous

PROGRAM = """
import sys
from pathlib import Path
from nas.cluster.worker import Worker, work
from nas.commands.retraining import continue_retraining
from nas.execution import Execution
store, rank, world_size, port = sys.argv[1], *map(int, sys.argv[2:])
execution, address = Execution("cpu", 1), ("127.0.0.1", port) if port else None
worker = Worker(Path("nowhere"), store, execution, continue_retraining, (), rank, world_size, address)
outcome = work(worker)
print(outcome.mistake or outcome.death)
"""
CHANGES = {"data": "digits", "limit": 320, "batch": 16, "accumulate": 2, "epochs": 3, "lr": 1e-5}
SETTINGS = resolve(TrainSettings, TRAIN_PRESETS, "quick", CHANGES)
"""So small a learning rate that rounding stays small: weights off by 1e-7 at the start change an epoch's loss by up to
6e-5 of it, with one worker too; at a rate of 0.002 by 0.5 %."""


def new(folder: Path) -> Run:
    run = create(folder, "retrain", TrainSpec(settings=SETTINGS, execution=Execution(), preset="quick"))
    network = document("mobilenet_v2", {"width": 0.1}, input=(3, 16, 16), classes=10, stem="cifar")
    run.write(names.ARCHITECTURE, network)
    return run


def start(store: Store, rank: int, world_size: int, port: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", PROGRAM, store.url, str(rank), str(world_size), str(port)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_ranks_are_stopped_and_one_goes_on(tmp_path: Path) -> None:
    run, store = new(tmp_path), Store(f"file://{tmp_path}/store")
    store.begin(run.path)
    store_of_group = rendezvous("127.0.0.1")
    ranks = [start(store, rank, 2, store_of_group.port) for rank in range(2)]
    end = time.monotonic() + 300
    while names.LOG not in (tmp_path / "store" / "latest.json").read_text():
        time.sleep(0.02)
        assert time.monotonic() < end and ranks[0].poll() is None, ranks[0].communicate()
    ranks[1].send_signal(signal.SIGTERM)  # the one that does not write
    for process in ranks:
        out, err = process.communicate(timeout=120)
        assert "saved" in out, err
    store.pull(run.path)
    state = checkpoint.load(run.path / names.CHECKPOINT)
    assert state is not None and (state["epoch"], state["done"]) > (len(run.log(Epoch)), 0), "in the middle of an epoch"

    out, err = start(store, 0, 1, 0).communicate(timeout=300)
    assert out.strip() == "" and "goes on at step" in err, err
    store.pull(run.path)
    assert run.finished
    whole = new(tmp_path / "whole")
    continue_retraining(whole, Execution("cpu", 1))
    losses = [[entry.train_loss for entry in one.log(Epoch)] for one in (run, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3), "rounding alone; a step lost or done twice would be 5 %"
