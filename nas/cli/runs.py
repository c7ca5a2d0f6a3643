"""nas runs"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from nas.cli import common
from nas.errors import UsageError, nearest
from nas.tables import millions

if TYPE_CHECKING:
    from nas.run.folder import Run


@dataclass(frozen=True)
class Row:
    """A run and its main figures; a damaged one says so in its state.

    Args:
        state: finished, running or interrupted.
        progress: of one that is not finished.
        bytes: on disk; None: not asked for.
    """

    run: str
    command: str
    data: str
    state: str
    progress: str = ""
    test_accuracy: float | None = None
    valid_accuracy: float | None = None
    params: int | None = None
    madds: int | None = None
    bytes: int | None = None

    @property
    def cells(self) -> list[str]:
        """For people."""
        tested = self.test_accuracy is not None
        accuracy = self.test_accuracy if tested else self.valid_accuracy
        return [
            self.run,
            self.command,
            self.data,
            f"{self.state} {self.progress}".strip(),
            f"{accuracy:.2%} {'test' if tested else 'held-out'}" if accuracy is not None else "",
            f"{self.params:,} params" if self.params else "",
            f"{millions(self.madds)} MAdds" if self.madds else "",
            decimal(self.bytes) if self.bytes is not None else "",
        ]


def runs(
    command: Annotated[str | None, typer.Option(help="Only those of a command: search, retrain, …")] = None,
    data: Annotated[str | None, typer.Option(help="Only those on this data.")] = None,
    state: Annotated[str | None, typer.Option(help="Only those finished, running or interrupted.")] = None,
    size: Annotated[bool, typer.Option("--size", help="Tell what they take on the disk.")] = False,
    rename: Annotated[tuple[str, str] | None, typer.Option(metavar="RUN NAME", help="Give a run another name.")] = None,
    delete: Annotated[list[str] | None, typer.Option(metavar="RUN", help="Delete a run, after a question.")] = None,
    yes: common.Yes = False,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="What all of them cost, the failed and abandoned ones too.")
    ] = False,
    runs: common.Runs = None,
    json: common.Json = False,
) -> None:
    """List the runs there are, with their main figures; rename or delete some."""
    from nas.commands import housekeeping
    from nas.run.folder import every, find, runs_root
    from nas.run.state import STATES, size_of

    root = runs_root(runs)
    if state not in (None, *STATES):
        raise UsageError(f'--state "{state}": {nearest(state or "", list(STATES))}')
    if rename:
        print(housekeeping.rename(find(rename[0], root), rename[1]).path)
    elif delete:
        for run in [find(name, root) for name in delete]:
            if yes or typer.confirm(f"delete {run.path} ({decimal(size_of(run.path))})?"):
                housekeeping.delete(run)
    elif ledger:
        print_ledger(runs, json)
    else:
        rows = [row_of(run, size) for run in every(root)]
        wanted = {"command": command, "data": data, "state": state}
        asked = {name: value for name, value in wanted.items() if value}
        rows = [row for row in rows if all(getattr(row, name) == value for name, value in asked.items())]
        common.print_json([asdict(row) for row in rows]) if json else print_rows(rows, root, asked)


def print_rows(rows: list[Row], root: Path, asked: dict[str, str]) -> None:
    """Prints a line a run, or two where the terminal is narrow: names stay whole, to be copied."""
    from rich.cells import cell_len

    if not rows:
        print(f"no runs in {root}{''.join(f', {name} {value}' for name, value in asked.items())}")
        return
    cells = [row.cells for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    if sum(widths) + 2 * len(widths) <= common.width():
        for line in cells:
            padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)]
            print("  ".join(padded).rstrip())
        return
    for name, *rest in cells:
        print(f"{name}\n    {', '.join(filter(None, rest))}")


def print_ledger(runs: Path | None, json: bool) -> None:
    """Prints what was spent in a folder of run folders."""
    from nas.reports.ledger import ledger, sentence
    from nas.run.documents import as_json
    from nas.run.folder import runs_root

    entries = ledger([runs_root(runs)])
    common.print_json(as_json(entries)) if json else print(sentence(entries))


def row_of(run: "Run", size: bool = False) -> Row:
    """A run's row."""
    from nas.run.log import Epoch
    from nas.run.names import RESULT, SETTINGS
    from nas.run.results import Figures
    from nas.run.spec import OutlineSpec
    from nas.run.state import size_of, state_of

    bytes = size_of(run.path) if size else None
    try:
        spec = run.spec(OutlineSpec)
        figures, log = (run.result(Figures), []) if run.finished else (Figures(), run.log(Epoch))
    except UsageError as error:
        return Row(run.path.name, "", "", f"damaged: {error}", bytes=bytes)
    runs = len(list(run.path.rglob(SETTINGS))) - 1 if not (log or run.finished) else 0
    inside = f"with {len(list(run.path.rglob(RESULT)))} of {runs} runs inside finished" if runs else ""
    return Row(
        run.path.name,
        spec.command,
        spec.settings.data,
        state_of(run),
        "" if run.finished else f"at epoch {len(log)}/{spec.settings.epochs}" if log else inside,
        figures.test_accuracy,
        figures.valid_accuracy if run.finished or not log else log[-1].valid_accuracy,
        figures.params,
        figures.madds,
        bytes,
    )
