"""What a run has cost so far, by stage, and how far it is."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.pages.records import Record
from nas.pages.trainings import rows_of

TITLES = {
    "search": "search",
    "rank": "short training that ranks a cell",
    "retrain": "training",
    "trial": "trial",
    "derive": "derivation",
}
FINALS = "finals"
FOLDERS = {"published": "training of a published setting", FINALS: "last training of a winner"}
"""Of a tuning: what the trainings in these folders are."""


@dataclass(frozen=True)
class Stage:
    """Runs of one kind.

    Args:
        begun, finished: how many there are; ended early is what is neither finished nor going on any more.
        seconds: of all their epochs, those of unfinished runs too.
        resumptions: how often one of them was begun again.
        openings: how often they read the test set.
    """

    title: str
    begun: int
    finished: int
    seconds: float
    resumptions: int
    openings: int


def stages(record: Record) -> list[Stage]:
    """The stages of a run, in the order in which they began."""
    groups: dict[str, list[Record]] = {}
    for leaf in record.leaves:
        folder = leaf.name.partition("/")[0]
        groups.setdefault(FOLDERS.get(folder) or TITLES.get(leaf.spec.command, leaf.spec.command), []).append(leaf)
    return [stage(title, group) for title, group in groups.items()]


def stage(title: str, group: Sequence[Record]) -> Stage:
    """A stage in figures."""
    return Stage(
        title,
        begun=len(group),
        finished=sum(one.run.finished for one in group),
        seconds=sum(one.seconds for one in group),
        resumptions=sum(event.event == "resumed" for one in group for event in one.events),
        openings=sum(one.openings for one in group),
    )


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Args:
        finished: whether there is a result.
        share: done, from 0 to 1; None: nobody knows.
        line: the same in words.
    """

    finished: bool
    share: float | None
    line: str


def progress(record: Record) -> Progress:
    """How far a run is, by its folder alone: whether a process is still at it, it does not say."""
    if record.run.finished:
        return Progress(True, 1.0, "finished")
    sign = record.last_sign()
    when = f"last epoch logged {sign}" if sign else "no epoch logged yet"
    if not record.children and record.spec.settings.epochs:
        done, total = len(record.log), record.spec.settings.epochs
        left = record.seconds / done * (total - done) if done else 0.0
        rest = f", about {duration(left)} of work left" if done else ""
        return Progress(False, done / total, f"epoch {done} of {total}{rest}; {when}")
    finished = sum(child.run.finished for child in record.children)
    expected = sum(row.status != "left out" for row in rows_of(record)) or record.expected()
    if expected:
        return Progress(False, finished / expected, f"{finished} of {expected} runs finished; {when}")
    return Progress(False, None, f"{finished} runs finished of {len(record.children)} begun so far; {when}")


def duration(seconds: float) -> str:
    """Seconds as a person says them: 48 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
