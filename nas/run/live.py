"""One live table of many runs, read from their folders: it shows trainings wherever they take place."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from nas.run.folder import Run
from nas.run.log import Epoch
from nas.run.results import TrainResult
from nas.run.spec import TrainSpec

if TYPE_CHECKING:
    from rich.table import Table

shown: ContextVar[bool] = ContextVar("shown", default=False)
"""Whether a table is on the terminal now, beside which the runs themselves show nothing."""


@contextmanager
def watching(children: Sequence[Run]) -> Iterator[None]:
    """Shows the table on a terminal; elsewhere nothing, as the runs then print their own lines."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    token = shown.set(True)
    try:
        with Live(get_renderable=lambda: progress(children), console=console, refresh_per_second=1):
            yield
    finally:
        shown.reset(token)


def progress(children: Sequence[Run]) -> "Table":
    """A table with a row a training: its epochs, its accuracies so far, its time."""
    from rich.table import Table

    table = Table("training", "epoch", "train", "valid", "test", "seconds", box=None)
    for child in children:
        log, epochs = child.log(Epoch), child.spec(TrainSpec).settings.epochs
        accuracies: list[float | None] = [log[-1].train_accuracy, log[-1].valid_accuracy] if log else [None, None]
        accuracies.append(child.result(TrainResult).test_accuracy if child.finished else None)
        table.add_row(
            child.path.name,
            f"{len(log)}/{epochs}" if log else "",
            *("" if value is None else f"{value:.2%}" for value in accuracies),
            f"{sum(entry.seconds for entry in log):.0f}" if log else "",
        )
    return table
