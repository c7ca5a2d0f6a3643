"""Real processes, killed and resumed: the result is bit for bit that of an uninterrupted run."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.run.folder import Run, every
from nas.run.log import Epoch
from nas.train import checkpoint
from tests.campaign.process import Command
from tests.campaign.sameness import contents, difference

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


def folder_of(path: Path) -> Path:
    """A folder with the cells that the commands name."""
    path.mkdir()
    for name in ("cell.txt", "other.txt"):
        (path / name).write_text(TEXT)
    return path


def wait_for(folder: Path, lines: int, runs: Callable[[Run], list[Run]], seconds: float = 300) -> Run:
    """The run in a folder, once the logs of those of its ``runs`` have so many lines."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for run in every(folder):
            if sum(len(each.log(Epoch)) for each in runs(run)) >= lines:
                return run
        time.sleep(0.02)
    raise TimeoutError("no log line came")


def itself(run: Run) -> list[Run]:
    return [run]


def children(run: Run) -> list[Run]:
    return run.children


def assert_same(one: Run, other: Run) -> None:
    """Weights, alphas, optimisers, logs and results."""
    assert not (said := difference(contents(one.path), contents(other.path))), said


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_and_resumed(name: str, tmp_path: Path) -> None:
    words = COMMANDS[name].split()
    whole, killed = folder_of(tmp_path / "whole"), folder_of(tmp_path / "killed")
    Command(words, whole).end()
    polite = Command(words, killed)
    run = wait_for(killed / "runs", 1, itself)
    polite.send(signal.SIGTERM)  # somewhere in the second epoch: saved in its middle
    polite.end(143)
    assert "--resume" in polite.said()
    rude = Command([words[0], "--resume", run.path], killed)
    wait_for(killed / "runs", 2, itself)
    rude.send(signal.SIGKILL)  # somewhere in the third
    rude.end(-signal.SIGKILL, 0)
    Command([words[0], "--resume", "last"], killed).end()
    (expected,) = every(whole / "runs")
    assert_same(expected, run)


def test_many_killed_at_random_moments(tmp_path: Path) -> None:
    """Moving average, accumulation, trained weights to start from, frozen cells, and 2 cells × 2 seeds.

    They are long enough, 24 epochs of a tenth of a second, that both kills come before the end.
    """
    folder = folder_of(tmp_path / "here")
    Command(f"{RETRAIN} --cells 2 --epochs 1 --limit 64".split(), folder).end()
    (source,) = every(folder / "runs")
    words = [*MANY.split(), "--init", source.path, "--freeze", "1", "--runs"]
    Command([*words, tmp_path / "whole"], folder).end()
    (expected,) = every(tmp_path / "whole")

    moments, lines = random.Random(0), 1
    process = Command([*words, tmp_path / "killed"], folder)
    for number in (signal.SIGTERM, signal.SIGKILL):
        run = wait_for(tmp_path / "killed", lines, children)
        time.sleep(moments.uniform(0, 0.5))
        process.send(number)
        process.end(143, -signal.SIGKILL)
        if number == signal.SIGTERM:
            said = process.said()
            assert "--resume" in said and "/c1-s0" not in said, "the parent is to be resumed, not the child"
        lines = sum(len(child.log(Epoch)) for child in run.children) + 1
        process = Command(["retrain", "--resume", run.path], folder)
    source.path.rename(tmp_path / "gone")  # a run needs no other to go on
    process.end()
    assert len(run.children) == len(expected.children) == 4
    states = [checkpoint.load(child.path / "checkpoint") for child in run.children]
    assert all(state and "average" in state.parts for state in states)
    assert_same(expected, run)


def test_two_runs_of_a_seed_are_the_same_and_of_two_seeds_are_not(tmp_path: Path) -> None:
    folders = [tmp_path / str(index) for index in range(3)]
    for folder, seed in zip(folders, (5, 5, 6), strict=True):
        Command([*SEARCH.split(), "--epochs", "1", "--seed", seed], folder).end()
    one, same, other = (contents(next(iter(every(folder / "runs"))).path) for folder in folders)
    assert not difference(one, same)
    assert one["checkpoint"] != other["checkpoint"]
