"""What a user may type next: commands as they can be pasted into a shell, here."""

import shlex
from pathlib import Path

from nas.execution import Execution
from nas.run.folder import Run, around
from nas.run.spec import Spec


def on(run: Run, *words: str | Path) -> str:
    """``nas`` and these words, with the file of the operations that the run's user has of his own, if any."""
    ops = run.spec(Spec).ops
    return shlex.join(["nas", *map(str, words), *(["--ops", ops.path] if ops else [])])


def resumption(run: Run, execution: Execution = Execution()) -> str:  # noqa: B008 - frozen
    """The command that goes on with a run, or that which it lies in, on the cluster of ``execution``, if any."""
    *_, run = around(run.path) or [run]
    cluster = execution.cluster or ("local" if run.spec(Spec).execution.storage else "")
    words = ["--cluster", cluster] if cluster else []
    words += ["--workers", str(execution.workers)] if execution.cluster and execution.workers else []
    return on(run, run.command, "--resume", run.path, *words)


def unfinished(run: Run) -> str:
    """A sentence."""
    return f"run {run.path} is not finished: {resumption(run)}"


def near(path: str) -> str:
    """A path from here, where it lies below."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path
