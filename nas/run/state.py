"""How far a run is, and who works on it: its settings.json is locked while a process does, and no longer."""

import errno
import fcntl
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Literal, get_args

from pydantic.dataclasses import dataclass

from nas.errors import UsageError
from nas.run import names
from nas.run.documents import DOCUMENT, read
from nas.run.folder import Run, around

State = Literal["finished", "running", "interrupted"]
STATES: tuple[State, ...] = get_args(State)
GLANCE = 0.5
"""Seconds for which a lock is tried: whoever asks for a run's state holds it for an instant."""


@dataclass(frozen=True, config=DOCUMENT)
class Worker:
    """The process that works on a run, for people to read; believed only where storage knows no locks.

    Args:
        birth: when it began, by its machine's clock, as numbers of processes are used again; None: not to be had.
    """

    host: str
    pid: int
    birth: int | None = None

    @property
    def alive(self) -> bool:
        """Whether this machine knows that it is."""
        return self.host == socket.gethostname() and self.birth is not None and _birth(self.pid) == self.birth


@contextmanager
def working(run: Run) -> Iterator[None]:
    """A context in which no other process works on the run, what lies inside of it or what it lies in.

    What a killed process left half written there is removed.

    Raises:
        UsageError: another process does, or the folder cannot be written to.
    """
    try:
        file = (run.path / names.SETTINGS).open("r+")
    except OSError as error:
        raise UsageError(f"cannot work on run {run.path}: {error.strerror or error}") from None
    with file:
        _take(file, run)
        if other := next(filter(_locked, _others(run)), None):
            raise UsageError(_refusal(other))
        for path in [*run.path.rglob(".*.part")]:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        run.write(names.WORKER, Worker(socket.gethostname(), os.getpid(), _birth(os.getpid())))
        try:
            yield
        finally:
            with suppress(OSError):
                (run.path / names.WORKER).unlink()


def state_of(run: Run) -> State:
    """Finished: there is a result; running: a process works on it, or on the run that it lies in."""
    if run.finished:
        return "finished"
    return "running" if any(map(_locked, around(run.path))) else "interrupted"


def busy(run: Run) -> bool:
    """Whether a process works on the run, on one that it lies in or on one inside of it."""
    return any(map(_locked, (run, *_others(run))))


def _others(run: Run) -> Iterator[Run]:
    """The runs that a run lies in, and those inside of it."""
    yield from around(run.path)[1:]
    yield from (Run(path.parent) for path in run.path.rglob(f"*/{names.SETTINGS}"))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all in a folder."""
    return sum(each.lstat().st_size for each in (path, *path.rglob("*")) if not each.is_dir())


def _take(file: IO[str], run: Run) -> None:
    until = time.monotonic() + GLANCE
    while (lock := _lock(file, fcntl.LOCK_EX)) is False:
        if time.monotonic() > until:
            raise UsageError(_refusal(run))
        time.sleep(0.02)
    worker = _worker(run)
    if lock is None and worker and worker.alive:
        raise UsageError(_refusal(run))
    if lock is None and worker:
        who = f"process {worker.pid} on {worker.host}"
        print(f"warning: {run.path} lies where there are no locks: make sure that {who} is no more", file=sys.stderr)


def _refusal(run: Run) -> str:
    worker = _worker(run)
    who = f" (number {worker.pid} on {worker.host})" if worker else ""
    return f"another process works on run {run.path}{who}: wait for it, or stop it"


def _worker(run: Run) -> Worker | None:
    """Who works on a run, or did last if it was killed."""
    with suppress(UsageError):
        return read(run.path / names.WORKER, Worker)
    return None


def _birth(pid: int) -> int | None:
    """When a process of this machine began, in its clock's ticks; None: there is none, or no telling."""
    with suppress(OSError, IndexError):
        state, *figures = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else int(figures[18])
    return None


def _locked(run: Run) -> bool:
    with (run.path / names.SETTINGS).open() as file:
        lock = _lock(file, fcntl.LOCK_SH)
    worker = _worker(run) if lock is None else None
    return lock is False or (worker is not None and worker.alive)


def _lock(file: IO[str], kind: int) -> bool | None:
    """Whether there is the lock now, until the file is closed; None: storage knows no locks."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    return True
