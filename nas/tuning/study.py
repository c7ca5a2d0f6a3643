"""One Optuna study: draws trials that fit its budget, tells the study what came of them.

The study in the SQLite file is all the state there is. Trial n's sampler is made anew from (seed, study, n), so that a
study that was killed goes on as if it had not been: what ran is run to its end, nothing is drawn twice.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from nas.errors import UsageError
from nas.rng import number
from nas.tuning.budget import Budgets, Filled, Rejected, short
from nas.tuning.subject import Knob

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, Trial

OBJECTIVES = {"accuracy": "maximize", "madds": "minimize", "params": "minimize", "latency": "minimize"}
RESULTS = {"accuracy": "valid_accuracy", "madds": "madds", "params": "params", "latency": "latency_ms"}
"""Where a training's result has an objective."""
BUDGET = "budget"
"""The knob of a study over several budgets."""


def import_optuna() -> Any:
    """The package.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UsageError("nas tune needs optuna: pip install 'nas[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def storage(folder: Path) -> "RDBStorage":
    """The SQLite file of a run, which optuna-dashboard opens as it is."""
    optuna = import_optuna()
    opened: RDBStorage = optuna.storages.RDBStorage(
        f"sqlite:///{folder / 'study.db'}", engine_kwargs={"connect_args": {"timeout": 60}}
    )
    return opened


@dataclass(frozen=True)
class Drawn:
    """A trial to train: its number, what it is made of, and how long drawing it took."""

    number: int
    filled: Filled
    seconds: float


@dataclass
class Contest:
    """A study of one subject under one budget, or (nsga2) over several.

    Args:
        budgets: of the subject.
        limits: the budgets in multiply-adds; more than one become a knob.
        sampler: "tpe", "nsga2" or "random".
        pruner: "none", "median" or "halving".
        objectives: names in OBJECTIVES, the first is accuracy.
        trials: how many are to be trained.
        seed: of the draws.
        store: where the study lives.
    """

    budgets: Budgets
    limits: tuple[int, ...]
    sampler: str
    pruner: str
    objectives: tuple[str, ...]
    trials: int
    seed: int
    store: "RDBStorage"
    running: dict[int, "Trial"] = field(default_factory=dict)
    _known: "list[FrozenTrial] | None" = None

    def __post_init__(self) -> None:
        optuna = import_optuna()
        directions = [OBJECTIVES[name] for name in self.objectives]
        self.study: Study = optuna.create_study(
            storage=self.store,
            study_name=self.name,
            directions=directions,
            pruner=_pruner(self.pruner),
            load_if_exists=True,
        )
        self._left = self.of_state("RUNNING")
        self._reported = {(trial.number, epoch) for trial in self._left for epoch in trial.intermediate_values}

    @property
    def name(self) -> str:
        """The study's name: mobilenext-20M-tpe."""
        return f"{self.budgets.subject.name}-{'_'.join(map(short, self.limits))}-{self.sampler}"

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """What is drawn."""
        own = self.budgets.subject.knobs
        return (*own, Knob(BUDGET, tuple(map(short, self.limits)))) if len(self.limits) > 1 else own

    def of_state(self, *names: str) -> list["FrozenTrial"]:
        """The study's trials in these states, "COMPLETE" among them, by number."""
        return [trial for trial in self.all() if trial.state.name in names]

    def all(self) -> list["FrozenTrial"]:
        """All trials; the driver alone writes, so that they are read anew only after it did."""
        if self._known is None:
            self._known = self.study.get_trials(deepcopy=False)
        return self._known

    @property
    def trained(self) -> list["FrozenTrial"]:
        """Trials that were trained, to their end or to where they were stopped."""
        return self.of_state("COMPLETE", "PRUNED")

    @property
    def rejected(self) -> dict[str, int]:
        """How many draws were not trained, by their reason."""
        counts: dict[str, int] = {}
        for trial in self.of_state("FAIL"):
            reason = trial.user_attrs.get("rejected", "failed")
            counts[reason] = counts.get(reason, 0) + 1
        return counts

    def next(self) -> Drawn | None:
        """The next trial to train: what ran when the study was killed, then new ones; None: no more for now."""
        optuna, started = import_optuna(), perf_counter()
        while self._left:
            frozen = self._left.pop(0)
            self._set_sampler(frozen.number)
            trial = optuna.trial.Trial(self.study, frozen._trial_id)
            if filled := self._accept(trial):
                return Drawn(trial.number, filled, perf_counter() - started)
        while len(self.trained) + len(self.running) < self.trials and not self.exhausted:
            trial = self._ask()
            if filled := self._accept(trial):
                return Drawn(trial.number, filled, perf_counter() - started)
        return None

    @property
    def exhausted(self) -> bool:
        """Whether every point there is has been drawn."""
        return len(self._seen()) >= prod(len(knob.values) for knob in self.knobs)

    def _seen(self) -> set[tuple[Any, ...]]:
        trials = self.of_state("COMPLETE", "PRUNED", "FAIL", "RUNNING")
        return {self._point(trial.params) for trial in trials if len(trial.params) == len(self.knobs)}

    def _point(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(_snap(knob, params[knob.name]) for knob in self.knobs)

    def _ask(self) -> "Trial":
        """A new trial; after a draw that was had before, one of the points that were not."""
        trials = self.all()
        if trials and trials[-1].user_attrs.get("rejected") == "drawn before":
            self.study.enqueue_trial(self._unseen(len(trials)))
        self._set_sampler(len(trials))
        self._known = None
        return self.study.ask()

    def _unseen(self, trial: int) -> dict[str, Any]:
        """A point that was not drawn: the first from a random place on."""
        seen, total = self._seen(), prod(len(knob.values) for knob in self.knobs)
        start = number(self.seed, "draw", self._id, trial) % total
        points = (self._at((start + offset) % total) for offset in range(total))
        chosen = next(point for point in points if point not in seen)
        return dict(zip((knob.name for knob in self.knobs), chosen, strict=True))

    def _at(self, index: int) -> tuple[Any, ...]:
        """The point of that number."""
        point = []
        for knob in self.knobs:
            index, place = divmod(index, len(knob.values))
            point.append(knob.values[place])
        return tuple(point)

    @property
    def _id(self) -> int:
        return zlib.crc32(self.name.encode())

    def _set_sampler(self, trial: int) -> None:
        self.study.sampler = _sampler(self.sampler, number(self.seed, "draw", self._id, trial) % 2**32)

    def _accept(self, trial: "Trial") -> Filled | None:
        """What the trial trains, or None where it is not to be trained: the study is told so."""
        values = {knob.name: _suggest(trial, knob) for knob in self.knobs}
        self._known = None
        try:
            if self._repeats(trial.number, values):
                raise Rejected("drawn before")
            limit = self._limit(values)
            own = {name: value for name, value in values.items() if name != BUDGET or len(self.limits) == 1}
            filled = self.budgets.fit(own, limit)
        except Rejected as rejected:
            trial.set_user_attr("rejected", _reason(str(rejected)))
            self._tell(trial, state="FAIL")
            return None
        trial.set_user_attr("drawn", {"values": filled.values, "budget": limit, "budget_madds": filled.madds})
        self.running[trial.number] = trial
        if self._stops(trial):
            self._tell(trial, state="PRUNED")
            del self.running[trial.number]
            return None
        return filled

    def _repeats(self, number: int, values: Mapping[str, Any]) -> bool:
        point = self._point(values)
        earlier = self.of_state("COMPLETE", "PRUNED", "FAIL", "RUNNING")
        complete = [trial for trial in earlier if trial.number < number and len(trial.params) == len(self.knobs)]
        return any(self._point(trial.params) == point for trial in complete)

    def _limit(self, values: Mapping[str, Any]) -> int:
        if len(self.limits) == 1:
            return self.limits[0]
        return self.limits[list(map(short, self.limits)).index(values[BUDGET])]

    def report(self, number: int, epoch: int, accuracy: float) -> bool:
        """Notes an epoch's accuracy; whether the trial is to stop there."""
        trial = self.running[number]
        if len(self.objectives) == 1 and (number, epoch + 1) not in self._reported:  # a resumed trial tells again
            self._reported.add((number, epoch + 1))
            trial.report(accuracy, epoch + 1)
        return self._stops(trial)

    def _stops(self, trial: "Trial") -> bool:
        return len(self.objectives) == 1 and bool(trial.should_prune())

    def done(self, number: int, result: Mapping[str, Any], overhead: float) -> None:
        """Tells the study what came of a trial."""
        trial = self.running.pop(number)
        names = ("valid_accuracy", "params", "madds", "seconds", "latency_ms")
        kept = {name: result[name] for name in names if name in result}
        times = {"overhead_seconds": round(overhead, 4), "training_seconds": round(result["training_seconds"], 3)}
        trial.set_user_attr("outcome", {**kept, **times})
        if "stopped" in result:
            self._tell(trial, state="PRUNED")
        else:
            self._tell(trial, [result[RESULTS[name]] for name in self.objectives])

    def _tell(self, trial: "Trial", values: list[float] | None = None, state: str = "COMPLETE") -> None:
        optuna = import_optuna()
        self.study.tell(trial, values, state=optuna.trial.TrialState[state])
        self._known = None


def _reason(text: str) -> str:
    return "not within 3 % of the budget" if text.endswith("below the budget") else text.partition(" (")[0]


def _suggest(trial: "Trial", knob: Knob) -> Any:
    if not knob.ordered or len(knob.values) == 1:
        return trial.suggest_categorical(knob.name, knob.values)
    low, high = knob.values[0], knob.values[-1]
    return _snap(knob, trial.suggest_float(knob.name, low, high, step=(high - low) / (len(knob.values) - 1)))


def _snap(knob: Knob, value: Any) -> Any:
    """The knob's own value: a drawn 0.30000000000000004 is 0.3."""
    if not knob.ordered:
        return value
    return min(knob.values, key=lambda own: abs(own - value))


def _sampler(name: str, seed: int) -> "BaseSampler":
    from optuna import samplers

    if name == "tpe":
        return samplers.TPESampler(seed=seed)
    if name == "nsga2":
        return samplers.NSGAIISampler(seed=seed, population_size=16)
    return samplers.RandomSampler(seed=seed)


def _pruner(name: str) -> "BasePruner":
    from optuna import pruners

    if name == "median":
        return pruners.MedianPruner()
    if name == "halving":
        return pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    return pruners.NopPruner()


def free_of_cost(budgets: Budgets) -> Iterator[str]:
    """The knobs that turn multiply-adds by less than 1 % between their ends, other things equal."""
    middle = {
        knob.name: knob.values[len(knob.values) // 2] for knob in (budgets.subject.filler, *budgets.subject.knobs)
    }
    for knob in budgets.subject.knobs:
        try:
            costs = [budgets.madds({**middle, knob.name: value}) for value in (knob.values[0], knob.values[-1])]
        except UsageError:
            continue
        if len(knob.values) > 1 and max(costs) < 1.01 * min(costs):
            yield knob.name
