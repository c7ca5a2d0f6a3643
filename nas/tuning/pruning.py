"""The epochs or seeds of a trial, reported to its study from wherever it is trained; a pruner says when to stop."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Address:
    """Where a trial lies, for any process on the driver's machine.

    Args:
        database: the SQLite file, absolute.
        study, pruner: the study's name and its pruner's.
        id: the trial's in the database.
    """

    database: str
    study: str
    pruner: str
    id: int


def stops(address: Address, step: int, accuracy: float) -> bool:
    """Whether a trial is to stop after this epoch, or seed, from 0; its accuracy on held-out images is noted.

    Trials of several objectives are never stopped, as Optuna cannot.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a resumed trial reports again; Optuna calls a pruner experimental
        study = _study(address.database, address.study, address.pruner)
        if len(study.directions) > 1:
            return False
        trial = trial_of(study, address.id)
        trial.report(accuracy, step + 1)
        return trial.should_prune()


def trial_of(study: "optuna.Study", id: int) -> "optuna.Trial":
    """A trial that was begun, as Optuna hands out new ones."""
    import optuna

    return optuna.trial.Trial(study, id)


@cache
def storage(database: str) -> "optuna.storages.RDBStorage":
    """The SQLite file of a run, which optuna-dashboard opens as it is; it waits a minute for others that write."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{quote(database)}"  # which a ? would end
    return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})


@cache
def _study(database: str, name: str, pruner: str) -> "optuna.Study":
    import optuna
    from optuna import pruners

    known: dict[str, Callable[[], pruners.BasePruner]] = {
        "none": pruners.NopPruner,
        "median": pruners.MedianPruner,
        "halving": partial(pruners.SuccessiveHalvingPruner, min_resource=1, reduction_factor=3),
        "wilcoxon": pruners.WilcoxonPruner,
    }
    sampler = optuna.samplers.RandomSampler()  # draws nothing here, and costs nothing
    return optuna.load_study(study_name=name, storage=storage(database), sampler=sampler, pruner=known[pruner]())
