"""Runs inside of a run: one a seed, one a network. Whoever makes them hands in the function that does one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from nas.errors import Interrupted
from nas.execution import Execution
from nas.files import read_text
from nas.run.folder import Run
from nas.run.names import INIT
from nas.run.spec import SearchSpec, TrainSpec

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
    child = run.child(name, spec)
    child.write(document, read_text(run.path / original))
    if (run.path / INIT).is_file():
        child.write(INIT, (run.path / INIT).read_bytes())
    return child


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
    """Does what is left of a run: as a job on a cluster, as its children, as a task of the cluster, or here.

    Args:
        kind: of its spec.
        one, several: does it here; does it by its children, where it has several seeds.
        again: does what is left of it in the task.
    """
    if run.finished or as_job(run, execution):
        return
    spec = run.spec(kind)
    with advice(run):
        if spec.seeds:
            several(run, spec, execution)
        elif execution.cluster:
            continue_all([run], execution, again)
        else:
            one(run, spec, execution)


def as_job(run: Run, execution: Execution) -> bool:
    """Whether a job on a cluster has done what was left of a run: none does where it is done from here."""
    if not execution.cluster:
        return False
    from nas.cluster import job

    return job.carry_out(run, execution)


@contextmanager
def advice(run: Run) -> Iterator[None]:
    """A context whose interruptions name this run as the one to go on with, rather than a child."""
    try:
        yield
    except Interrupted as stopped:
        raise Interrupted(stopped.signal, f"saved; go on with --resume {run.path}") from None
