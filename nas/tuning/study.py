"""One Optuna study: draws trials that fit its budget, and keeps what came of them.

The study in the SQLite file is all the state there is. Trial n's sampler is made anew from (seed, study, n), so that a
study that was killed goes on as if it had not been: what ran is run to its end, nothing is drawn twice. The driver asks
and tells; epochs are reported by whoever trains, see :mod:`nas.tuning.pruning`.
"""

import warnings
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Literal, cast

from nas.amounts import short
from nas.errors import UsageError
from nas.knobs import Knob, Level, Values
from nas.rng import number
from nas.tuning.budgets import Budgets, Point, Rejection
from nas.tuning.pruning import Address, storage, trial_of
from nas.tuning.results import Outcome

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

OBJECTIVES: dict[str, Literal["minimize", "maximize"]] = {
    "accuracy": "maximize",
    "madds": "minimize",
    "params": "minimize",
    "latency": "minimize",
}
FIELDS = {"accuracy": "valid_accuracy", "madds": "madds", "params": "params", "latency": "latency_ms"}
"""Where a training's result has an objective."""
FIGURES = ("valid_accuracy", "params", "madds", "seconds", "latency_ms")
"""What a study keeps of a training's result."""
BUDGET = "budget"
"""The knob of a study over several budgets."""
REPEATED = "drawn before"


@dataclass(frozen=True)
class Trial:
    """A trial to train.

    Args:
        handle: Optuna's.
        values: of the knobs, the space's filler included.
        started: when its draw began, by ``perf_counter``.
    """

    address: Address
    handle: "optuna.Trial"
    values: Values
    started: float

    @property
    def number(self) -> int:
        """Its number in the study."""
        return self.handle.number


