"""Keeping a folder of runs: other names, runs that go, and what no run needs any more."""

import shutil
import time
from pathlib import Path

from nas.cluster.storage import is_url
from nas.errors import UsageError
from nas.files import cache
from nas.run import names
from nas.run.folder import Run, check_name, every
from nas.run.spec import Spec
from nas.run.state import busy

CACHES = ("kernels-*.so", "chance-*.json", "compiling-*", "folders/*")
"""Compiled kernels, random cells' marks, what a killed compiler left, decoded image folders; no downloaded data."""
LONG_AGO = 3600.0
"""Seconds after which something half written is nobody's."""


def rename(run: Run, name: str) -> Run:
    """The run under another name in the same folder.

    Raises:
        UsageError: a process works on it; the name cannot be a run's, or is taken.
    """
    check_at_rest(run)
    if is_url(storage := run.spec(Spec).execution.storage):
        raise UsageError(f"run {run.path} has its checkpoints on {storage} under its name, which has to stay")
    check_name(name, run.path.parent)
    return Run(run.path.rename(run.path.with_name(name)))


def delete(run: Run) -> None:
    """Deletes a run, which is gone at once.

    Raises:
        UsageError: a process works on it; the folder cannot be changed.
    """
    check_at_rest(run)
    remove(run.path.rename(run.path.with_name(f".{run.path.name}.part")))


def check_at_rest(run: Run) -> None:
    """Raises UsageError where a process works on the run."""
    if busy(run):
        raise UsageError(f"a process works on run {run.path}: stop it first")


def leftovers(root: Path, *, searches: bool = False, caches: bool = False) -> dict[str, list[Path]]:
    """What finished runs need no more and what killed processes left, by what it is called.

    Args:
        searches: checkpoints of searches too, from which ``nas derive`` takes other cells.
        caches: what is made again when it is wanted.
    """
    youngest = time.time() - LONG_AGO
    resting = [run for run in every(root) if not busy(run)]
    checkpoints = [
        path
        for run in resting
        if run.finished
        for name in (names.CHECKPOINT, names.KEPT)
        for path in run.path.rglob(name)
    ]
    supernets = [path for path in checkpoints if Run(path.parent).command == "search"]
    paths = {
        "checkpoints of finished trainings": [path for path in checkpoints if path not in supernets],
        "checkpoints of finished searches": supernets if searches else [],
        "half-written runs": [path for path in root.glob(".*.part") if path.stat().st_mtime < youngest],
        "half-written files": [path for run in resting for path in run.path.rglob(".*.part")],
        "names of processes that were killed": [path for run in resting for path in run.path.rglob(names.WORKER)],
        "caches": [path for pattern in CACHES for path in cache().glob(pattern)] if caches else [],
    }
    return {what: some for what, some in paths.items() if some}


def remove(path: Path) -> None:
    """Removes a file or folder.

    Raises:
        UsageError: it cannot be removed.
    """
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise UsageError(f"cannot remove {path}: {error.strerror or error}") from None
