"""A tuning run: its studies, the published settings beside them, the winners' last trainings; then the report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from nas import data
from nas.errors import Interrupted, UsageError, nearest
from nas.macro.published import published
from nas.run.folder import Run
from nas.settings import TrainSettings, TuneSettings, make, plain
from nas.tuning import report
from nas.tuning.budget import Budgets, Counting, Filled
from nas.tuning.objective import Job
from nas.tuning.pools import InProcess, Pool, Processes
from nas.tuning.progress import Progress
from nas.tuning.study import OBJECTIVES, Contest, Drawn, free_of_cost, import_optuna, storage
from nas.tuning.subject import MacroSubject, from_document


@dataclass(frozen=True)
class Engine:
    """Who trains.

    Args:
        name: "optuna" (processes on this machine) or "ray".
        workers: trials at once; None: 1, or (ray) as many as the cluster has room for.
        cluster: "local" or an address of a Ray cluster.
        gpus: share of a GPU that a trial takes (ray); None: a whole one where there is one.
    """

    name: str = "optuna"
    workers: int | None = None
    cluster: str | None = None
    gpus: float | None = None

    def check(self) -> None:
        """Raises UsageError for an unknown engine, what is not installed, or options that go with another engine."""
        if self.name not in ("optuna", "ray"):
            raise UsageError(f'--engine "{self.name}": it must be optuna or ray')
        if self.name == "optuna" and (self.cluster or self.gpus is not None):
            raise UsageError(f"--{'cluster' if self.cluster else 'gpus'}: it goes with --engine ray")
        import_optuna()
        if self.name == "ray":
            from nas.cluster.trials import import_ray

            import_ray()

    def pool(self) -> Pool:
        """The engine.

        Raises:
            UsageError: it is not installed, or there is no such cluster.
        """
        if self.name == "ray":
            from nas.cluster.trials import RayPool

            return RayPool(self.cluster or "local", self.workers, self.gpus)
        return Processes(self.workers) if self.workers and self.workers > 1 else InProcess()


@dataclass
class Tuner:
    """Everything there is to train in a run, in the order it is handed out.

    Args:
        run: its settings.json says all.
        execution: where trials run.
    """

    run: Run
    execution: Mapping[str, Any]
    contests: list[Contest] = field(default_factory=list)
    extras: list[Job] = field(default_factory=list)
    started: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        told = self.run.told
        self.settings = make(TrainSettings, told["settings"])
        self.tune = make(TuneSettings, told["tune"])
        self.limits: tuple[int, ...] = tuple(told["budgets"])
        counting = Counting(tuple(told["image"]), told["classes"], self.tune.budget_resolution)
        self.budgets = [
            Budgets(from_document(subject), counting, self.tune.mode == "fill") for subject in told["subjects"]
        ]

    def open(self) -> None:
        """Opens the studies, and finds the published settings to train beside them."""
        store = storage(self.run.path)
        for budgets in self.budgets:
            objectives = tuple(objectives_of(budgets, self.tune))
            pruner = pruner_of(objectives, self.tune)
            groups = [self.limits] if self.tune.sampler == "nsga2" else [(limit,) for limit in self.limits]
            samplers = dict.fromkeys([self.tune.sampler, *(["random"] if self.tune.control else [])])
            for limits in groups:
                for sampler in samplers:
                    shared = (pruner, objectives, self.tune.trials, self.settings.seed, store)
                    self.contests.append(Contest(budgets, limits, sampler, *shared))
            self.extras += self._published(budgets) if self.tune.published else []

    def _published(self, budgets: Budgets) -> list[Job]:
        jobs = []
        for name, filled in nearest_published(budgets, self.limits).items():
            jobs.append(self.job(f"published/{budgets.subject.name}-{name}", budgets, filled))
        return jobs

    def job(self, key: str, budgets: Budgets, filled: Filled, *, latency: bool = False, **changes: Any) -> Job:
        """A training of these values; ``changes`` of its settings."""
        architecture = budgets.counting.architecture(budgets.subject, filled.values)
        settings = {**plain(self.settings), **changes}
        if self.settings.data in data.NAMES and architecture.input[1] != budgets.counting.image[1]:
            settings["image_size"] = architecture.input[1]
        told = {"architecture": architecture.document(), "settings": settings, "execution": dict(self.execution)}
        return Job(key, str(self.run.path / key), **told, latency=latency, open_test="validation" in changes)

    def work(self, pool: Pool, progress: Progress) -> None:
        """Trains what is left of studies and published settings."""
        left = iter([job for job in self.extras if not Run(Path(job.folder)).finished])
        names = {contest.name: contest for contest in self.contests}

        def jobs() -> Job | None:
            for contest in sorted(self.contests, key=lambda one: (len(one.running), len(one.trained))):
                if drawn := contest.next():
                    return self._trial(contest, drawn)
            return next(left, None)

        def told(key: str, epoch: int, accuracy: float) -> bool:
            contest, number = _contest(names, key)
            return contest.report(number, epoch, accuracy) if contest else False

        def done(key: str, result: Mapping[str, Any]) -> None:
            contest, number = _contest(names, key)
            if contest:
                overhead = perf_counter() - self.started.pop(key) - result["training_seconds"]
                contest.done(number, result, overhead)
            else:
                keep(self.run.path / key, result)
            progress.done(key, contest, result)

        pool.run(jobs, told, done)

    def _trial(self, contest: Contest, drawn: Drawn) -> Job:
        key = f"trials/{contest.name}/{drawn.number:04d}"
        self.started[key] = perf_counter() - drawn.seconds
        return self.job(key, contest.budgets, drawn.filled, latency="latency" in contest.objectives)

    def finals(self, winners: Sequence[report.Entry], seeds: Sequence[int], pool: Pool, progress: Progress) -> None:
        """Trains every winner once a seed on all training images, and reads the test set."""
        subjects = {budgets.subject.name: budgets for budgets in self.budgets}
        left = iter([job for job in self._finals(subjects, winners, seeds) if not Run(Path(job.folder)).finished])

        def done(key: str, result: Mapping[str, Any]) -> None:
            keep(self.run.path / key, result)
            progress.done(key, None, result)

        pool.run(lambda: next(left, None), lambda *_: False, done)

    def _finals(
        self, subjects: Mapping[str, Budgets], winners: Sequence[report.Entry], seeds: Sequence[int]
    ) -> Iterator[Job]:
        for winner in winners:
            filled = Filled(winner["values"], winner["budget_madds"])
            for seed in seeds:
                key = f"finals/{report.label(winner)}-s{seed}"
                yield self.job(key, subjects[winner["space"]], filled, seed=seed, validation=0)


def _contest(names: Mapping[str, Contest], key: str) -> tuple[Contest | None, int]:
    kind, name, *number = key.split("/")
    return (names[name], int(number[0])) if kind == "trials" else (None, 0)


def keep(folder: Path, result: Mapping[str, Any]) -> None:
    """Writes a result that was made where this folder is not seen."""
    if not (folder / "result.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        Run(folder).write("result.json", dict(result))


def objectives_of(budgets: Budgets, tune: TuneSettings) -> list[str]:
    """What is optimised: the user's, or accuracy, with latency where a knob would else be tuned on noise alone.

    Raises:
        UsageError: an unknown objective, or accuracy is not the first.
    """
    if tune.objectives is None:
        several = tune.sampler == "nsga2"
        second = ["latency"] if any(free_of_cost(budgets)) else []
        return ["accuracy", *(["madds"] if several else []), *second]
    names = tune.objectives.split(",")
    for name in names:
        if name not in OBJECTIVES:
            raise UsageError(f'--objectives "{name}": {nearest(name, list(OBJECTIVES))}')
    if names[0] != "accuracy" or len(set(names)) != len(names):
        raise UsageError(f"--objectives {tune.objectives}: accuracy comes first, and each once")
    return names


def pruner_of(objectives: Sequence[str], tune: TuneSettings) -> str:
    """The pruner.

    Raises:
        UsageError: one is asked for where several objectives, or several budgets, make trials incomparable.
    """
    single = len(objectives) == 1 and tune.sampler != "nsga2"
    if tune.pruner is None:
        return "halving" if single else "none"
    if tune.pruner != "none" and not single:
        raise UsageError(
            f"--pruner {tune.pruner}: trials of several objectives ({','.join(objectives)}) are not pruned"
        )
    return tune.pruner


def nearest_published(budgets: Budgets, limits: Sequence[int]) -> dict[str, Filled]:
    """Per budget the family's published setting that comes nearest to it, by name."""
    subject = budgets.subject
    if not isinstance(subject, MacroSubject):
        return {}
    found = {}
    for row in published():
        fits = row.network == subject.network and all(
            row.settings.get(name, value) == value for name, value in subject.settings.items()
        )
        if fits:
            name = "-".join(f"{key}{str(value).replace('/', '_')}" for key, value in sorted(row.settings.items()))
            found[name] = Filled(dict(row.settings), budgets.madds(row.settings))
    chosen = {}
    for limit in limits:
        if found:
            name = min(found, key=lambda name: abs(found[name].madds - limit))
            chosen[name] = found[name]
    return chosen


def proceed(run: Run, execution: Mapping[str, Any]) -> None:
    """Does what is left of a tuning run, and reports.

    Args:
        execution: device, threads and data_root of the trials.

    Raises:
        UsageError: settings or data that cannot be used.
        Interrupted: on a signal, saved.
    """
    tuner = Tuner(run, execution)
    tuner.open()
    engine = Engine(**run.told["engine"])
    pool, progress = engine.pool(), Progress(tuner.contests, len(tuner.extras))
    try:
        with progress:
            tuner.work(pool, progress)
            found = report.gather(run, tuner.contests, tuner.extras)
            if seeds := run.told["seeds"]:
                tuner.finals(report.winners(found), seeds, pool, progress)
    except Interrupted as stopped:
        raise Interrupted(stopped.signal, f"saved; go on with nas tune --resume {run.path}") from None
    report.write(run, found, seeds or [])


def check(budgets: Sequence[Budgets], limits: Sequence[int], tune: TuneSettings) -> None:
    """Finds the mistakes that can be found before a run folder is made.

    Raises:
        UsageError: budgets that cannot be reached, objectives or a pruner that do not go together.
    """
    for one in budgets:
        pruner_of(objectives_of(one, tune), tune)
        for limit in limits:
            one.check(limit)
