"""How ``nas tune`` and ``nas show`` print a tuning run."""

from typing import TYPE_CHECKING

from nas.cli import common
from nas.run.hints import on
from nas.run.names import ARCHITECTURE, FRONT
from nas.tuning.front import label, winners
from nas.tuning.results import TuneResult

if TYPE_CHECKING:
    from nas.run.folder import Run


def print_run(run: "Run") -> None:
    """Prints the outcome of a finished tuning, for people."""
    result = run.result(TuneResult)
    common.print_outcome(run)
    print(f"run      {run.path}\npicture  {run.path / FRONT}")
    for winner in winners(result.best):
        file = run.path / "winners" / label(winner) / ARCHITECTURE
        print(f"retrain  {on(run, 'retrain', file)}")
