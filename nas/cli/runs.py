"""nas runs"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import common

if TYPE_CHECKING:
    from nas.run.folder import Run


@dataclass(frozen=True)
class Row:
    """A run and its main figures; a damaged one says so in its state."""

    run: str
    command: str
    data: str
    state: str
    test_accuracy: float | None = None
    valid_accuracy: float | None = None
    params: int | None = None
    madds: int | None = None


def runs(
    ledger: Annotated[
        bool, typer.Option("--ledger", help="What all of them cost, the failed and abandoned ones too.")
    ] = False,
    runs: common.Runs = None,
    json: common.Json = False,
) -> None:
    """List the runs there are, with their main figures."""
    if ledger:
        print_ledger(runs, json)
        return
    from rich.console import Console
    from rich.table import Table

    from nas.run.folder import every, runs_root

    rows = [row_of(run) for run in every(runs_root(runs))]
    if json:
        common.print_json([asdict(row) for row in rows])
        return
    if not rows:
        print(f"no runs in {runs_root(runs)}")
        return
    table = Table("run", "command", "data", "state", "accuracy", "params", "MAdds", box=None)
    for row in rows:
        tested = row.test_accuracy is not None
        accuracy = row.test_accuracy if tested else row.valid_accuracy
        table.add_row(
            row.run,
            row.command,
            row.data,
            row.state,
            f"{accuracy:.2%} {'test' if tested else 'valid'}" if accuracy is not None else "",
            f"{row.params:,}" if row.params else "",
            f"{row.madds / 1e6:.1f}M" if row.madds else "",
        )
    Console(width=None if Console().is_terminal else 200).print(table)


def print_ledger(runs: Path | None, json: bool) -> None:
    """Prints what was spent in a folder of run folders."""
    from nas.reports.ledger import ledger, sentence
    from nas.run.documents import as_json
    from nas.run.folder import runs_root

    entries = ledger([runs_root(runs)])
    common.print_json(as_json(entries)) if json else print(sentence(entries))


def row_of(run: "Run") -> Row:
    """A run's row."""
    from nas.errors import UsageError
    from nas.run.log import Epoch
    from nas.run.results import Figures
    from nas.run.spec import OutlineSpec

    try:
        spec = run.spec(OutlineSpec)
        figures, log = run.result(Figures) if run.finished else Figures(), run.log(Epoch)
    except UsageError as error:
        return Row(run.path.name, "", "", f"damaged: {error}")
    state = "finished" if run.finished else f"epoch {len(log)}/{spec.settings.epochs}"
    valid = figures.valid_accuracy if run.finished or not log else log[-1].valid_accuracy
    head = (run.path.name, spec.command, spec.settings.data, state)
    return Row(*head, figures.test_accuracy, valid, figures.params, figures.madds)