@dataclass
class Study:
    """A study of one space under one budget, or (nsga2) over several.

    Args:
        budgets: of the space.
        limits: the budgets in multiply-adds; more than one become a knob.
        sampler: "tpe", "nsga2" or "random".
        pruner: "none", "median" or "halving".
        objectives: names in OBJECTIVES, the first is accuracy.
        size: how many trials are to be trained.
        seed: of the draws.
        database: the SQLite file, absolute, which optuna-dashboard opens as it is.
    """

    budgets: Budgets
    limits: tuple[int, ...]
    sampler: str
    pruner: str
    objectives: tuple[str, ...]
    size: int
    seed: int
    database: Path
    running: dict[int, Trial] = field(default_factory=dict)
    _trials: "list[FrozenTrial] | None" = None
    _first: dict[tuple[Level, ...], int] = field(default_factory=dict)
    _whole: int = 0

    def __post_init__(self) -> None:
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self._open()
        except (OptunaError, SQLAlchemyError, LookupError, ValueError, TypeError, RuntimeError) as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise UsageError(f"{self.database} cannot be read as a tuning's studies: {said}") from None

    def _open(self) -> None:
        import optuna

        self.optuna = optuna.create_study(
            storage=storage(str(self.database)),
            study_name=self.name,
            directions=[OBJECTIVES[name] for name in self.objectives],
            load_if_exists=True,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls names experimental
            self.optuna.set_metric_names(list(self.objectives))
        self._backlog = self.of_state("RUNNING")
        self._check_results()

    def _check_results(self) -> None:
        """Raises ValueError where the objectives of a trial are not those of its outcome: the database was changed."""
        for trial in self.of_state("COMPLETE"):
            outcome = trial.user_attrs.get("outcome", {})
            if trial.values != [float(outcome[FIELDS[name]]) for name in self.objectives]:
                raise ValueError(f"trial {trial.number} has two results")

    @property
    def name(self) -> str:
        """The study's name: mobilenext-20M-tpe."""
        return f"{self.budgets.space.name}-{'_'.join(map(short, self.limits))}-{self.sampler}"

    def folder(self, number: int) -> str:
        """Where a trial is trained, in the run."""
        return f"trials/{self.name}/{number:04d}"

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """What is drawn."""
        own = self.budgets.space.knobs
        return (*own, Knob(BUDGET, tuple(map(short, self.limits)))) if len(self.limits) > 1 else own

    @property
    def trials(self) -> "list[FrozenTrial]":
        """All trials by number, read anew only after the driver wrote: nobody else changes what it asks for."""
        if self._trials is None:
            self._trials = self.optuna.get_trials(deepcopy=False)
        return self._trials

    def of_state(self, *names: str) -> "list[FrozenTrial]":
        """The trials in these states, "COMPLETE" among them, by number."""
        return [trial for trial in self.trials if trial.state.name in names]

    @property
    def trained(self) -> "list[FrozenTrial]":
        """Trials that were trained, to their end or to where they were stopped."""
        return self.of_state("COMPLETE", "PRUNED")

    @property
    def rejections(self) -> dict[str, int]:
        """How many draws were not trained, by their reason."""
        return Counter(self._reasons("rejected"))

    @property
    def failures(self) -> dict[str, int]:
        """How many trials failed in training, by their reason."""
        return Counter(self._reasons("failed"))

    @property
    def done(self) -> int:
        """How many trials were trained, or failed in it."""
        return len(self.trained) + len(self._reasons("failed"))

    def _reasons(self, why: str) -> list[str]:
        return [trial.user_attrs[why] for trial in self.of_state("FAIL") if why in trial.user_attrs]

    @property
    def exhausted(self) -> bool:
        """Whether every point there is has been drawn."""
        return len(self._seen()) >= prod(len(knob.values) for knob in self.knobs)

    def ask(self) -> Trial | None:
        """The next trial to train: what ran when the study was killed, then new ones; None: no more for now."""
        started = perf_counter()
        while handle := self._resume() or self._new():
            try:
                limit, point = self._fit(handle)
            except Rejection as rejection:
                handle.set_user_attr("rejected", rejection.reason)
                self._tell(handle, state="FAIL")
                continue
            handle.set_user_attr("drawn", {"values": point.values, "budget": limit, "budget_madds": point.madds})
            for name, value in _flat(point).items():
                handle.set_user_attr(name, value)
            address = Address(str(self.database), self.name, self.pruner, handle._trial_id)
            self.running[address.id] = Trial(address, handle, point.values, started)
            return self.running[address.id]
        return None

    def _resume(self) -> "optuna.Trial | None":
        """A trial that ran when the study was killed; its draw may have been cut short."""
        if not self._backlog:
            return None
        trial = self._backlog.pop(0)
        self._set_sampler(trial.number)
        return trial_of(self.optuna, trial._trial_id)

    def _new(self) -> "optuna.Trial | None":
        """A new trial; after a draw that was had before, one of the points that were not."""
        if self.done + len(self.running) >= self.size or self.exhausted:
            return None
        number = len(self.trials)
        if number and self.trials[-1].user_attrs.get("rejected") == REPEATED:
            self.optuna.enqueue_trial(self._unseen(number))
        self._set_sampler(number)
        return self.optuna.ask()

    def _fit(self, trial: "optuna.Trial") -> tuple[int, Point]:
        """The trial's budget and what it trains.

        Raises:
            Rejection: it is not to be trained.
        """
        values = {knob.name: _suggest(trial, knob) for knob in self.knobs}
        self._trials = None
        if self._seen().get(self._place(values), trial.number) < trial.number:
            raise Rejection(REPEATED)
        several = len(self.limits) > 1
        limit = self.limits[list(map(short, self.limits)).index(str(values.pop(BUDGET)))] if several else self.limits[0]
        return limit, self.budgets.fit(values, limit)

    def _seen(self) -> dict[tuple[Level, ...], int]:
        """The places of all draws, with the first trial of each; only trials since the last whole one are looked at."""
        for trial in self.trials[self._whole :]:
            if len(trial.params) == len(self.knobs):
                self._first.setdefault(self._place(trial.params), trial.number)
                self._whole += trial.number == self._whole
        return self._first

    def _place(self, values: Mapping[str, Level]) -> tuple[Level, ...]:
        return tuple(_snap(knob, values[knob.name]) for knob in self.knobs)

    def _unseen(self, trial: int) -> dict[str, Level]:
        """Values that were not drawn: the first from a random place on."""
        seen, total = self._seen(), prod(len(knob.values) for knob in self.knobs)
        start = number(self.seed, "draw", self._id, trial) % total
        places = (self._at((start + offset) % total) for offset in range(total))
        return dict(zip((knob.name for knob in self.knobs), next(p for p in places if p not in seen), strict=True))

    def _at(self, index: int) -> tuple[Level, ...]:
        """The place of that number."""
        place = []
        for knob in self.knobs:
            index, level = divmod(index, len(knob.values))
            place.append(knob.values[level])
        return tuple(place)

    @property
    def _id(self) -> int:
        return zlib.crc32(self.name.encode())

    def _set_sampler(self, trial: int) -> None:
        from optuna import samplers

        seed = number(self.seed, "draw", self._id, trial) % 2**32
        if self.sampler == "tpe":
            self.optuna.sampler = samplers.TPESampler(seed=seed)
        elif self.sampler == "nsga2":
            self.optuna.sampler = samplers.NSGAIISampler(seed=seed, population_size=16)
        else:
            self.optuna.sampler = samplers.RandomSampler(seed=seed)

    def tell(self, id: int, outcome: Outcome) -> None:
        """Notes what came of a trial."""
        trial, result = self.running.pop(id), outcome.result
        figures = {name: value for name in FIGURES if (value := getattr(result, name, None)) is not None}
        overhead = perf_counter() - trial.started - outcome.training_seconds
        times = {"overhead_seconds": round(overhead, 4), "training_seconds": round(outcome.training_seconds, 3)}
        trial.handle.set_user_attr("outcome", {**figures, **times})
        for name in {"params", "latency_ms"} & set(figures):
            trial.handle.set_user_attr(name, figures[name])
        if outcome.failure:
            trial.handle.set_user_attr("failed", outcome.failure)
            self._tell(trial.handle, state="FAIL")
        elif result is None:
            self._tell(trial.handle, state="PRUNED")
        else:
            self._tell(trial.handle, [getattr(result, FIELDS[name]) for name in self.objectives])

    def _tell(self, trial: "optuna.Trial", values: list[float] | None = None, state: str = "COMPLETE") -> None:
        import optuna

        self.optuna.tell(trial, values, state=optuna.trial.TrialState[state])
        self._trials = None


def _flat(point: Point) -> dict[str, float]:
    """What optuna-dashboard plots: multiply-adds, the numbers among the values, by how many steps stages are wider."""
    steps = point.values.get("steps", [])
    plain = {name: value for name, value in point.values.items() if isinstance(value, int | float)}
    return {"madds": point.madds, **plain, "stage_steps": sum(steps) if isinstance(steps, list) else 0}


def _suggest(trial: "optuna.Trial", knob: Knob) -> Level:
    if not knob.ordered or len(knob.values) == 1:
        return cast(Level, trial.suggest_categorical(knob.name, knob.values))
    low, step = _scale(knob)
    return _snap(knob, trial.suggest_float(knob.name, low, cast(float, knob.values[-1]), step=step))


def _snap(knob: Knob, value: Level) -> Level:
    """The knob's own value: a drawn 0.30000000000000004 is 0.3."""
    if not knob.ordered or len(knob.values) == 1:
        return value
    low, step = _scale(knob)
    return knob.values[round((cast(float, value) - low) / step)]


def _scale(knob: Knob) -> tuple[float, float]:
    """(first value, step) of an ordered knob; the step as a decimal, or Optuna would not reach the last value."""
    low, second = knob.values[:2]
    return cast(float, low), float(Fraction(str(second)) - Fraction(str(low)))
