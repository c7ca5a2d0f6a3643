"""What a cluster's task does, in plain processes: a team with an object store, stopped, and gone on with by one."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist

from nas.cluster.storage import Store
from nas.commands import carry
from nas.execution import Execution
from nas.macro.networks import document
from nas.run.folder import Run, create
from nas.settings import TRAIN_PRESETS, TrainSettings, plain, resolve
from nas.train import checkpoint

PROGRAM = """
import sys
from pathlib import Path
from nas.commands import carry
from nas.execution import Execution
from nas.cluster.trainings import Place, work
store, rank, size, port = sys.argv[1], *map(int, sys.argv[2:])
place = Place(Path("nowhere"), store, rank, size, ("127.0.0.1", port) if port else None)
end = work(place, Execution("cpu", 1), carry.proceed, [])
print(end.said or end.died)
"""
CHANGES = {"data": "digits", "limit": 320, "batch": 16, "accumulate": 2, "epochs": 3, "lr": 1e-5}
SETTINGS = resolve(TrainSettings, TRAIN_PRESETS, "quick", CHANGES)
"""So small a learning rate that rounding stays small: weights off by 1e-7 at the start change an epoch's loss by up to
6e-5 of it, with one worker too; at a rate of 0.002 by 0.5 %."""


def new(folder: Path) -> Run:
    told = {"command": "retrain", "settings": plain(SETTINGS), "execution": {}, "preset": "quick"}
    run = create(folder, "retrain", told)
    run.write(
        "architecture.json", document("mobilenet_v2", {"width": 0.1}, input=(3, 16, 16), classes=10, stem="cifar")
    )
    return run


def worker(store: Store, rank: int, size: int, port: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", PROGRAM, store.url, str(rank), str(size), str(port)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_team_is_stopped_and_one_goes_on(tmp_path: Path) -> None:
    run, store = new(tmp_path), Store(f"file://{tmp_path}/store")
    store.begin(run.path)
    meeting = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    team = [worker(store, rank, 2, meeting.port) for rank in range(2)]
    end = time.monotonic() + 300
    while "log.jsonl" not in (tmp_path / "store" / "latest.json").read_text():
        time.sleep(0.02)
        assert time.monotonic() < end and team[0].poll() is None, team[0].communicate()
    team[1].send_signal(signal.SIGTERM)  # the one that does not write
    for process in team:
        out, err = process.communicate(timeout=120)
        assert "saved" in out, err
    store.pull(run.path)
    state = checkpoint.load(run.path / "checkpoint")
    assert state is not None and (state["epoch"], state["done"]) > (len(run.log()), 0), "in the middle of an epoch"

    out, err = worker(store, 0, 1, 0).communicate(timeout=300)
    assert out.strip() == "" and "goes on at step" in err, err
    store.pull(run.path)
    assert run.finished
    whole = new(tmp_path / "whole")
    carry.proceed(whole, Execution("cpu", 1))
    losses = [[entry["train_loss"] for entry in one.log()] for one in (run, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3), "rounding alone; a step lost or done twice would be 5 %"
