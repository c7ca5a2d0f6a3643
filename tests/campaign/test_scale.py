"""Many runs, many trials, many trainings on nodes that die: what they cost does not grow with their number."""

import resource
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from nas.cli.runs import print_rows, row_of
from nas.execution import Execution
from nas.knobs import Knob, numbers
from nas.run.folder import create, every, find
from nas.run.spec import TrainSpec
from nas.settings import TrainSettings
from nas.tuning.budgets import Budgets
from nas.tuning.space import Restriction, family_space
from nas.tuning.study import Study
from tests.campaign.process import Command
from tests.campaign.tries import Tries
from tests.campaign.undisturbed import SPACE
from tests.tuning.test_study import outcome

KNOBS = [numbers("expansion", 1.0, 6.0, 0.0005), Knob("resolution", (1.0, 0.75))]
BUDGETS = Budgets(family_space("small", "mobilenet_v2", {}, KNOBS, Restriction()), (3, 16, 16), 10)


@pytest.mark.campaign("scale: 10,000 runs in a folder", share=0.3)
def test_many_runs(tries: Tries, tmp_path: Path) -> None:
    """Processor seconds of ``nas runs`` and of ``last``, Python's start apart: they grow in proportion, and no more."""

    def attempt(random: Random) -> None:
        root = tmp_path / str(tries.count)
        run = create(root, "x", TrainSpec(settings=TrainSettings(), execution=Execution()))
        run.write("result.json", {"test_accuracy": 0.5, "params": 10, "madds": 100})
        seconds = []
        for first, last in ((1, 1000), (1000, 10_000)):
            for number in range(first, last):
                shutil.copytree(run.path, root / f"run-{number:04d}")
            began = time.process_time()
            print_rows([row_of(each) for each in every(root)], root, {})
            find("last", root)
            seconds.append(time.process_time() - began)
        print("1,000 runs, 10,000: seconds of nas runs and of last:", seconds)
        assert seconds[1] < 50 * seconds[0], seconds
        shutil.rmtree(root)

    tries.repeat(attempt)


@pytest.mark.campaign("scale: a tuning whose trainings take no time", share=1)
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_many_trials(sampler: str, tries: Tries, tmp_path: Path) -> None:
    """10,000 trials, or as many as there are minutes for: what each costs in memory; the times are printed."""

    def attempt(random: Random) -> int:
        study = Study(BUDGETS, (2_000_000,), sampler, "none", ("accuracy",), 10_000, 0, tmp_path / f"{tries.count}.db")
        costs, kilobytes = [], []
        while len(costs) < 100 or (tries.left > 0 and len(costs) < 10_000):
            began, trial = time.process_time(), study.ask()
            assert trial
            study.tell(trial.address.id, outcome(random.random()))
            costs.append(time.process_time() - began)
            kilobytes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        tenth = len(costs) // 10
        first, last = (sum(costs[part]) / tenth for part in (slice(tenth, 2 * tenth), slice(-tenth, None)))
        bytes = (tmp_path / f"{tries.count}.db").stat().st_size
        print(f"{sampler}: {len(costs)} trials, {first:.4f} and {last:.4f} s, {bytes / len(costs):.0f} bytes a trial")
        print(f"memory grew by {(kilobytes[-1] - kilobytes[tenth]) / len(costs):.2f} kB a trial")
        assert kilobytes[-1] - kilobytes[tenth] < 40 * len(costs)  # 27 in 6,000 trials
        return len(costs)

    tries.repeat(attempt)


LONG = f"search --space {SPACE} --preset quick --data digits --limit 16 --channels 2 --batch 8 --cells 1 --epochs 2000"


@pytest.mark.campaign("scale: a search of 2,000 epochs", share=1.5)
def test_a_long_search(tries: Tries, tmp_path: Path) -> None:
    """Or of as many as there are minutes for: memory, threads and open files stay what they were."""

    def attempt(random: Random) -> int:
        words = f"{LONG} --seed {random.randrange(1000)} --chance 0 --eigenvalue 0 --final-channels 2 --final-cells 1"
        command = Command(words.split(), tmp_path / str(tries.count), seconds=3600.0)
        samples: list[tuple[int, ...]] = []
        while command.process.is_alive() and (tries.left > 0 or len(samples) < 20):
            time.sleep(1)
            with suppress(OSError, ValueError, LookupError):  # it has not begun, or has just ended
                samples.append(sample(command))
        command.send(signal.SIGTERM)
        command.end(0, 143)
        samples = [each for each in samples if 5 <= each[0] < 2000]  # at its end it draws pictures
        first, last = samples[len(samples) // 5], samples[-1]
        print(f"epochs, kilobytes, threads, files: {first}, {last}")
        assert last[1] - first[1] < 20 * (last[0] - first[0]) + 5000
        assert last[2] <= first[2] and last[3] <= first[3] + 2
        return last[0]

    tries.repeat(attempt)


def sample(command: Command) -> tuple[int, ...]:
    """(epochs so far, kilobytes of memory, threads, open files) of a search at work."""
    (run,) = every(command.folder / "runs")
    lines = (run.path / "log.jsonl").read_bytes().count(b"\n")
    status = dict(line.split(":", 1) for line in Path(f"/proc/{command.pid}/status").read_text().splitlines())
    files = len(list(Path(f"/proc/{command.pid}/fd").iterdir()))
    return lines, int(status["VmRSS"].split()[0]), int(status["Threads"]), files
