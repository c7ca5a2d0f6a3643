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


@contextmanager
def advice(run: Run) -> Iterator[None]:
    """A context whose interruptions name this run as the one to go on with, rather than a child."""
    try:
        yield
    except Interrupted as stopped:
        raise Interrupted(stopped.signal, f"saved; go on with --resume {run.path}") from None
