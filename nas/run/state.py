"""How far a run is, and who works on it: its settings.json is locked while a process does, and no longer."""

import errno
import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, get_args

from nas.errors import UsageError
from nas.run import names
from nas.run.folder import Run, around

State = Literal["finished", "running", "interrupted"]
STATES: tuple[State, ...] = get_args(State)
GLANCE = 0.5
"""Seconds for which a lock is tried: whoever asks for a run's state holds it for an instant."""


@contextmanager
def working(run: Run) -> Iterator[None]:
    """A context in which no other process works on the run; where storage knows no locks, a mere context.

    Raises:
        UsageError: another process does.
    """
    with (run.path / names.SETTINGS).open("r+") as file:
        until = time.monotonic() + GLANCE
        while not _lock(file, fcntl.LOCK_EX):
            if time.monotonic() > until:
                raise UsageError(f"another process works on run {run.path}: wait for it, or stop it")
            time.sleep(0.02)
        yield


def state_of(run: Run) -> State:
    """Finished: there is a result; running: a process works on it, or on the run that it lies in."""
    if run.finished:
        return "finished"
    return "running" if any(map(_locked, around(run.path))) else "interrupted"


def size_of(path: Path) -> int:
    """Bytes of a file, or of all in a folder."""
    return sum(each.lstat().st_size for each in (path, *path.rglob("*")) if not each.is_dir())


def _locked(run: Run) -> bool:
    with (run.path / names.SETTINGS).open() as file:
        return not _lock(file, fcntl.LOCK_SH)


def _lock(file: IO[str], kind: int) -> bool:
    """Whether there is the lock now, until the file is closed."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True
