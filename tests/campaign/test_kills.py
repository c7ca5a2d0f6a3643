"""Kills at any moment: what is gone on with comes to the same, bit for bit, and leaves nothing behind."""

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nas.run.folder import every
from nas.run.names import CHECKPOINT
from tests.campaign.process import Command, Fault, stray
from tests.campaign.sameness import contents, difference
from tests.campaign.tries import Tries
from tests.campaign.undisturbed import COMMANDS, Undisturbed, prepared

SIGNALS = ("SIGKILL", "SIGKILL", "SIGTERM", "SIGINT")
STATUSES = (-signal.SIGKILL, 128 + signal.SIGTERM, 128 + signal.SIGINT)


def mark_of(name: str) -> pytest.MarkDecorator:
    """There are twenty searches, three retrainings, and one command of each other kind; tunings take longest."""
    kind = name.split()[0]
    share = {"search": 0.7, "retrain": 1.5, "derive": 8.0, "tune": 10.0, "study": 6.0}[kind]
    return pytest.mark.campaign(f"a: kills of {kind} at random moments and changes of the disk", share=share)


@pytest.mark.parametrize("name", [pytest.param(name, marks=mark_of(name)) for name in COMMANDS])
def test_kills(name: str, undisturbed: Undisturbed, tries: Tries, tmp_path: Path) -> None:
    words = COMMANDS[name]
    expected, seconds, changes = undisturbed.of(words, name)

    def attempt(random: Random) -> int:
        folder, kills = prepared(tmp_path / str(tries.count), undisturbed.source), 0
        for _ in range(random.choice([1, 1, 2, 3])):
            kills += kill(random, words, folder, seconds, changes)
        assert_comes_to(expected, words, folder)
        assert not stray(folder / "runs")
        return kills

    tries.repeat(attempt)


@pytest.mark.campaign("a: kills of an export", share=1)
@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_kills_of_an_export(form: str, undisturbed: Undisturbed, tries: Tries, tmp_path: Path) -> None:
    """What is there is whole: an export that was cut off is made again, as if nothing had been."""
    undisturbed.of(COMMANDS["retrain"], "retrain")
    (trained,) = every(undisturbed.folder / "retrain" / "runs")

    def export(folder: Path, fault: Fault | None = None) -> int:
        return Command(f"export {folder / 'runs' / 'trained'} --to {form}".split(), folder, fault).end(0, *STATUSES)

    def copied(folder: Path) -> Path:
        shutil.copytree(trained.path, prepared(folder) / "runs" / "trained")
        return folder

    whole = copied(tmp_path / "whole")
    export(whole, Fault(0, "SIGKILL", str(whole / "runs"), str(whole / "notes")))
    changes = (whole / "notes").read_text().count("\n")

    def attempt(random: Random) -> int:
        folder = copied(tmp_path / str(tries.count))
        kills = [export(folder, Fault(random.randint(1, changes), random.choice(SIGNALS), str(folder / "runs")))]
        assert export(folder) == 0
        found, wanted = (contents(each / "runs") for each in (folder, whole))
        assert not difference(wanted, found), difference(wanted, found)
        return sum(status != 0 for status in kills)

    tries.repeat(attempt)


def words_now(words: str, folder: Path) -> list[str]:
    """The command, or how it goes on if there is a run."""
    runs = every(folder / "runs")
    return [words.split()[0], "--resume", str(runs[0].path)] if runs else words.split()


def assert_comes_to(expected: dict[str, Any], words: str, folder: Path, *more: str, **how: Any) -> None:
    """Goes on with the command to its end, or begins it anew, and compares its run with one that nothing disturbed.

    Args:
        more, how: words and :class:`Command`'s arguments besides.
    """
    Command([*words_now(words, folder), *more], folder, **how).end()
    (run,) = every(folder / "runs")
    assert not difference(expected, contents(run.path)), difference(expected, contents(run.path))


def kill(random: Random, words: str, folder: Path, seconds: float, changes: int) -> bool:
    """Begins the command, or goes on with it, and kills it: four times in five after the first checkpoint.

    Returns:
        whether the kill met it at work.
    """
    what, early = random.choice(SIGNALS), random.random() < 0.2
    if random.random() < 0.5:
        at = random.randint(1, changes // 3 if early else changes)
        return Command(words_now(words, folder), folder, Fault(at, what, str(folder / "runs"))).end(0, *STATUSES) != 0
    command = Command(words_now(words, folder), folder)
    until = time.monotonic() + 4 * seconds
    while not early and time.monotonic() < until and command.process.is_alive() and not any(checkpoints(folder)):
        time.sleep(0.01)
    time.sleep(random.uniform(0, seconds / 2))
    command.send(signal.Signals[what])
    return command.end(0, *STATUSES) != 0


def checkpoints(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError):  # of a folder that is renamed meanwhile
        yield from (folder / "runs").rglob(f"{CHECKPOINT}/*.pt")
