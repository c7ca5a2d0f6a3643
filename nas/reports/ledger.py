"""The ledger: every search and training in some folders, the failed and abandoned ones too, and what they cost."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic.dataclasses import dataclass

from nas.errors import UsageError
from nas.files import read_lines
from nas.run import names
from nas.run.documents import DOCUMENT, parse
from nas.run.folder import Run, around
from nas.run.log import Event
from nas.run.results import TrainResult
from nas.run.spec import Spec

DRIVERS = ("tune", "study")
"""Commands whose runs train nothing themselves; those inside of them do, as inside of a run of several seeds."""
ENDS = {"Interrupted": "interrupted", "Stop": "stopped early"}
"""What a run is called that ended by an exception of that name; by another one it failed."""


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Count:
    """How many runs of a command are in a state: finished, stopped early, interrupted, failed, unfinished, unreadable.

    ``unfinished`` is what was killed, or goes on now.
    """

    command: str
    state: str
    runs: int


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Ledger:
    """What was spent, whatever came of it. Folders that were deleted are not in it.

    Args:
        counts: by command and state.
        device_hours: of all epochs that were written down.
        test_openings: how often a test set was read.
    """

    counts: tuple[Count, ...]
    device_hours: float
    test_openings: int


def ledger(folders: Iterable[Path]) -> Ledger:
    """The ledger of all runs in these folders, the folders themselves among them; each run counts once."""
    counts: dict[tuple[str, str], int] = {}
    seconds, openings = 0.0, 0
    for run in runs_in(folders):
        try:
            spec = run.spec(Spec)
        except UsageError:
            place = ("unknown", "unreadable")
        else:
            if spec.seeds or spec.command in DRIVERS:
                continue
            place = (spec.command, state_of(run))
            openings += openings_of(run)
        seconds += run.seconds
        counts[place] = counts.get(place, 0) + 1
    every = (Count(command=command, state=state, runs=count) for (command, state), count in sorted(counts.items()))
    return Ledger(counts=tuple(every), device_hours=round(seconds / 3600, 4), test_openings=openings)


def runs_in(folders: Iterable[Path]) -> Iterator[Run]:
    """All runs at any depth, each once."""
    paths = {path.parent.resolve() for folder in folders for path in folder.rglob(names.SETTINGS)}
    return map(Run, sorted(paths))


def state_of(run: Run) -> str:
    """How far a run is, or how it ended: see :class:`Count`."""
    if run.finished:
        return "finished"
    try:
        last = [parse(line, Event, "") for line in read_lines(run.path / names.EVENTS)[-1:]]
    except UsageError:  # torn as the process was killed
        last = []
    if last and last[0].event == "ended":
        return ENDS.get(last[0].by, "failed")
    return "stopped early" if any(one.finished for one in around(run.path)) else "unfinished"


def openings_of(run: Run) -> int:
    """How often a training has read the test set."""
    try:
        return run.result(TrainResult).test_openings if run.finished else 0
    except UsageError:  # a search's result, or a damaged one
        return 0


def sentence(entry: Ledger) -> str:
    """The ledger in a line."""
    parts = [f"{count.runs} {count.command} {count.state}" for count in entry.counts]
    hours = f"{entry.device_hours:.3g} device hours"
    return f"{', '.join(parts) or 'no runs'}; {hours}; test set opened {entry.test_openings} times"
