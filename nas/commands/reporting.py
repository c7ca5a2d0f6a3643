"""A run's report as one HTML file."""

from collections.abc import Sequence
from pathlib import Path

from nas.commands.comparing import entries_of
from nas.errors import UsageError
from nas.pages.page import write_page
from nas.pages.records import ReportSpec
from nas.run import names
from nas.run.folder import Run


def report(runs: Sequence[Run], out: Path | None = None) -> Path:
    """Writes the report of runs, going on or finished; several are drawn over one another.

    Args:
        out: the file; None: ``report.html`` in the first run's folder.

    Returns:
        the file.

    Raises:
        UsageError: a run named twice or damaged; the file cannot be written.
    """
    paths = [run.path.resolve() for run in runs]
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise UsageError(f"run {twice[0]} is named twice")
    path = out or runs[0].path / names.REPORT
    write_page(runs, path, [entry for run in runs if has_claims(run) for entry in entries_of(run)])
    return path


def has_claims(run: Run) -> bool:
    """Whether there are published claims of what a run measures."""
    trained = run.finished and run.command in ("retrain", "study")
    return trained and run.spec(ReportSpec).settings.data == "cifar10"
