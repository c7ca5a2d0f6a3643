"""Keeping a folder of runs: other names, runs that go, and what no run needs any more."""

import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nas.errors import UsageError
from nas.files import cache
from nas.run import names
from nas.run.folder import Run, check_name, every
from nas.run.state import size_of, state_of

CACHES = ("kernels-*.so", "chance-*.json", "compiling-*", "folders/*")
"""Compiled kernels, random cells' marks, what a killed compiler left, decoded image folders; no downloaded data."""
LONG_AGO = 3600.0
"""Seconds after which something half written is nobody's."""


@dataclass(frozen=True)
class Leftover:
    """A file or folder that may go."""

    path: Path
    what: str

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return size_of(self.path)


def rename(run: Run, name: str) -> Run:
    """The run under another name in the same folder.

    Raises:
        UsageError: a process works on it; the name cannot be a run's, or is taken.
    """
    at_rest(run)
    check_name(name, run.path.parent)
    return Run(run.path.rename(run.path.with_name(name)))


def delete(run: Run) -> None:
    """Deletes a run, which is gone at once.

    Raises:
        UsageError: a process works on it; the folder cannot be changed.
    """
    at_rest(run)
    remove([Leftover(run.path.rename(run.path.with_name(f".{run.path.name}.part")), "run")])


def at_rest(run: Run) -> None:
    """Raises UsageError where a process works on the run."""
    if state_of(run) == "running":
        raise UsageError(f"a process works on run {run.path}: stop it first")


def leftovers(root: Path, *, searches: bool = False, caches: bool = False) -> Iterator[Leftover]:
    """What finished runs need no more, and what killed processes left.

    Args:
        searches: checkpoints of searches too, from which ``nas derive`` takes other cells.
        caches: what is made again when it is wanted.
    """
    for path in root.glob(".*.part"):
        if time.time() - path.stat().st_mtime > LONG_AGO:
            yield Leftover(path, "half-written runs")
    for run in every(root):
        for path in run.path.rglob(".*.part") if state_of(run) != "running" else ():
            yield Leftover(path, "half-written files")
        for folder in (names.CHECKPOINT, names.KEPT) if run.finished else ():
            for path in run.path.rglob(folder):
                search = Run(path.parent).command == "search"
                if searches or not search:
                    yield Leftover(path, f"checkpoints of finished {'searches' if search else 'trainings'}")
    for pattern in CACHES if caches else ():
        yield from (Leftover(path, "caches") for path in cache().glob(pattern))


def remove(every: Iterable[Leftover]) -> None:
    """Removes them.

    Raises:
        UsageError: one cannot be removed.
    """
    for one in every:
        try:
            shutil.rmtree(one.path) if one.path.is_dir() else one.path.unlink()
        except OSError as error:
            raise UsageError(f"cannot remove {one.path}: {error.strerror or error}") from None
