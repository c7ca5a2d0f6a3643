"""Kills of what a command has begun, its workers and Ray's own processes, and of the command: no training is lost."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.campaign.process import Command, descendants, stray
from tests.campaign.test_kills import assert_comes_to, checkpoints
from tests.campaign.tries import Tries
from tests.campaign.undisturbed import COMMANDS, SEARCHES, TEAM, Undisturbed, prepared

WORKER, DAEMON = ("spawn_main", "ray::"), ("raylet/raylet", "gcs_server")
"""What stands in the command lines of those who train, and of Ray's processes without which a node is dead."""
GRACE = 120.0
"""Ray's agents try for 60 seconds to tell a dead control store that their raylet is dead, and end only then."""


@dataclass(frozen=True)
class Case:
    """A command, how it is shared among processes, and which of these are killed; "driver" is the command itself."""

    words: str
    shared: str
    victims: tuple[str, ...]


ON_RAY = ("worker", "worker", "daemon", "driver")
CASES = {
    "tune workers": Case(COMMANDS["tune"], "--parallel 2", ("worker", "worker", "driver")),
    "tune ray": Case(COMMANDS["tune"], "--cluster local --parallel 2", ON_RAY),
    "retrain ray": Case(TEAM, "--cluster local", ON_RAY),
    "search ray": Case(SEARCHES["seeds"], "--cluster local", ON_RAY),
}


@pytest.mark.campaign("a: kills of workers, of Ray's processes and of their driver", share=1.75)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")  # Ray's own, of its processes' ends
def test_kills_of_processes(name: str, undisturbed: Undisturbed, tries: Tries, tmp_path: Path) -> None:
    case = CASES[name]
    expected, seconds, _ = undisturbed.of(case.words, name)
    again = " ".join(case.shared.split()[:2]) if "--cluster" in case.shared else ""

    def attempt(random: Random) -> int:
        folder, kills = prepared(tmp_path / str(tries.count), undisturbed.source), 0
        command = Command([*case.words.split(), *case.shared.split()], folder, grace=GRACE)
        for _ in range(random.choice([1, 2])):
            wait_for_checkpoint(command, folder, 8 * seconds + 30)
            time.sleep(random.uniform(0, seconds))
            kills += strike(random.choice(case.victims), command, random)
        command.end(0, 1, 2, -signal.SIGKILL)
        assert_comes_to(expected, case.words, folder, *again.split(), grace=GRACE)
        assert not stray(folder / "runs")
        return kills

    tries.repeat(attempt)


def wait_for_checkpoint(command: Command, folder: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and command.process.is_alive() and not any(checkpoints(folder)):
        time.sleep(0.02)


def strike(victim: str, command: Command, random: Random) -> int:
    """Kills one of a command's processes of a kind; returns how many: there may be none any more."""
    if victim == "driver":
        own = [command.pid] if command.process.is_alive() else []
    else:
        signs = WORKER if victim == "worker" else DAEMON
        own = [pid for pid in descendants(command.folder) if any(sign in line_of(pid) for sign in signs)]
    for pid in own and [random.choice(own)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return 1
    return 0


def line_of(pid: int) -> str:
    """Its command line; empty: it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    return ""
