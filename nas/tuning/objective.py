"""One trial: a network trained in a run folder of its own, judged on held-out images. The same under every engine."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.architecture import Architecture, from_json
from nas.execution import Execution
from nas.run.folder import Run
from nas.settings import TrainSettings, make
from nas.train.loop import train

Report = Callable[[int, float], bool]
"""Is told (epoch, accuracy on held-out images) and says whether to stop there."""


class Stopped(Exception):
    """A trial that is not worth more epochs."""


@dataclass(frozen=True)
class Job:
    """A training, as plain data that any worker can be sent.

    Args:
        key: names it to the driver.
        folder: its run folder; made where the worker does not see the driver's.
        architecture: the document.
        settings: of the training.
        execution: device, threads, data_root, as a run's settings.json holds them.
        latency: whether to measure that as well.
        open_test: whether to read the test set at the end.
    """

    key: str
    folder: str
    architecture: Mapping[str, Any]
    settings: Mapping[str, Any]
    execution: Mapping[str, Any]
    latency: bool = False
    open_test: bool = False


def perform(job: Job, report: Report) -> dict[str, Any]:
    """Trains, or goes on training, or finds it done.

    Returns:
        the training's result, with "training_seconds" of this call; {"stopped": epoch} where ``report`` said so.

    Raises:
        UsageError, Interrupted: as :func:`nas.train.loop.train`.
    """
    folder = Path(job.folder)
    told = {"command": "trial", "settings": dict(job.settings), "execution": dict(job.execution), "preset": ""}
    run = Run(folder.parent).child(folder.name, told)
    architecture = from_json(job.architecture, job.folder)
    settings = make(TrainSettings, job.settings)

    def watch(entry: Mapping[str, Any]) -> None:
        last = entry["epoch"] + 1 == settings.epochs
        if settings.validation and report(entry["epoch"], entry["valid_accuracy"]) and not last:
            raise Stopped

    started = time.perf_counter()
    if not run.finished:
        run.write("architecture.json", architecture.document())
        execution = _execution(job.execution)
        try:
            for entry in run.log():  # a worker that died may have told nobody
                watch(entry)
            train(run, architecture, settings, execution, open_test=job.open_test, watch=watch, quiet=True)
        except Stopped:
            return {"stopped": run.log()[-1]["epoch"], "training_seconds": time.perf_counter() - started}
    if job.latency and "latency_ms" not in run.result:
        run.write("result.json", {**run.result, "latency_ms": latency(architecture)})
    return {**run.result, "training_seconds": time.perf_counter() - started}


def _execution(told: Mapping[str, Any]) -> Execution:
    root = told["data_root"]
    return Execution(told["device"], told["threads"], Path(root) if root else None)


@torch.inference_mode()
def latency(architecture: Architecture, warmup: int = 5, repeats: int = 30) -> float:
    """Milliseconds of one image on the CPU, eager: the median of ``repeats`` runs."""
    network, image = architecture.build().eval(), torch.randn(1, *architecture.input)
    network, image = network.to(memory_format=torch.channels_last), image.to(memory_format=torch.channels_last)
    times = []
    for _ in range(warmup + repeats):
        started = time.perf_counter()
        network(image)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[warmup:])
