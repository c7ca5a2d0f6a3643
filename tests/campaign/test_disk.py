"""A full disk, a folder that is gone, a clock set back, little memory: one line, and what is saved goes on."""

import resource
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nas.run.folder import every
from nas.tuning import objective
from nas.tuning.results import TuneResult
from tests.campaign.process import Command, Fault, stray
from tests.campaign.test_kills import assert_comes_to, checkpoints, words_now
from tests.campaign.tries import Tries
from tests.campaign.undisturbed import COMMANDS, RETRAIN, SEARCH, Undisturbed, prepared

GONE = ("deleted", "moved", "a file", "read-only")
LEAST = 2**30
"""Bytes of address space beyond what importing takes."""


def refused(command: Command, *statuses: int) -> None:
    """It ended well, or by one line that says why."""
    if command.end(*statuses) == 2:
        assert sum(line.startswith("nas: ") for line in command.said().splitlines()) == 1, command.said()


@pytest.mark.campaign("b: the disk is full at any change", share=0.35)
@pytest.mark.parametrize("name", ["search gdas", "derive", "retrain", "retrain seeds", "tune", "study"])
def test_a_full_disk(name: str, undisturbed: Undisturbed, tries: Tries, tmp_path: Path) -> None:
    words = COMMANDS[name]
    expected, _, changes = undisturbed.of(words, name)

    def attempt(random: Random) -> None:
        folder = prepared(tmp_path / str(tries.count), undisturbed.source)
        if random.random() < 0.7:
            fault = Fault(random.randint(1, changes), random.choice(["ENOSPC", "EIO", "EROFS"]), str(folder / "runs"))
            refused(Command(words.split(), folder, fault), 0, 2)
        else:  # a file that can be half written, and no more
            limit = {"RLIMIT_FSIZE": random.randint(100, 100_000)}
            refused(Command(words.split(), folder, limits=limit), 0, 2)
        assert not stray(folder / "runs")
        assert_comes_to(expected, words, folder)

    tries.repeat(attempt)


@pytest.mark.campaign("b: a small tmpfs is full", share=0.3)
@pytest.mark.parametrize("name", ["search gdas", "retrain", "tune"])
def test_a_small_tmpfs(name: str, undisturbed: Undisturbed, tries: Tries, tmp_path: Path) -> None:
    """Where one may be mounted: a file system that is truly full, and then has room."""
    words = COMMANDS[name]
    expected = undisturbed.of(words, name)[0]
    size = sum(path.stat().st_size for path in (undisturbed.folder / name.replace(" ", "-") / "runs").rglob("*"))

    def attempt(random: Random) -> None:
        folder = prepared(tmp_path / str(tries.count), undisturbed.source)
        if not mounted(folder / "runs", f"size={random.randint(size // 20, size)}"):
            pytest.skip("no tmpfs may be mounted here")
        try:
            refused(Command(words.split(), folder), 0, 2)
            mounted(folder / "runs", "remount,size=64m")
            assert_comes_to(expected, words, folder)
        finally:
            subprocess.run(["umount", "--lazy", str(folder / "runs")], check=True)

    tries.repeat(attempt)


def mounted(folder: Path, options: str) -> bool:
    """Mounts a tmpfs, or changes it; whether that could be done."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.campaign("b: the folder is gone while a command works in it", share=0.3)
@pytest.mark.parametrize("words", [SEARCH, RETRAIN], ids=["search", "retrain"])
def test_a_folder_that_is_gone(words: str, tries: Tries, undisturbed: Undisturbed, tmp_path: Path) -> None:
    def attempt(random: Random) -> None:
        folder = prepared(tmp_path / str(tries.count), undisturbed.source)
        command = Command(words.replace("--epochs 3", "--epochs 200").split(), folder)
        until = time.monotonic() + 120
        while time.monotonic() < until and not any(checkpoints(folder)):
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.5))
        (run,) = every(folder / "runs")
        what = random.choice(GONE)
        if what in ("deleted", "moved"):
            run.path.rename(folder / "elsewhere")
            shutil.rmtree(folder / "elsewhere") if what == "deleted" else None
        elif what == "a file":
            while not (run.path / "checkpoint").is_file():  # it may just have been made again
                (run.path / "checkpoint").rename(folder / f"elsewhere-{time.monotonic_ns()}")
                (run.path / "checkpoint").touch()
        else:
            shutil.move(folder / "runs", folder / "moved")
            (folder / "runs").touch()
        refused(command, 2)

    tries.repeat(attempt)


@pytest.mark.campaign("b: the clock is set back", share=0.3)
def test_a_clock_set_back(undisturbed: Undisturbed, tries: Tries, tmp_path: Path) -> None:
    words, name = COMMANDS["search gdas"], "search gdas"
    expected, _, changes = undisturbed.of(words, name)

    def attempt(random: Random) -> None:
        folder = prepared(tmp_path / str(tries.count))
        fault = Fault(random.randint(changes // 2, changes), "SIGTERM", str(folder / "runs"))
        Command(words.split(), folder, fault).end(0, 143)
        assert_comes_to(expected, words, folder, before=set_back)

    tries.repeat(attempt)


def set_back() -> None:
    """Has this process' clock go backwards, a day to begin with and a second each time it is asked."""
    began, asked = time.time() - 86400, iter(range(10**9))
    time.time = lambda: began - next(asked)


@pytest.mark.campaign("b: little memory", share=0.3)
def test_little_memory(undisturbed: Undisturbed, tries: Tries, tmp_path: Path) -> None:
    """What importing takes and a gigabyte is enough for small work; less is told in a line."""

    def attempt(random: Random) -> None:
        folder, least = prepared(tmp_path / str(tries.count)), random.random() < 0.5
        room = LEAST if least else random.randrange(LEAST)
        refused(Command(SEARCH.split(), folder, before=partial(limit, room)), *([0] if least else [0, 2]))

    tries.repeat(attempt)


@pytest.mark.campaign("b: little memory", share=0.7)
def test_little_memory_in_one_trial(undisturbed: Undisturbed, tries: Tries, tmp_path: Path) -> None:
    """The trial fails at most, and the tuning goes on without it, or says that it will in another process."""
    words = f"{COMMANDS['tune']} --trials 3 --sampler random --no-control"

    def attempt(random: Random) -> None:
        folder = prepared(tmp_path / str(tries.count))
        command = Command(words.split(), folder, before=Scarce(random.randrange(3), random.randrange(2**27)))
        refused(command, 0, 2)
        assert command.process.exitcode == 0 or "--resume" in command.said(), command.said()
        Command(words_now(words, folder), folder).end()
        (run,) = every(folder / "runs")
        (study,) = run.result(TuneResult).studies
        assert study.trained + sum(study.failed.values()) == 3 and study.trained >= 2

    tries.repeat(attempt)


@dataclass(frozen=True)
class Scarce:
    """Leaves so many bytes to a tuning's trial of this number."""

    number: int
    room: int

    def __call__(self) -> None:
        train, numbers = objective.train, count()

        def scarce(*arguments: Any, **options: Any) -> None:
            limit(self.room if next(numbers) == self.number else None)
            try:
                train(*arguments, **options)
            finally:
                limit(None)

        objective.train = scarce


def limit(room: int | None) -> None:
    """Bounds this process' address space to what it has and so many bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    bound = resource.RLIM_INFINITY if room is None else pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (bound, resource.RLIM_INFINITY))
