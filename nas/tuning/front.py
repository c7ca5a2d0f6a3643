"""Which trials count: the best of each study, the winners among them, and the front."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from nas.amounts import short
from nas.tuning.results import TrialResult

CONTROL = "random"
"""The sampler whose trials are the control."""


class Judged(Protocol):
    """What has an accuracy and multiply-adds."""

    @property
    def accuracy(self) -> float: ...
    @property
    def madds(self) -> int: ...


AnyJudged = TypeVar("AnyJudged", bound=Judged)


def best(trials: Iterable[TrialResult]) -> list[TrialResult]:
    """The most accurate trial of each budget, space and sampler, best first; the cheaper one of two as good."""
    first: dict[tuple[int, str, str], TrialResult] = {}
    for trial in sorted(trials, key=lambda one: (-one.accuracy, one.madds, one.trial)):
        first.setdefault((trial.budget, trial.space, trial.sampler), trial)
    return sorted(first.values(), key=lambda one: (one.budget, -one.accuracy))


def winners(best: Sequence[TrialResult]) -> list[TrialResult]:
    """The best of each budget and space, random's draws included: they cost as much."""
    first: dict[tuple[int, str], TrialResult] = {}
    for trial in best:
        first.setdefault((trial.budget, trial.space), trial)
    return list(first.values())


def pareto(trials: Iterable[AnyJudged]) -> list[AnyJudged]:
    """Those that none beats in accuracy and multiply-adds at once, cheapest first."""
    members: list[AnyJudged] = []
    for trial in sorted(trials, key=lambda one: (one.madds, -one.accuracy)):
        if not members or trial.accuracy > members[-1].accuracy:
            members.append(trial)
    return members


def label(winner: TrialResult) -> str:
    """A winner's name: mobilenext-20M."""
    return f"{winner.space}-{short(winner.budget)}"


def final(winner: TrialResult, seed: int) -> str:
    """The folder, in the run, of a winner's training on all images."""
    return f"finals/{label(winner)}-s{seed}"
