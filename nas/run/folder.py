"""Run folders: what a command is to do, what it did, what came out. Never overwritten."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from nas.errors import UsageError, nearest
from nas.files import write, write_json
from nas.run import names
from nas.run.documents import as_json, parse, read
from nas.run.environment import environment
from nas.run.log import Epoch
from nas.run.spec import Spec

AnySpec = TypeVar("AnySpec", bound=Spec)
AnyEpoch = TypeVar("AnyEpoch", bound=Epoch)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Run:
    """One run folder: ``settings.json`` says what is to be done; a finished run has ``result.json``.

    Args:
        path: the folder.
        copy: copies the folder to where it is kept, if that is not here.
    """

    path: Path
    copy: Callable[[Path], None] | None = None

    @property
    def command(self) -> str:
        """The command that made it."""
        return self.spec(Spec).command

    def spec(self, kind: type[AnySpec]) -> AnySpec:
        """What the run is to do.

        Raises:
            UsageError: settings.json is not there, damaged, or another command's.
        """
        return read(self.path / names.SETTINGS, kind)

    @property
    def finished(self) -> bool:
        """Whether there is a result."""
        return (self.path / names.RESULT).is_file()

    def result(self, kind: type[Result]) -> Result:
        """What the run came to.

        Raises:
            UsageError: result.json is not there, damaged, or of another kind.
        """
        return read(self.path / names.RESULT, kind)

    @property
    def children(self) -> list["Run"]:
        """Runs inside this one (one a seed), by name."""
        return every(self.path)

    def child(self, name: str, spec: Spec) -> "Run":
        """The child of that name, made if it is not there."""
        path = self.path / name
        if not (path / names.SETTINGS).is_file():
            _fill(path, spec)
        return Run(path)

    def write(self, name: str, content: Any) -> Path:
        """Writes a file of the run: text or bytes as they are, dicts, lists and dataclasses as JSON."""
        path = self.path / name
        if isinstance(content, str | bytes):
            write(path, content)
        else:
            write_json(path, content if isinstance(content, dict | list) else as_json(content))
        return path

    def publish(self) -> None:
        """Copies the folder to where it is kept, if that is not here."""
        if self.copy:
            self.copy(self.path)

    def log(self, kind: type[AnyEpoch], name: str = names.LOG) -> list[AnyEpoch]:
        """The lines of log.jsonl, or of another of its form; from a torn one on they are left out."""
        path = self.path / name
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        entries = []
        for line in lines:
            try:
                entries.append(parse(line, kind, str(path)))
            except UsageError:
                break
        return entries

    def append_log(self, entry: Epoch) -> None:
        """Adds a line to log.jsonl."""
        self._append(names.LOG, as_json(entry))

    def append_event(self, event: dict[str, str | int | float]) -> None:
        """Adds a line to events.jsonl, which is never cut: each start, resumption and end by an error."""
        self._append(names.EVENTS, event)

    def _append(self, name: str, line: dict[str, Any]) -> None:
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise UsageError(f"cannot write {self.path / name}: {error.strerror or error}") from None

    def cut_log(self, epoch: int, kind: type[Epoch]) -> None:
        """Drops the lines of this epoch and later ones, which will be done again."""
        lines = [json.dumps(as_json(entry)) + "\n" for entry in self.log(kind) if entry.epoch < epoch]
        self.write(names.LOG, "".join(lines))

    def abandon(self, epoch: int, kind: type[Epoch]) -> None:
        """Moves the lines of this epoch and later ones to abandoned.jsonl."""
        for entry in self.log(kind):
            if entry.epoch >= epoch:
                self._append(names.ABANDONED, as_json(entry))
        self.cut_log(epoch, kind)


def runs_root(given: Path | None = None) -> Path:
    """``--runs``, then ``NAS_RUNS``, then ./runs."""
    return given or Path(os.environ.get("NAS_RUNS") or "runs")


def create(root: Path, label: str, spec: Spec) -> Run:
    """A new run folder ``<date>-<time>-<label>``; a colliding name gets -2, -3, …

    Args:
        label: ``<command>-<space>-s<seed>``.

    Raises:
        UsageError: the folder cannot be made.
    """
    safe = "".join(char if char.isalnum() or char in "+=.:,_-" else "_" for char in label)
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{safe}"[:150]
    for attempt in range(1, 1000):
        path = root / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(f"cannot make run folder {path}: {error.strerror or error}") from None
        _fill(path, spec)
        return Run(path)
    raise UsageError(f"cannot make run folder {root / stem}: a thousand of that name exist")


def _fill(path: Path, spec: Spec) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make run folder {path}: {error.strerror or error}") from None
    write_json(path / names.ENVIRONMENT, environment())
    write_json(path / names.SETTINGS, as_json(spec))


def find(name: str, root: Path) -> Run:
    """The run at a path, of a name under ``root``, or ``last``: the newest there.

    Raises:
        UsageError: there is none.
    """
    known = [run.path.name for run in every(root)]
    if name == "last":
        if not known:
            raise UsageError(f"there are no runs in {root}")
        return max(every(root), key=lambda run: (run.path / names.SETTINGS).stat().st_mtime_ns)
    for path in (Path(name), root / name):
        if (path / names.SETTINGS).is_file():
            return Run(path)
    if Path(name).is_dir():
        raise UsageError(f"{name} is not a run folder: it has no {names.SETTINGS}")
    raise UsageError(f'no run "{name}": {nearest(name, known) if known else f"there are no runs in {root}"}')


def every(root: Path) -> list[Run]:
    """All runs of a folder, by name."""
    return sorted((Run(path.parent) for path in root.glob(f"*/{names.SETTINGS}")), key=lambda run: run.path)
