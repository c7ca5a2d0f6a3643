"""Several processes at one run or folder, and very long work: who comes second is told who is first; nothing grows."""

import json
import os
import threading
import time
from pathlib import Path
from random import Random

import pytest

from nas.run import names
from nas.run.folder import Run, every
from nas.run.results import TrainResult
from tests.campaign.process import Command
from tests.campaign.sameness import contents, difference
from tests.campaign.test_kills import checkpoints
from tests.campaign.tries import Tries
from tests.campaign.undisturbed import COMMANDS, SEARCH, Undisturbed, prepared, study_file

READERS = ("runs", "runs --json --size", "show last", "report last --out page.html", "runs --ledger", "clean --yes")


@pytest.mark.campaign("c: two processes at one run, and readers during writes", share=0.3)
@pytest.mark.parametrize("name", ["search gdas", "retrain seeds", "tune", "study"])
def test_company(name: str, undisturbed: Undisturbed, tries: Tries, tmp_path: Path) -> None:
    words = COMMANDS[name]
    expected, _, _ = undisturbed.of(words, name)

    def attempt(random: Random) -> None:
        folder = prepared(tmp_path / str(tries.count), undisturbed.source)
        first = Command(words.split(), folder)
        while first.process.is_alive() and not any(checkpoints(folder)):
            time.sleep(0.01)
        (run,) = every(folder / "runs")
        beside = folder / "beside"
        second = Command([words.split()[0], "--resume", str(run.path)], beside)
        reader = Command([*random.choice(READERS).split(), "--runs", str(folder / "runs")], beside)
        statuses = (second.end(0, 2), reader.end(0, 2))
        assert statuses[0] == 0 or f"number {first.pid} on {os.uname().nodename}" in second.said(), second.said()
        first.end()
        assert not difference(expected, contents(run.path)), difference(expected, contents(run.path))

    tries.repeat(attempt)


@pytest.mark.campaign("c: new runs in the same second", share=0.2)
def test_the_same_second(tries: Tries, tmp_path: Path) -> None:
    def attempt(random: Random) -> None:
        folder = prepared(tmp_path / str(tries.count))
        commands = [Command(f"{SEARCH} --epochs 1 --runs {folder / 'runs'}".split(), folder / str(n)) for n in (0, 1)]
        for command in commands:
            command.end()
        one, other = (contents(run.path) for run in every(folder / "runs"))
        assert not difference(one, other)

    tries.repeat(attempt)


@pytest.mark.campaign("g: long work leaves memory, threads and open files as they are", share=0.4)
@pytest.mark.parametrize("work", ["search", "study"])
def test_nothing_grows(work: str, tries: Tries, tmp_path: Path) -> None:
    def attempt(random: Random) -> None:
        folder = prepared(tmp_path / str(tries.count))
        epochs = min(2000, max(30, int(3 * tries.seconds)))
        size = f"--limit 8 --batch 2 --channels 2 --cells 1 --epochs {epochs} --final-cells 1 --final-channels 2"
        words = f"{SEARCH} {size}" if work == "search" else STUDY_WORDS
        (folder / "study.toml").write_text(LONG_STUDY)
        before = watch if work == "search" else without_training
        Command(words.split(), folder, before=before, seconds=7200.0).end()
        usage = [json.loads(line) for line in (folder / "usage").read_text().splitlines()]
        later = usage[len(usage) // 4 : -len(usage) // 10 - 5]  # neither its beginning nor its end, when it draws
        growth = {name: later[-1][name] - later[0][name] for name in ("threads", "files")}
        assert growth["threads"] <= 1 and growth["files"] <= 2, growth
        assert later[-1]["kilobytes"] - later[0]["kilobytes"] < 60_000, [each["kilobytes"] for each in usage]

    tries.repeat(attempt)


STUDY_WORDS = "study study.toml"
LONG_STUDY = study_file(range(10), range(24), controls=10)
"""10 searches, 480 trainings."""


def watch(seconds: float = 0.05) -> None:
    """Notes what this process uses, as long as it is."""

    def note() -> None:
        while True:
            about = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            use = {"kilobytes": int(about["VmRSS"].split()[0]), "threads": int(about["Threads"])}
            with Path("usage").open("a") as file:
                file.write(json.dumps({**use, "files": len(os.listdir("/proc/self/fd"))}) + "\n")
            time.sleep(seconds)

    threading.Thread(target=note, daemon=True).start()


def without_training() -> None:
    """Watches, and has a training come to a result at once."""
    from nas.commands import retraining

    figures = {"params": 1, "madds": 1, "seed": 0, "recipe": "0", "seconds": 1.0, "hardware": "", "test_openings": 1}
    result = TrainResult(test_accuracy=0.5, test_loss=1.0, valid_accuracy=None, **figures)

    def train(run: Run, *_: object, **__: object) -> None:
        run.write(names.RESULT, result)

    retraining.train = train
    watch()
