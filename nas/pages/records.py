"""A run as a page reads it, going on or finished, of any command: its logs and those of the runs inside of it."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic.dataclasses import dataclass as document

from nas.errors import UsageError
from nas.files import read_json, read_lines, read_text
from nas.run import names
from nas.run.documents import DOCUMENT, parse
from nas.run.environment import Environment
from nas.run.folder import Run
from nas.run.log import Epoch, Event, SearchEpoch
from nas.run.results import Figures
from nas.run.spec import CommonSettings, OutlineSpec, TrainSpec

KINDS: dict[str, type[Epoch]] = {"search": SearchEpoch}
"""Of log entries, by command; others are plain epochs."""


@document(frozen=True, kw_only=True, config=DOCUMENT)
class ReportSpec(OutlineSpec):
    """What a run of any command is to do; a study has no settings of one training."""

    settings: CommonSettings = CommonSettings()


@dataclass(frozen=True)
class Record:
    """A run folder.

    Args:
        run: the folder.
        name: what the page calls it.
    """

    run: Run
    name: str

    @cached_property
    def spec(self) -> ReportSpec:
        """What it is to do."""
        return self.run.spec(ReportSpec)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All of settings.json, for the page to list."""
        content = read_json(self.run.path / names.SETTINGS)
        return content if isinstance(content, dict) else {}

    @cached_property
    def environment(self) -> Environment:
        """What it was begun on."""
        path = self.run.path / names.ENVIRONMENT
        return parse(read_text(path), Environment, str(path)) if path.is_file() else Environment()

    @cached_property
    def log(self) -> list[Epoch]:
        """Its own epochs.

        Raises:
            UsageError: a line is damaged that is not the last, or a line is missing, or there twice.
        """
        log, path = list(self.run.log(KINDS.get(self.spec.command, Epoch))), self.run.path / names.LOG
        wrong = next((place for place, entry in enumerate(log) if entry.epoch != place), len(log))
        if wrong < len(read_lines(path)) - 1:
            raise UsageError(f"{path}: line {wrong + 1} is damaged, or is not that of epoch {wrong}")
        return log

    @cached_property
    def searches(self) -> list[SearchEpoch]:
        """Its own epochs, of a search."""
        return [entry for entry in self.log if isinstance(entry, SearchEpoch)]

    @cached_property
    def figures(self) -> Figures:
        """Its main figures; empty until it is finished."""
        return self.run.result(Figures) if self.run.finished else Figures()

    @cached_property
    def events(self) -> list[Event]:
        """Its starts and resumptions."""
        path = self.run.path / names.EVENTS
        events = []
        for line in read_lines(path):
            try:
                events.append(parse(line, Event, str(path)))
            except UsageError:  # torn
                break
        return events

    @cached_property
    def children(self) -> list["Record"]:
        """All runs inside of it that have a log of their own, those of a tuning's trials and a study's too."""
        folders = sorted(path.parent for path in self.run.path.rglob(names.SETTINGS) if path.parent != self.run.path)
        records = [Record(Run(folder), str(folder.relative_to(self.run.path))) for folder in folders]
        return [record for record in records if not record.spec.seeds]

    @property
    def leaves(self) -> list["Record"]:
        """The runs that have epochs: itself, or those inside of it."""
        return self.children or [self]

    @property
    def seconds(self) -> float:
        """Of its own epochs, those that were undone among them."""
        return self.run.seconds

    @property
    def openings(self) -> int:
        """How often its test set was read."""
        return self.run.result(Openings).test_openings if self.run.finished else 0

    def expected(self) -> int | None:
        """How many runs there will be inside of it; None: none, or nobody knows."""
        if not self.spec.seeds or self.spec.command not in ("search", "retrain"):
            return None
        networks = self.run.spec(TrainSpec).networks if self.spec.command == "retrain" else None
        return len(self.spec.seeds) * (len(networks or ()) or 1) * (2 if self.spec.command == "search" else 1)

    def last_sign(self) -> str:
        """When something was last logged, as local time; empty: never."""
        logs = [path.stat().st_mtime for path in self.run.path.rglob(names.LOG)]
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(max(logs))) if logs else ""


@document(frozen=True, kw_only=True, config=DOCUMENT)
class Openings:
    """Of a result, how often the test set was read; the results of most commands do not read it."""

    test_openings: int = 0


def walk(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested settings with their dotted names; what has no value is left out."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from walk(value, f"{prefix}{name}.")
        elif value is not None and value != "":
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)


def record_of(run: Run) -> Record:
    """The record of a run folder."""
    return Record(run, run.path.resolve().name)
