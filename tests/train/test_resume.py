"""Real processes, killed and resumed: the result is bit for bit that of an uninterrupted run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.reports.comparison import Comparison
from nas.run.folder import Run, every
from nas.run.log import Epoch, SearchEpoch
from nas.train import checkpoint

SPACE = Path(__file__).parents[1] / "small_space.toml"
SEARCH = f"search --space {SPACE} --data digits --limit 96 --channels 2 --cells 2 --batch 16 --epochs 3 --chance 0"
RETRAIN = "retrain cell.txt --preset quick --data digits --limit 400 --batch 16 --channels 4 --cells 3 --epochs 3"
TRAINING = f"{RETRAIN} --drop-path 0.3 --auxiliary 0.4 --cutout --validation 80"
COMMANDS = {"first order": SEARCH, "second order": f"{SEARCH} --order 2", "training": TRAINING}
MANY = (
    "retrain cell.txt other.txt --preset fast --data digits --limit 96 --batch 16 --channels 4 --cells 2 --epochs 6 "
    "--seeds 1,2 --accumulate 3 --optimizer rmsprop --decayed dense --lr 0.005 --schedule exponential --crop resized "
    "--validation 32 --auxiliary 0 --drop-path 0.1"
)
TEXT = (Path(__file__).parents[1] / "golden" / "genotypes.txt").read_text().split("DARTS_V2 = ")[1].splitlines()[0]


def start(folder: Path, words: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "NAS_RUNS": str(folder / "runs"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nas", *words]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def state_of(run: Run) -> tuple[dict[str, Any], list[Epoch]]:
    state = checkpoint.load(run.path / "checkpoint")
    assert state is not None
    search = [replace(entry, seconds=0.0, eigenvalue_seconds=None) for entry in run.log(SearchEpoch)]
    return state.parts, [*search] or [replace(entry, seconds=0.0) for entry in run.log(Epoch)]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def wait_for_log(folder: Path, lines: int, seconds: float = 240) -> Run:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for run in every(folder / "runs"):
            if len(run.log(Epoch)) >= lines:
                return run
        time.sleep(0.02)
    raise TimeoutError("no log line came")


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_and_resumed(name: str, tmp_path: Path) -> None:
    (tmp_path / "cell.txt").write_text(TEXT)
    words = COMMANDS[name].split()
    whole = start(tmp_path, words)
    _, err = whole.communicate(timeout=180)
    assert whole.returncode == 0, err
    (expected,) = every(tmp_path / "runs")

    killed = tmp_path / "killed"
    killed.mkdir()
    (killed / "cell.txt").write_text(TEXT)
    polite = start(killed, words)
    run = wait_for_log(killed, 1)
    polite.send_signal(signal.SIGTERM)  # somewhere in the second epoch: saved in its middle
    _, err = polite.communicate(timeout=60)
    assert polite.returncode == 143, err
    assert b"--resume" in err and b"Traceback" not in err

    rude = start(killed, [words[0], "--resume", str(run.path)])
    wait_for_log(killed, 2)
    rude.kill()  # somewhere in the third
    rude.communicate(timeout=60)
    last = start(killed, [words[0], "--resume", "last"])
    _, err = last.communicate(timeout=120)
    assert last.returncode == 0, err

    wanted, found = state_of(expected), state_of(run)
    assert same(wanted[0], found[0]), "weights, alphas, optimisers"
    assert wanted[1] == found[1], "log"
    keep = ("seconds", "hardware", "source")  # the file of each lies in a folder of its own
    results = [
        {k: v for k, v in json.loads((r.path / "result.json").read_text()).items() if k not in keep}
        for r in (expected, run)
    ]
    assert results[0] == results[1]


def test_many_killed_at_random_moments(tmp_path: Path) -> None:
    """Moving average, accumulation, trained weights to start from, frozen cells, and 2 cells × 2 seeds.

    They are long enough, 24 epochs of a tenth of a second, that both kills come before the end.
    """
    (tmp_path / "cell.txt").write_text(TEXT)
    (tmp_path / "other.txt").write_text(TEXT)
    first = start(tmp_path, f"{RETRAIN} --cells 2 --epochs 1 --limit 64".split())
    _, err = first.communicate(timeout=300)
    assert first.returncode == 0, err
    (source,) = every(tmp_path / "runs")
    words = [*MANY.split(), "--init", str(source.path), "--freeze", "1", "--runs", str(tmp_path / "whole")]
    whole = start(tmp_path, words)
    _, err = whole.communicate(timeout=300)
    assert whole.returncode == 0, err
    (expected,) = every(tmp_path / "whole")

    words[-1] = str(tmp_path / "killed")
    moments, lines = random.Random(0), 1
    process = start(tmp_path, words)
    for number in (signal.SIGTERM, signal.SIGKILL):
        run = wait_for_lines(tmp_path / "killed", lines)
        time.sleep(moments.uniform(0, 0.5))
        process.send_signal(number)
        _, err = process.communicate(timeout=300)
        assert process.returncode in (143, -9), err
        if number == signal.SIGTERM:
            assert b"--resume" in err and b"/c1-s0" not in err, "the parent is to be resumed, not the child"
        lines = sum(len(child.log(Epoch)) for child in run.children) + 1
        process = start(tmp_path, ["retrain", "--resume", str(run.path)])
    source.path.rename(tmp_path / "gone")  # a run needs no other to go on
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err

    assert len(run.children) == len(expected.children) == 4
    for wanted, found in zip(expected.children, run.children, strict=True):
        assert same(state_of(wanted), state_of(found)), found.path.name
        assert "average" in state_of(found)[0]
        weights = [(child.path / "weights.safetensors").read_bytes() for child in (wanted, found)]
        assert weights[0] == weights[1]
    for one, other in zip(expected.result(Comparison).networks, run.result(Comparison).networks, strict=True):
        assert one.test_accuracies == other.test_accuracies


def wait_for_lines(folder: Path, lines: int, seconds: float = 300) -> Run:
    """The parent run, once its children's logs have so many lines."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for run in every(folder):
            if sum(len(child.log(Epoch)) for child in run.children) >= lines:
                return run
        time.sleep(0.02)
    raise TimeoutError("no log line came")


def test_two_runs_of_a_seed_are_the_same_and_of_two_seeds_are_not(tmp_path: Path) -> None:
    processes = []
    for index, seed in enumerate((5, 5, 6)):
        folder = tmp_path / str(index)
        folder.mkdir()
        processes.append(start(folder, [*SEARCH.split(), "--epochs", "1", "--seed", str(seed)]))
    for process in processes:
        _, err = process.communicate(timeout=180)
        assert process.returncode == 0, err
    states = [state_of(every(tmp_path / str(index) / "runs")[0]) for index in range(3)]
    assert same(states[0], states[1])
    assert not same(states[0], states[2])
