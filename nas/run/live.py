"""One live table of many runs, read from their folders: it shows trainings wherever they take place."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from nas.run.folder import Run
from nas.run.log import Epoch
from nas.run.results import TrainResult
from nas.run.spec import TrainSpec
from nas.tables import SHARE, TEXT, Table

WHOLE = "{:.0f}".format
shown: ContextVar[bool] = ContextVar("shown", default=False)
"""Whether a table is on the terminal now, beside which the runs themselves show nothing."""


@contextmanager
def watching(children: Sequence[Run]) -> Iterator[None]:
    """Shows the table on a terminal; elsewhere nothing, as the runs then print their own lines."""
    from rich.live import Live
    from rich.text import Text

    from nas.terminal import console

    screen = console(stderr=True)
    if not screen.is_terminal:
        yield
        return
    token = shown.set(True)
    try:
        with Live(
            get_renderable=lambda: Text(progress(children).text(screen.width)), console=screen, refresh_per_second=1
        ):
            yield
    finally:
        shown.reset(token)


def progress(children: Sequence[Run]) -> Table:
    """A table with a row a training: its epochs, its loss and accuracies so far, its time and what is left of it."""
    shares = dict.fromkeys(("train", "valid", "test"), SHARE)
    columns = {"training": TEXT, "epoch": TEXT, "loss": "{:.4f}".format, **shares, "seconds": WHOLE, "left": WHOLE}
    rows = []
    for child in children:
        log, epochs = child.log(Epoch), child.spec(TrainSpec).settings.epochs
        last, seconds = (log[-1] if log else None), sum(entry.seconds for entry in log)
        test = child.result(TrainResult).test_accuracy if child.finished else None
        figures = (last.train_loss, last.train_accuracy, last.valid_accuracy) if last else (None, None, None)
        times = (seconds, seconds / len(log) * (epochs - len(log))) if log else (None, None)
        rows.append((child.path.name, f"{len(log)}/{epochs}" if log else None, *figures, test, *times))
    return Table("", columns, rows)
