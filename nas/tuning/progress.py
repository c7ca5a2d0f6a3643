"""What is seen of a tuning run: a live table of the best per study on a terminal, one plain line a trial elsewhere."""

import sys
from collections.abc import Mapping, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from nas.train.preflight import span
from nas.tuning.study import Contest


class Progress:
    """Args:
    contests: the studies.
    extras: trainings beside them.
    """

    def __init__(self, contests: Sequence[Contest], extras: int) -> None:
        self.contests, self.extras = contests, extras
        console = Console(stderr=True)
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._started, self._done = monotonic(), 0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def done(self, key: str, contest: Contest | None, result: Mapping[str, Any]) -> None:
        """A training has ended."""
        self._done += 1
        if self._live:
            self._live.update(self._table(), refresh=True)
        else:
            print(f"{key}  {describe(result)}  {self._left(contest)}", file=sys.stderr, flush=True)

    def _left(self, contest: Contest | None) -> str:
        trials = f"{len(contest.trained)}/{contest.trials}  " if contest else ""
        return trials + self.time_left()

    def time_left(self) -> str:
        """By the mean of what is done."""
        left = sum(one.trials - len(one.trained) for one in self.contests if not one.exhausted)
        return f"{span(left * (monotonic() - self._started) / self._done)} left" if left and self._done else ""

    def _table(self) -> Table:
        table = Table("study", "trials", "stopped", "rejected", "best", "of", box=None, caption=self.time_left())
        for contest in self.contests:
            complete = contest.of_state("COMPLETE")
            best = max(complete, key=lambda trial: trial.values[0], default=None)
            table.add_row(
                contest.name,
                f"{len(contest.trained)}/{contest.trials}",
                str(len(contest.of_state("PRUNED"))),
                str(sum(contest.rejected.values())),
                f"{best.values[0]:.2%}" if best else "",
                " ".join(f"{name} {value}" for name, value in best.params.items()) if best else "",
            )
        return table


def describe(result: Mapping[str, Any]) -> str:
    """A training's outcome in a few words."""
    if "stopped" in result:
        return f"stopped after epoch {result['stopped'] + 1}"
    kind = "test" if result.get("test_accuracy") is not None else "valid"
    latency = f"  {result['latency_ms']:.2f} ms" if "latency_ms" in result else ""
    accuracy, cost = f"{result[f'{kind}_accuracy']:.2%}", f"{result['madds'] / 1e6:.2f}M MAdds"
    return f"{kind} {accuracy}  {cost}{latency}  {result['seconds']:.0f} s"
