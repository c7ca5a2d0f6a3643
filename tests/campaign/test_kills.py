"""Kills at any moment: what is gone on with comes to the same, bit for bit, and leaves nothing behind."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nas.methods import METHODS
from nas.run.folder import every
from nas.run.names import CHECKPOINT
from tests.campaign.process import Command, Fault, stray
from tests.campaign.sameness import contents, difference
from tests.campaign.tries import Tries
from tests.train.one_worker import TEXT

SPACE = Path(__file__).parents[1] / "small_space.toml"
SIZE = f"--space {SPACE} --preset quick --data digits --limit 96 --channels 4 --batch 16 --chance 0"
SEARCH = f"search {SIZE} --cells 2 --epochs 3 --final-channels 4 --final-cells 2"
RETRAIN = "retrain cell.txt --preset quick --data digits --limit 64 --batch 16 --channels 4 --cells 2 --epochs 3"
TEAM = f"{RETRAIN} --epochs 1 --seeds 1,2 --accumulate 2 --validation 16"
SEARCHES = {name: f"{SEARCH} --method {name}" for name in METHODS} | {
    "pc-darts": f"{SEARCH} --method pc-darts --channels 8",
    "p-darts": f"{SEARCH} --method p-darts --deepen 1 --keep 3,2",
    "drnas": f"{SEARCH} --method drnas --keep 3 --channels 8",
    "fairdarts": f"{SEARCH} --method fairdarts --threshold 0.1",
    "darts-pt": f"search {SIZE} --cells 2 --epochs 1 --method darts-pt --final-channels 4 --final-cells 2",
    "paper": f"{SEARCH} --preset paper",
    "seeds": f"{SEARCH} --epochs 1 --seeds 1,2",
}
STUDY = "study study.toml"
COMMANDS = {
    **{f"search {name}": words for name, words in SEARCHES.items()},
    "derive": "derive source --select perturbation",
    "retrain": f"{RETRAIN} --drop-path 0.3 --auxiliary 0.4 --cutout --validation 16",
    "retrain fast": f"{RETRAIN} --preset fast",
    "retrain seeds": TEAM,
    "tune": "tune --space mobilenet_v2 --budget 1M --data digits --preset quick --epochs 2 --limit 80 --batch 32 "
    "--no-published --tune expansion --trials 2 --pruner none",
    "study": STUDY,
}
STUDY_FILE = f"""
space = ["{SPACE}"]
seeds = [3]
controls = 1
data = "digits"
preset = "quick"
search = {{limit = 40, epochs = 1, channels = 2, cells = 2, batch = 8, chance = 0}}
retrain = {{limit = 32, epochs = 1, batch = 16}}
final = {{channels = 4, cells = 3}}
"""


class Undisturbed:
    """Runs of commands that nothing disturbs, each made once: what they come to, how long they take.

    Args:
        folder: theirs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.figures: dict[str, tuple[dict[str, Any], float, int]] = {}

    def of(self, words: str, name: str) -> tuple[dict[str, Any], float, int]:
        """(what it comes to, seconds, changes to the disk)"""
        if name not in self.figures:
            folder = prepared(self.folder / name.replace(" ", "-"), self.source)
            notes, began = folder / "notes", time.monotonic()
            Command(words.split(), folder, Fault(0, "SIGKILL", str(folder / "runs"), str(notes))).end()
            seconds = time.monotonic() - began
            (run,) = every(folder / "runs")
            self.figures[name] = contents(run.path), seconds, notes.read_text().count("\n")
        return self.figures[name]

    @property
    def source(self) -> Path:
        """A finished search."""
        folder = self.folder / "source"
        if not folder.exists():
            Command(f"{SEARCH} --epochs 1 --name source".split(), prepared(folder)).end()
        return folder / "runs" / "source"


def prepared(folder: Path, source: Path | None = None) -> Path:
    """A folder with what the commands work from."""
    (folder / "runs").mkdir(parents=True)
    (folder / "cell.txt").write_text(TEXT)
    (folder / "study.toml").write_text(STUDY_FILE)
    if source:
        (folder / "source").symlink_to(source)
    return folder


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"))


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
