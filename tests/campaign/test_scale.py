"""Many runs, many trials, many trainings on nodes that die: what they cost does not grow with their number."""

import resource
import shutil
import time
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
from tests.campaign.tries import Tries
from tests.tuning.test_study import outcome

KNOBS = [numbers("expansion", 1.0, 6.0, 0.0005), Knob("resolution", (1.0, 0.75))]
BUDGETS = Budgets(family_space("small", "mobilenet_v2", {}, KNOBS, Restriction()), (3, 16, 16), 10)


@pytest.mark.campaign("scale: 10,000 runs in a folder")
def test_many_runs(tries: Tries, tmp_path: Path) -> None:
    """Processor seconds of ``nas runs`` and of ``last``, Python's start apart."""

    def attempt(random: Random) -> None:
        root = tmp_path / str(tries.count)
        run = create(root, "x", TrainSpec(settings=TrainSettings(), execution=Execution()))
        run.write("result.json", {"test_accuracy": 0.5, "params": 10, "madds": 100})
        for number in range(9999):
            shutil.copytree(run.path, root / f"run-{number:04d}")
        began = time.process_time()
        print_rows([row_of(each) for each in every(root)], root, {})
        listed = time.process_time()
        find("last", root)
        assert listed - began < 2 and time.process_time() - listed < 2
        shutil.rmtree(root)

    tries.repeat(attempt)


@pytest.mark.campaign("scale: a tuning whose trainings take no time", share=2)
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_many_trials(sampler: str, tries: Tries, tmp_path: Path) -> None:
    """10,000 trials, or as many as there are minutes for: the last cost no more time and memory than the first."""

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
        assert last < 2 * first + len(costs) * 2e-5 and kilobytes[-1] - kilobytes[tenth] < 30 * len(costs)
        return len(costs)

    tries.repeat(attempt)
