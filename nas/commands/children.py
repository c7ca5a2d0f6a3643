"""Doing a run, and the runs inside of it, one a seed or network; whoever makes them hands in what does one."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TypeVar

from nas.errors import Interrupted
from nas.execution import Execution
from nas.files import read_text
from nas.run.folder import Run
from nas.run.hints import resumption
from nas.run.names import INIT
from nas.run.spec import SearchSpec, TrainSpec
from nas.run.state import working

Continue = Callable[[Run, Execution], None]
"""Does what is left of a run, new or interrupted; a finished one is left as it is."""
AnySpec = TypeVar("AnySpec", SearchSpec, TrainSpec)
Do = Callable[[Run, AnySpec, Execution], None]
"""Does a run."""


def child_spec(spec: AnySpec, seed: int) -> AnySpec:
    """What the child of one seed is to do."""
    return replace(spec, settings=replace(spec.settings, seed=seed), seeds=None)


def make_child(run: Run, name: str, spec: SearchSpec | TrainSpec, document: str, original: str) -> Run:
    """The child of that name, made if it is not there, with its copies of what it works from.

    Args:
        document: the name of its copy of the parent's file ``original``.
    """
    start = {INIT: (run.path / INIT).read_bytes()} if (run.path / INIT).is_file() else {}
    return run.child(name, spec, {document: read_text(run.path / original), **start})


def continue_all(children: Sequence[Run], execution: Execution, continue_one: Continue) -> None:
    """Does what is left of independent runs: one after the other here, or side by side on a cluster."""
    if execution.cluster:
        from nas.cluster import trainings

        trainings.finish(children, execution, continue_one)
        return
    for child in children:
        continue_one(child, execution)


def continue_any(
    run: Run, execution: Execution, kind: type[AnySpec], *, one: Do[AnySpec], several: Do[AnySpec], again: Continue
) -> None:
    """Does what is left of a run: as its children, as a task of the cluster, or here.

    Args:
        kind: of its spec.
        one, several: does it here; does it by its children, where it has several seeds.
        again: does what is left of it in the task.
    """
    if run.finished:
        return
    spec = run.spec(kind)
    if spec.seeds:
        several(run, spec, execution)
    elif execution.cluster:
        continue_all([run], execution, again)
    else:
        one(run, spec, execution)


def as_job(run: Run, execution: Execution) -> bool:
    """Whether a job on a cluster has done what was left of a run; a tuning's driver is never one."""
    if run.finished or run.command == "tune" or not execution.cluster:
        return False
    from nas.cluster import job

    return job.carry_out(run, execution)


@contextmanager
def advice(run: Run, execution: Execution) -> Iterator[None]:
    """A context whose interruptions say how to go on."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as stopped:
        if str(stopped) not in ("", Interrupted.SAVED):
            raise
        number = stopped.signal if isinstance(stopped, Interrupted) else signal.SIGINT
        raise Interrupted(number, f"saved; go on with: {resumption(run, execution)}") from None


def carry_out(run: Run, execution: Execution, continue_one: Continue) -> Run:
    """The run, once what was left of it is done: by a job on a cluster, or here and by no other process.

    Raises:
        UsageError, Interrupted: another process works on it; as of ``continue_one``.
    """
    run.check_documents()
    with advice(run, execution):
        if not as_job(run, execution):
            with nullcontext() if run.finished else working(run):
                continue_one(run, execution)
    return run
