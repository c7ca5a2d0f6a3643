"""Who performs jobs: this process, or several on this machine. The driver alone holds the study."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from nas.errors import Interrupted, UsageError
from nas.tuning.objective import Job, perform

Jobs = Callable[[], Job | None]
"""Gives the next job, or None: none for now; asked again after each that is done."""
Told = Callable[[str, int, float], bool]
"""Is told (key, epoch, accuracy); says whether that job is to stop."""
Done = Callable[[str, Mapping[str, Any]], None]
"""Is told (key, result)."""


class Pool(Protocol):
    """An engine: performs jobs until there are no more."""

    def run(self, jobs: Jobs, told: Told, done: Done) -> None:
        """Performs all jobs.

        Raises:
            UsageError: a job's.
            Interrupted: on a signal, everything saved.
        """


class InProcess:
    """One job after the other, here."""

    def run(self, jobs: Jobs, told: Told, done: Done) -> None:
        """See :class:`Pool`."""
        while job := jobs():
            key = job.key
            done(key, perform(job, lambda epoch, accuracy, key=key: told(key, epoch, accuracy)))  # type: ignore[misc]


DEATHS = 3
"""So often a job may lose its worker."""


@dataclass
class Worker:
    """A process and the line to it."""

    process: Any
    line: Connection
    job: Job | None = None


@dataclass
class Processes:
    """Several worker processes on this machine; one that dies is replaced, and its job goes on from its checkpoint."""

    workers: int
    _alive: list[Worker] = field(default_factory=list)
    _deaths: dict[str, int] = field(default_factory=dict)

    def run(self, jobs: Jobs, told: Told, done: Done) -> None:
        """See :class:`Pool`."""
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self._alive = [_hire() for _ in range(self.workers)]
            self._hand_out(jobs)
            while busy := {worker.line: worker for worker in self._alive if worker.job}:
                for line in wait(list(busy)):
                    self._hear(busy[line], told, done)  # type: ignore[index]
                self._hand_out(jobs)
        except KeyboardInterrupt:
            self._stop()
            raise Interrupted(signal.SIGINT, "") from None
        finally:
            signal.signal(signal.SIGTERM, previous)
            self._dismiss()

    def _hand_out(self, jobs: Jobs) -> None:
        for worker in self._alive:
            if worker.job is None and (job := jobs()):
                worker.job = job
                worker.line.send(job)

    def _hear(self, worker: Worker, told: Told, done: Done) -> None:
        assert worker.job is not None
        job = worker.job
        try:
            kind, *content = worker.line.recv()
        except (EOFError, ConnectionError):
            self._replace(worker, job)
            return
        if kind == "epoch":
            worker.line.send(told(job.key, *content))
        elif kind == "done":
            worker.job = None
            done(job.key, content[0])
        elif kind == "mistake":
            raise UsageError(content[0])
        else:
            raise RuntimeError(f"trial {job.folder}:\n{content[0]}")

    def _replace(self, worker: Worker, job: Job) -> None:
        self._deaths[job.key] = self._deaths.get(job.key, 0) + 1
        if self._deaths[job.key] >= DEATHS:
            raise UsageError(f"trial {job.folder}: its worker died {DEATHS} times; is there too little memory?")
        self._alive.remove(worker)
        fresh = _hire()
        self._alive.append(fresh)
        fresh.job = job
        fresh.line.send(job)

    def _stop(self) -> None:
        """Asks the workers to save, and waits."""
        for worker in self._alive:
            if worker.job and worker.process.pid:
                os.kill(worker.process.pid, signal.SIGTERM)
        for worker in self._alive:
            if worker.job:
                worker.process.join(60)

    def _dismiss(self) -> None:
        for worker in self._alive:
            worker.line.close()
            if worker.job is not None:
                worker.process.kill()
            worker.process.join()


def _hire() -> Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return Worker(process, ours)


def _work(line: Connection) -> None:
    """A worker's life: performs what comes down the line, until it is closed or the driver is gone."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        while True:
            line.send(_attempt(line.recv(), line))
    except (EOFError, ConnectionError, KeyboardInterrupt):
        return


def _attempt(job: Job, line: Connection) -> tuple[str, Any]:
    def report(epoch: int, accuracy: float) -> bool:
        line.send(("epoch", epoch, accuracy))
        return bool(line.recv())

    try:
        return "done", perform(job, report)
    except UsageError as error:
        return "mistake", str(error)
    except Interrupted:
        raise SystemExit from None
    except (EOFError, ConnectionError):
        raise
    except Exception:
        import traceback

        return "bug", traceback.format_exc()


def _die_with_parent() -> None:
    """A driver that was killed must leave nobody who writes into its run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
