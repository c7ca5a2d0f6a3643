"""The driver of a tuning: hands trainings to workers, tells the studies what came of them, then reports."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from nas.architecture import Architecture
from nas.errors import UsageError
from nas.execution import Execution
from nas.run import names
from nas.run.environment import hardware
from nas.run.folder import Run
from nas.settings import recipe_hash
from nas.train.stopping import interrupting
from nas.tuning import plan, report
from nas.tuning.front import best, final, label, pareto, winners
from nas.tuning.objective import Job, perform, run_of
from nas.tuning.progress import Progress
from nas.tuning.pruning import stops
from nas.tuning.results import Final, Outcome, TrialResult, TuneResult
from nas.tuning.spec import TuneSpec
from nas.tuning.workers import InProcess, Pool, Processes, lost


class Tuner:
    """A tuning run: its studies, the published settings beside them, the winners' last trainings.

    Args:
        run: its settings.json says all.
        execution: where trials run; its cluster, if any, wins over the run's.
        published: (family, settings) of published networks.
    """

    def __init__(self, run: Run, execution: Execution, published: plan.Published) -> None:
        self.run, self.spec = run, run.spec(TuneSpec)
        self.cluster = execution.cluster or self.spec.cluster or ""
        self.execution = replace(execution, cluster=self.cluster).resolved()
        self.root, self.budgets = run.path.resolve(), self.spec.budgets_of()
        self.studies = {study.name: study for study in plan.studies(self.spec, self.budgets, self.root / "study.db")}
        self.progress = Progress(list(self.studies.values()))
        self.baselines = list(self._published(published)) if self.spec.tune.published else []

    def tune(self) -> None:
        """Does what is left of the run, and writes its results.

        Raises:
            UsageError: settings or data that cannot be used; all trials failed.
            Interrupted: on a signal, saved.
        """
        seeds = self.spec.seeds or ()
        with self._pool() as pool, self.progress, interrupting():
            beside = _unfinished([baseline.job for baseline in self.baselines])
            self._train(pool, lambda: self._trial() or next(beside, None))
            trials = [trial for study in self.studies.values() for trial in report.results(study)]
            if not trials and (failures := [why for study in self.studies.values() for why in study.failures]):
                raise UsageError(f"no trial could be trained to its end: {failures[0]}")
            leaders = winners(best(trials))
            finals = _unfinished([self._final(winner, seed) for winner in leaders for seed in seeds])
            self._train(pool, lambda: next(finals, None))
        drop_checkpoints(self.root)  # also of those after whose end a run was killed
        self._write(trials, report.compare(self.run, leaders, seeds) if seeds else [])

    def _pool(self) -> AbstractContextManager[Pool]:
        parallel, gpus = self.spec.parallel, self.spec.gpus
        if self.cluster:
            from nas.cluster.trials import RayPool

            gpus = 0.0 if gpus is None and self.execution.device == "cpu" else gpus
            return RayPool(self.cluster, parallel, self.execution.threads or 1, gpus, perform, stops, lost)
        return Processes(parallel) if parallel and parallel > 1 else nullcontext(InProcess())

    def _train(self, pool: Pool, next_job: Callable[[], Job | None]) -> None:
        """Performs jobs, as many at once as the pool has slots, until there are no more."""
        running: dict[Future[Outcome], Job] = {}
        while True:
            while len(running) < pool.slots and (job := next_job()):
                running[pool.submit(job)] = job
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                self._done(running.pop(future), future.result())

    def _done(self, job: Job, outcome: Outcome) -> None:
        study = self.studies[job.trial.study] if job.trial else None
        if study and job.trial:
            study.tell(job.trial.id, outcome)
        elif outcome.result:
            seconds = outcome.result.seconds / job.seeds
            for training in job.trainings:
                if not Run(training.folder).finished:  # made where this folder is not seen
                    run_of(training).finish(replace(outcome.result, seconds=seconds))
        drop_checkpoints(job.folder)
        self.progress.done(job.name, study, outcome)

    def _trial(self) -> Job | None:
        """The next trial, of the study with the fewest running, then the fewest trained."""
        for study in sorted(self.studies.values(), key=lambda one: (len(one.running), len(one.trained))):
            if trial := study.ask():
                job = self._job(study.folder(trial.number), study.budgets.architecture(trial.values))
                job = replace(job, trial=trial.address, seeds=self.spec.tune.trial_seeds)
                return replace(job, latency="latency" in study.objectives, table=self.spec.latency_table)
        return None

    def _published(self, published: plan.Published) -> Iterator[report.Baseline]:
        for space, budgets in self.budgets.items():
            for name, values in plan.nearest_published(budgets, self.spec.budgets, published).items():
                job = self._job(f"published/{space}-{name}", budgets.architecture(values))
                job = replace(job, seeds=self.spec.tune.trial_seeds)
                yield report.Baseline(space, budgets.point(values).madds, job)

    def _final(self, winner: TrialResult, seed: int) -> Job:
        """A training of a winner on all training images, at whose end the test set is read."""
        job = self._job(final(winner, seed), self._architecture(winner))
        return replace(job, settings=replace(job.settings, seed=seed, validation=0), open_test=True)

    def _job(self, name: str, architecture: Architecture) -> Job:
        settings, side = self.spec.settings, architecture.input[1]
        if side != self.spec.image[1]:
            settings = replace(settings, image_size=side)
        return Job(self.root, name, architecture, settings, self.execution)

    def _architecture(self, trial: TrialResult) -> Architecture:
        return self.budgets[trial.space].architecture(trial.values)

    def _write(self, trials: Sequence[TrialResult], finals: Sequence[Final]) -> None:
        """Writes every file of the outcome; result.json last."""
        spec, run, studies = self.spec, self.run, list(self.studies.values())
        result = TuneResult(
            studies=tuple(map(report.summary, studies)),
            budgets=spec.budgets,
            image=spec.image,
            best=tuple(best(trials)),
            published=tuple(report.published_result(each) for each in self.baselines if each.job.finished),
            front=tuple(pareto(trial for trial in trials if trial.sampler == spec.tune.sampler)),
            finals=tuple(finals),
            seed=spec.settings.seed,
            validation=spec.settings.validation,
            recipe=recipe_hash(spec.settings),
            settings=spec.settings,
            hardware=hardware(),
        )
        report.write(
            run,
            result,
            studies,
            {label(one): replace(self._architecture(one), origin=spec.origin) for one in winners(result.best)},
        )


def _unfinished(jobs: Sequence[Job]) -> Iterator[Job]:
    return (job for job in jobs if not job.finished)


def drop_checkpoints(folder: Path) -> None:
    """Of trainings that are done, from which nothing goes on."""
    for checkpoint in list(folder.rglob(names.CHECKPOINT)):
        shutil.rmtree(checkpoint, ignore_errors=True)
