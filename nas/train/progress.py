"""Progress of a long loop: a bar with the time left on a terminal, plain lines elsewhere."""

import sys

from rich.cells import cell_len

from nas.terminal import bars, console


class Bar:
    """A context that shows a bar on stderr, if that is a terminal.

    Args:
        title: shown beside it.
        total, completed: steps in all, steps done.
        quiet: shows nothing at all, lines neither.
    """

    def __init__(self, title: str, *, total: int, completed: int, quiet: bool) -> None:
        self.quiet = quiet
        screen = console(stderr=True)
        self._progress = bars(screen, hidden=quiet or not screen.is_terminal)
        self._task = self._progress.add_task(title, total=total, completed=completed)

    def start(self) -> None:
        """Shows the bar."""
        self._progress.start()

    def stop(self) -> None:
        """Leaves the bar as it is."""
        self._progress.stop()

    def move(self, completed: int) -> None:
        """Moves the bar to that many steps."""
        self._progress.update(self._task, completed=completed)

    def say(self, line: str) -> None:
        """Prints a line, above the bar if there is one."""
        if self.quiet:
            return
        if self._progress.disable:
            print(line, file=sys.stderr, flush=True)
        else:
            fits = cell_len(line) <= self._progress.console.width
            self._progress.print(line if fits else line.replace("  ", "\n  ", 1))
