"""Kills at any moment: what is gone on with comes to the same, bit for bit, and leaves nothing behind."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from nas.run.folder import every
from nas.run.names import CHECKPOINT
from tests.campaign.process import Command, Fault, stray
from tests.campaign.sameness import contents, difference
from tests.campaign.tries import Tries
from tests.campaign.undisturbed import COMMANDS, Undisturbed, prepared


@pytest.mark.campaign("a: kills at random moments and at each change of the disk")
@pytest.mark.parametrize("name", COMMANDS)
def test_kills(name: str, undisturbed: Undisturbed, tries: Tries, tmp_path: Path) -> None:
    words = COMMANDS[name]
    expected, seconds, changes = undisturbed.of(words, name)

    def attempt(random: Random) -> None:
        folder = prepared(tmp_path / str(tries.count), undisturbed.source)
        for _ in range(random.choice([1, 1, 2, 3])):
            kill(random, words, folder, seconds, changes)
        if words_now(words, folder) != words.split() or not every(folder / "runs"):
            Command(words_now(words, folder), folder).end()
        (run,) = every(folder / "runs")
        assert not difference(expected, contents(run.path)), difference(expected, contents(run.path))
        assert not stray(folder / "runs")

    tries.repeat(attempt)


def words_now(words: str, folder: Path) -> list[str]:
    """The command, or how it goes on if there is a run."""
    runs = every(folder / "runs")
    return [words.split()[0], "--resume", str(runs[0].path)] if runs else words.split()


def kill(random: Random, words: str, folder: Path, seconds: float, changes: int) -> None:
    """Begins the command, or goes on with it, and kills it: four times in five after the first checkpoint."""
    what, early = random.choice(["SIGKILL", "SIGKILL", "SIGTERM", "SIGINT"]), random.random() < 0.2
    statuses = 0, -signal.SIGKILL, 128 + signal.SIGTERM, 128 + signal.SIGINT
    if random.random() < 0.5:
        at = random.randint(1, changes // 3 if early else changes)
        Command(words_now(words, folder), folder, Fault(at, what, str(folder / "runs"))).end(*statuses)
        return
    command = Command(words_now(words, folder), folder)
    until = time.monotonic() + 4 * seconds
    while not early and time.monotonic() < until and command.process.is_alive() and not any(checkpoints(folder)):
        time.sleep(0.01)
    time.sleep(random.uniform(0, seconds / 2))
    command.send(signal.Signals[what])
    command.end(*statuses)


def checkpoints(folder: Path) -> Iterator[Path]:
    return (folder / "runs").rglob(f"{CHECKPOINT}/*.pt")
