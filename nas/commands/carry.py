"""Carrying out runs, new or interrupted, alone or many."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas import plugins
from nas.commands.told import described
from nas.errors import Interrupted, UsageError
from nas.execution import Execution
from nas.files import read_text
from nas.run.folder import Run
from nas.train.start import WEIGHTS


def proceed(run: Run, execution: Execution) -> Run:
    """Does what is left of a run: the same way whether it is new or was interrupted."""
    if run.finished or (execution.cluster and go_on_without_terminal(run, execution)):
        return run
    command, seeds = run.told["command"], run.told.get("seeds")
    if command not in ("search", "retrain", "tune"):
        raise UsageError(f"run {run.path}: a {command} cannot be resumed")
    from nas.commands.retraining import retrain_one, retrain_seeds
    from nas.commands.searching import search_one, search_seeds

    try:
        if command == "search":
            search_seeds(run, seeds, execution) if seeds else search_one(run, execution)
        elif command == "tune":
            from nas.tuning.tuner import proceed as proceed_tuning

            proceed_tuning(run, described(execution))
        else:
            retrain_seeds(run, seeds, execution) if seeds else retrain_one(run, execution)
    except Interrupted as stopped:  # a child's advice gives way to its parent's
        raise Interrupted(stopped.signal, f"saved; go on with --resume {run.path}") from None
    return run


def resume(run: Run, execution: Execution = Execution(), ops: Path | None = None) -> Run:  # noqa: B008 - frozen
    """Goes on with an interrupted run; a finished one is left as it is.

    Args:
        execution: where a field is empty, what the run was begun with.
    """
    begun = run.told["execution"]
    plugins.check(run.told.get("ops"), plugins.register(ops) if ops else None)
    return proceed(
        run,
        Execution(
            device=execution.device or begun["device"],
            threads=begun["threads"],
            data_root=execution.data_root or (Path(begun["data_root"]) if begun["data_root"] else None),
            cluster=execution.cluster,
            workers=execution.workers or begun.get("workers"),
            storage=begun.get("storage", ""),
        ),
    )


def finish_all(children: Sequence[Run], execution: Execution) -> list[Run]:
    """Does what is left of independent runs: one after the other here, or side by side on a cluster."""
    if not execution.cluster:
        return [proceed(child, execution) for child in children]
    from nas.cluster import trainings as cluster

    cluster.finish(children, execution, proceed)
    return list(children)


def go_on_without_terminal(run: Run, execution: Execution) -> bool:
    """Whether the run was handed to the cluster as a job, which goes on when the terminal closes, and is done."""
    from nas.cluster import job

    return job.wanted(execution) and job.carry_out(run, execution)


def child_of(run: Run, seed: int, document: str, *, name: str = "", original: str = "", **told: Any) -> Run:
    """The child run of one seed, with its copy of the document it works from.

    Args:
        name: of the child; empty: s<seed>.
        original: the parent's file of which ``document`` is the copy, where their names differ.
        told: what the child is told beside what its parent was.
    """
    inherited = {key: value for key, value in run.told.items() if key not in ("seeds", "networks")}
    settings = {**inherited["settings"], "seed": seed}
    child = run.child(name or f"s{seed}", {**inherited, "settings": settings, **told})
    child.write(document, read_text(run.path / (original or document)))
    if (run.path / WEIGHTS).is_file():
        child.write(WEIGHTS, (run.path / WEIGHTS).read_bytes())
    return child
