"""Going on with an interrupted run of any command."""

from pathlib import Path

from nas import plugins
from nas.commands.children import Continue, carry_out
from nas.commands.deriving import continue_deriving
from nas.commands.retraining import continue_retraining
from nas.commands.searching import continue_search
from nas.commands.studying import continue_study
from nas.commands.tuning import continue_tuning
from nas.errors import UsageError
from nas.execution import Execution
from nas.run.folder import Run
from nas.run.spec import Spec

COMMANDS: dict[str, Continue] = {
    "search": continue_search,
    "derive": continue_deriving,
    "retrain": continue_retraining,
    "tune": continue_tuning,
    "study": continue_study,
}


def resume(run: Run, execution: Execution = Execution(), ops: Path | None = None) -> None:  # noqa: B008 - frozen
    """Goes on with an interrupted run; a finished one is left as it is.

    Args:
        execution: where a field is empty, what the run was begun with.
        ops: the file of the user's own operations, if the run has any.

    Raises:
        UsageError: the run cannot be resumed, or its operations' file is missing or another one.
        Interrupted: on a signal, saved.
    """
    spec = run.spec(Spec)
    if spec.command not in COMMANDS:
        raise UsageError(f"run {run.path}: a {spec.command} cannot be resumed")
    plugins.allow(spec.ops, ops)
    carry_out(run, execution.going_on(spec.execution), COMMANDS[spec.command])
