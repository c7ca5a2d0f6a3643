"""What is seen of a tuning run: a live table of the best per study on a terminal, one plain line a trial elsewhere."""

import sys
from collections.abc import Sequence
from time import monotonic
from typing import Self

from rich.live import Live
from rich.text import Text

from nas.tables import SHARE, TEXT, Table
from nas.terminal import console
from nas.train.preflight import span
from nas.tuning.results import Outcome
from nas.tuning.study import Study


class Progress:
    """The progress of studies, with trainings beside them."""

    def __init__(self, studies: Sequence[Study]) -> None:
        self.studies = studies
        screen = console(stderr=True)
        self._live = Live(console=screen, auto_refresh=False) if screen.is_terminal else None
        self._width = screen.width
        self._started, self._done = monotonic(), 0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def done(self, name: str, study: Study | None, outcome: Outcome) -> None:
        """Shows that a training has ended."""
        self._done += 1
        if self._live:
            self._live.update(self._table(), refresh=True)
        else:
            trials = f"{len(study.trained)}/{study.size}  " if study else ""
            print(f"{name}  {describe(outcome)}  {trials}{self._time_left()}", file=sys.stderr, flush=True)

    def _time_left(self) -> str:
        """By the mean of what is done."""
        left = sum(study.size - study.done for study in self.studies if not study.exhausted)
        return f"{span(left * (monotonic() - self._started) / self._done)} left" if left else ""

    def _table(self) -> Text:
        counts = dict.fromkeys(("study", "trials", "stopped", "rejected", "failed"), TEXT)
        columns = {**counts, "best": SHARE, "of": TEXT}
        rows = []
        for study in self.studies:
            best = max(study.of_state("COMPLETE"), key=lambda trial: trial.values[0], default=None)
            trained, stopped = f"{len(study.trained)}/{study.size}", len(study.of_state("PRUNED"))
            values = " ".join(f"{name} {value}" for name, value in best.params.items()) if best else None
            rejected, failed = sum(study.rejections.values()), sum(study.failures.values()) or None
            rows.append((study.name, trained, stopped, rejected, failed, best and best.values[0], values))
        return Text(f"{Table('', columns, rows).text(self._width)}\n{self._time_left()}")


def describe(outcome: Outcome) -> str:
    """A training's outcome in a few words."""
    result = outcome.result
    if outcome.failure:
        return f"failed: {outcome.failure}"
    if result is None:
        return f"stopped after epoch {outcome.epochs}"
    accuracy = (
        f"valid {result.valid_accuracy:.2%}" if result.test_accuracy is None else f"test {result.test_accuracy:.2%}"
    )
    latency = f"  {result.latency_ms:.2f} ms" if result.latency_ms is not None else ""
    return f"{accuracy}  {result.madds / 1e6:.2f}M MAdds{latency}  {result.seconds:.0f} s"
