"""Who trains on this machine: this process, or worker processes beside it (a cluster's: :mod:`nas.cluster.trials`)."""

import multiprocessing
import os
import signal
import threading
import warnings
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import wait as wait_for
from typing import Protocol, Self

from nas.errors import BrokenProcess, Interrupted, OutOfMemory
from nas.tuning.objective import Job, perform
from nas.tuning.pruning import stops
from nas.tuning.results import Outcome

DEATHS = 3
"""So often a trial may lose its worker."""
GRACE = 60.0
"""Seconds that workers have to save."""


class Pool(Protocol):
    """Whoever trains; ``slots`` trainings at once."""

    @property
    def slots(self) -> int: ...
    def submit(self, job: Job, /) -> "Future[Outcome]": ...


class InProcess:
    """One training after the other, here."""

    slots = 1

    def submit(self, job: Job) -> "Future[Outcome]":
        """The training's outcome; errors as of :func:`perform`."""
        future: Future[Outcome] = Future()
        future.set_result(perform(job, stops))
        return future


class Processes:
    """Worker processes, each with a thread here that replaces it when it dies; left by an error, they save.

    The standard executor alone would lose all its workers with one of them: so each is an executor of its own.

    Args:
        slots: how many.
    """

    def __init__(self, slots: int) -> None:
        self.slots, self._stopping = slots, False
        self._threads = ThreadPoolExecutor(slots)
        self._idle = [_worker() for _ in range(slots)]
        self._futures: list[Future[Outcome]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error:
            self._stop()
        self._threads.shutdown()
        for worker in self._idle:
            worker.shutdown()

    def submit(self, job: Job) -> "Future[Outcome]":
        """The training's outcome.

        Raises (by the future):
            UsageError: a mistake of the user's.
        """
        self._futures.append(self._threads.submit(self._train, job))
        return self._futures[-1]

    def _train(self, job: Job) -> Outcome:
        worker = self._idle.pop()
        try:
            for _ in range(DEATHS):
                with suppress(BrokenProcessPool):
                    if outcome := worker.submit(_perform, job).result():
                        return outcome
                if self._stopping:
                    raise Interrupted(signal.SIGTERM)
                worker.shutdown()
                worker = _worker()
        finally:
            self._idle.append(worker)
        return lost(DEATHS)

    def _stop(self) -> None:
        """Has the workers save, and kills those that have not in time."""
        self._stopping = True
        for process in multiprocessing.active_children():
            process.terminate()
        wait(self._futures, GRACE)
        for process in multiprocessing.active_children():
            process.kill()


def lost(deaths: int) -> Outcome:
    """Of a training whose workers died so many times."""
    return Outcome.of(OutOfMemory(f"its worker died {deaths} times; is there too little memory?"))


def _worker() -> ProcessPoolExecutor:
    """An executor of one process, which starts at once: whoever stops the workers finds it."""
    executor = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin)
    executor.submit(os.getpid)
    return executor


def _begin() -> None:
    """In a worker: the driver alone hears Ctrl-C, and one that was killed leaves nobody who writes into its run.

    What is to be said of the data, the driver has said.
    """
    warnings.filterwarnings("ignore", message="data ")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for([parent.sentinel])
    os._exit(1)


def _perform(job: Job) -> Outcome | None:
    """In a worker: the outcome, or None where it was told to stop and has saved."""
    try:
        return perform(job, stops)
    except Interrupted:
        return None
    except BrokenProcess:
        os._exit(1)  # and is replaced
