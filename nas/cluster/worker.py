"""A worker of a training: in a task's own process it does what is left of a run, alone or as a rank of a group."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nas import plugins
from nas.cluster.storage import Store
from nas.errors import Interrupted, UsageError
from nas.execution import Execution
from nas.run.folder import Run
from nas.run.names import SETTINGS
from nas.train.process_group import Address, membership

Continue = Callable[[Run, Execution], None]
"""Does what is left of a run; it must be importable where the tasks run."""


@dataclass(frozen=True)
class Worker:
    """A worker, as it is sent to its task.

    Args:
        path: the run folder, which all nodes see.
        store: URL of the run's copy on an object store, then used instead of ``path``; or empty.
        execution: of this process.
        continue_run: does what is left of the run.
        ops: files of users' operations to register first.
        rank, world_size: which worker of the training, of how many.
        address: of the group's rendezvous; None: a training without a group.
    """

    path: Path
    store: str
    execution: Execution
    continue_run: Continue
    ops: tuple[Path, ...] = ()
    rank: int = 0
    world_size: int = 1
    address: Address | None = None


@dataclass(frozen=True)
class Outcome:
    """How a worker or a whole training ended: well, or by a user's mistake, a death, or a bug.

    Args:
        mistake: what the user must know to go on.
        death: what became of the process or node it ran on.
    """

    mistake: str = ""
    death: str = ""
    bug: Exception | None = None


def work(worker: Worker) -> Outcome:
    """How the worker ended that does, in this process, what is left of its run; a bug is raised."""
    execution = worker.execution
    try:
        for path in worker.ops:
            plugins.register(path)
        group = membership(execution.device, worker.rank, worker.world_size, worker.address)
        with _run_folder(worker) as run, group:
            worker.continue_run(run, execution)
    except UsageError as error:
        return Outcome(mistake=str(error))
    except Interrupted:  # by this command, or as a node that is drained does
        return Outcome(death="its worker was asked to stop, and has saved")
    return Outcome()


@contextmanager
def _run_folder(worker: Worker) -> Iterator[Run]:
    """The run where this process can use it: in the shared folder, or in a copy that is sent back to the store."""
    if not worker.store:
        if not (worker.path / SETTINGS).is_file():
            raise UsageError(
                f"node {os.uname().nodename} does not see {worker.path}: --storage must be a folder all share"
            )
        yield Run(worker.path)
        return
    store = Store(worker.store)
    with tempfile.TemporaryDirectory(prefix="nas-") as scratch:
        store.pull(Path(scratch))
        run = Run(Path(scratch), store.push if worker.rank == 0 else None)
        try:
            yield run
        finally:
            run.publish()
