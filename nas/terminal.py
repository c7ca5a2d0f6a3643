"""The terminal, by way of rich: what it shows is text and never markup, as much of it was typed by users.

Only here do we make what would read markup; a test holds all other modules to it.
"""

from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


def console(*, stderr: bool = False, file: IO[str] | None = None, width: int | None = None) -> Console:
    """A console that prints strings as they are."""
    return Console(stderr=stderr, file=file, width=width, markup=False, emoji=False, highlight=False)


def bars(console: Console, *, hidden: bool = False) -> Progress:
    """Bars with what they are of, a percentage and the time left."""
    title = TextColumn("{task.description}", markup=False)
    return Progress(title, BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), console=console, disable=hidden)
