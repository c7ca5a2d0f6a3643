"""The commands of the campaign, very small, and what they come to where nothing disturbs them."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.methods import METHODS
from nas.run.folder import every
from tests.campaign.process import Command, Fault
from tests.campaign.sameness import contents
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


def study_file(seeds: Sequence[int] = (3,), retrain_seeds: Sequence[int] = (0,), controls: int = 1) -> str:
    """A study of the smallest searches and trainings."""
    return f"""
space = ["{SPACE}"]
seeds = {list(seeds)}
retrain_seeds = {list(retrain_seeds)}
controls = {controls}
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
    (folder / "study.toml").write_text(study_file())
    if source:
        (folder / "source").symlink_to(source)
    return folder
