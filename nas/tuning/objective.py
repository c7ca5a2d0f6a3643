"""One trial: a network trained in a run folder of its own, judged on held-out images. The same wherever it runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from time import perf_counter

import torch

from nas.architecture import Architecture
from nas.costs.latency import by_turns
from nas.errors import NO_KERNEL, BrokenProcess, OutOfMemory, UsageError
from nas.execution import Execution
from nas.exporting.fold import folded
from nas.exporting.onnx import onnx_model
from nas.latency.table import LatencyTable
from nas.run import names
from nas.run.folder import Run
from nas.run.log import Epoch
from nas.run.results import TrainResult
from nas.run.spec import TrainSpec
from nas.settings import TrainSettings
from nas.train.loop import train
from nas.train.session import last_state
from nas.tuning.pruning import Address
from nas.tuning.results import Outcome

Stops = Callable[[Address, int, float], bool]
"""Is given a trial, an epoch or seed and its accuracy, and says whether to stop: :func:`nas.tuning.pruning.stops`."""


@dataclass(frozen=True)
class Job:
    """A training, as any worker can be sent it.

    Args:
        root: the tuning's run folder, absolute; made where the worker does not see the driver's.
        name: of its own folder in it: trials/mobilenext-20M-tpe/0007.
        seeds: so many trainings, each of the next seed, whose mean accuracy judges it.
        trial: the trial that is trained; None: a training beside the studies.
        latency: whether to have that as well: measured here, or by a device's ``table``.
        open_test: whether to read the test set at the end.
    """

    root: Path
    name: str
    architecture: Architecture
    settings: TrainSettings
    execution: Execution
    seeds: int = 1
    trial: Address | None = None
    latency: bool = False
    table: LatencyTable | None = None
    open_test: bool = False

    @property
    def folder(self) -> Path:
        """Its own run folder."""
        return self.root / self.name

    @property
    def runs(self) -> list[Run]:
        """One a seed."""
        return [Run(one.folder) for one in self.trainings]

    @property
    def finished(self) -> bool:
        """Whether all of them are."""
        return all(run.finished for run in self.runs)

    @property
    def trainings(self) -> list["Job"]:
        """One a seed."""
        return [self, *(_again(self, index) for index in range(1, self.seeds))]


def names_of(name: str, seed: int, seeds: int) -> list[str]:
    """The folders of a trial's trainings, one a seed from the first on."""
    return [name, *(f"{name}/seed-{seed + index}" for index in range(1, seeds))]


CASUALTIES: list[Outcome] = []
"""Trainings for whose want of memory this process can compile no more kernels."""


class Stop(Exception):
    """A trial is not worth more epochs."""


def perform(job: Job, stops: Stops) -> Outcome:
    """Trains, or goes on training, or finds it done; what fails, for want of memory for instance, fails alone.

    Raises:
        UsageError, OSError, Interrupted: as :func:`nas.train.loop.train`: what other trainings would meet as well.
        BrokenProcess: an earlier training here has used up the memory so that nothing can be computed any more.
    """
    if CASUALTIES:
        raise BrokenProcess("memory ran out, and oneDNN can compile no more kernels in this process: --resume goes on")
    outcome = _outcome(job, stops)
    if NO_KERNEL in outcome.failure:
        CASUALTIES.append(outcome)
    return outcome


def _outcome(job: Job, stops: Stops) -> Outcome:
    """What comes of a job; errors as of :func:`perform`."""
    started, epochs = perf_counter(), 0
    result: TrainResult | None

    def watch(epoch: Epoch) -> None:
        nonlocal epochs
        epochs = epoch.epoch + 1
        if job.trial is None or epoch.valid_accuracy is None or job.seeds > 1:
            return
        if stops(job.trial, epoch.epoch, epoch.valid_accuracy) and epochs < job.settings.epochs:
            raise Stop

    try:
        results = [_result(job, watch)]
        while len(results) < job.seeds:
            if job.trial and stops(job.trial, len(results) - 1, results[-1].valid_accuracy or 0.0):
                raise Stop
            results.append(_result(_again(job, len(results)), watch))
        result = mean(results)
    except Stop:
        result = None
    except OutOfMemory as error:
        return Outcome.of(error)
    except (UsageError, OSError):
        raise
    except Exception as error:
        return Outcome.of(error)
    return Outcome(result, epochs, perf_counter() - started)


def _again(job: Job, index: int) -> Job:
    """The same training with another seed, inside of the first's folder."""
    settings = replace(job.settings, seed=job.settings.seed + index)
    name = names_of(job.name, job.settings.seed, job.seeds)[index]
    return replace(job, name=name, settings=settings, latency=False)


def mean(results: Sequence[TrainResult]) -> TrainResult:
    """The first's result with the mean accuracy of all, and the seconds of all."""
    accuracies = [result.valid_accuracy for result in results if result.valid_accuracy is not None]
    if len(accuracies) < 2:
        return results[0]
    return replace(results[0], valid_accuracy=fmean(accuracies), seconds=sum(result.seconds for result in results))


def run_of(job: Job) -> Run:
    """The run of a job's first seed, made if it is not there."""
    spec = TrainSpec(command="trial", settings=job.settings, execution=job.execution)
    documents = {names.ARCHITECTURE: job.architecture.document()}
    return Run(job.folder.parent).child(job.folder.name, spec, documents)


def _result(job: Job, watch: Callable[[Epoch], None]) -> TrainResult:
    run = run_of(job)
    if not run.finished:
        last_state(run)  # whose log may be damaged
        for epoch in run.log(Epoch):  # a worker that died may not have asked
            watch(epoch)
        train(run, job.architecture, job.settings, job.execution, open_test=job.open_test, watch=watch, quiet=True)
    result = run.result(TrainResult)
    if job.latency and result.latency_ms is None:
        result = replace(result, latency_ms=milliseconds(job.architecture, job.table))
        run.finish(result)
    return result


def milliseconds(architecture: Architecture, table: LatencyTable | None) -> float:
    """One image's time: by a device's table, or the median of the exported model in onnxruntime on this machine.

    Raises:
        UsageError: an operation that the table, or ONNX, does not have.
    """
    if table:
        return table.predict([part.signature for part in architecture.parts()])
    predict = onnx_model(folded(architecture.build()), architecture.input, {}).predict
    assert predict
    images = torch.randn(1, *architecture.input, generator=torch.Generator().manual_seed(0))
    return by_turns({"onnxruntime": predict}, images, warmup=5, repeats=30)["onnxruntime"].median_ms
