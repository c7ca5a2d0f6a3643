"""Run folders: what a command is to do, what it did, what came out. Never overwritten."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from nas.errors import UsageError, nearest
from nas.files import json_text, read_json, read_lines, write
from nas.run import names
from nas.run.documents import as_json, parse, read
from nas.run.environment import Environment, environment
from nas.run.log import Epoch
from nas.run.spec import Spec

AnySpec = TypeVar("AnySpec", bound=Spec)
AnyEpoch = TypeVar("AnyEpoch", bound=Epoch)
Result = TypeVar("Result")
DIGEST = "digest"
"""What result.json calls the SHA-256 of settings.json and of all else in it; older results have none."""
Documents = Mapping[str, Any]
"""Files of a run, as :meth:`Run.write` takes them, by name."""


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
        return parse(self._result_text(), kind, str(self.path / names.RESULT))

    @property
    def result_document(self) -> dict[str, Any]:
        """The content of result.json, but for its digest; errors as of :meth:`result`."""
        document: dict[str, Any] = json.loads(self._result_text())
        return document

    def _result_text(self) -> str:
        path = self.path / names.RESULT
        document = read_json(path)
        if not isinstance(document, dict):
            raise UsageError(f"{path}: it must hold a table")
        digest, text = document.pop(DIGEST, None), json.dumps(document)
        if digest not in (None, self._digest_of(text)):
            raise UsageError(f"{path} is damaged, or not of the {names.SETTINGS} beside it: its digest is another one")
        return text

    def finish(self, result: Any) -> None:
        """Writes result.json, which bears a digest of what it says and of what was to be done."""
        document = as_json(result)
        self.write(names.RESULT, {**document, DIGEST: self._digest_of(json.dumps(document))})

    def _digest_of(self, text: str) -> str:
        settings = self.path / names.SETTINGS
        task = settings.read_bytes() if settings.is_file() else b""
        return hashlib.sha256(task + text.encode()).hexdigest()

    @property
    def children(self) -> list["Run"]:
        """Runs inside this one (one a seed), by name."""
        return every(self.path)

    def child(self, name: str, spec: Spec, documents: Documents = {}) -> "Run":  # noqa: B006 - not changed
        """The child of that name, made with these documents if it is not there."""
        child = Run(self.path / name)
        if not (child.path / names.SETTINGS).is_file() and _make(child.path, spec, documents) is None:
            _fill(child, spec, documents)
        return child

    def write(self, name: str, content: Any) -> Path:
        """Writes a file of the run: text or bytes as they are, dicts, lists and dataclasses as JSON."""
        write(path := self.path / name, _bytes(content))
        return path

    def check_documents(self) -> None:
        """Raises UsageError where the run's documents are not those that it was begun with, as far as that is known."""
        try:
            noted = read(self.path / names.ENVIRONMENT, Environment).documents
        except UsageError:  # it is damaged, and what it would say is not known
            return
        for name, digest in noted.items():
            path = self.path / name
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise UsageError(f"{path} is not what this run was begun with, as {names.ENVIRONMENT} says: restore it")

    def publish(self) -> None:
        """Copies the folder to where it is kept, if that is not here."""
        if self.copy:
            self.copy(self.path)

    def log(self, kind: type[AnyEpoch], name: str = names.LOG) -> list[AnyEpoch]:
        """The lines of log.jsonl, or of another of its form; from a torn one on they are left out."""
        path = self.path / name
        entries = []
        for line in read_lines(path):
            try:
                entries.append(parse(line, kind, str(path)))
            except UsageError:
                break
        return entries

    @property
    def seconds(self) -> float:
        """Of its own epochs, those that a sentinel has undone among them."""
        return sum(entry.seconds for name in (names.LOG, names.ABANDONED) for entry in self.log(Epoch, name))

    def append_log(self, entry: Epoch) -> str:
        """Adds a line to log.jsonl and returns it."""
        line = json.dumps(as_json(entry), allow_nan=False)
        self._append(names.LOG, [line])
        return line

    def append_event(self, event: dict[str, str | int | float]) -> None:
        """Adds a line to events.jsonl, which is never cut: each start, resumption and end by an error."""
        self._append(names.EVENTS, [json.dumps(event)])

    def _append(self, name: str, lines: Sequence[str]) -> None:
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
        except OSError as error:
            raise UsageError(f"cannot write {self.path / name}: {error.strerror or error}") from None

    def write_log(self, lines: Sequence[str], abandoned: Sequence[str] = ()) -> None:
        """Writes log.jsonl anew; lines that were undone are added to abandoned.jsonl, if they are not there already."""
        if abandoned:
            known = set(read_lines(self.path / names.ABANDONED))
            self._append(names.ABANDONED, [line for line in abandoned if line not in known])
        self.write(names.LOG, "".join(f"{line}\n" for line in lines))


def runs_root(given: Path | None = None) -> Path:
    """``--runs``, then ``NAS_RUNS``, then ./runs."""
    return given or Path(os.environ.get("NAS_RUNS") or "runs")


def create(
    root: Path,
    label: str,
    spec: Spec,
    documents: Documents = {},  # noqa: B006 - not changed
    name: str | None = None,
) -> Run:
    """A new run folder ``<date>-<time>-<label>``, which appears whole; a colliding name gets -2, -3, …

    Args:
        label: ``<command>-<space>-s<seed>``.
        documents: its first files, beside settings.json and environment.json.
        name: of the folder, if it is to have another.

    Raises:
        UsageError: the folder cannot be made, or one of that ``name`` exists.
    """
    if name is not None:
        check_name(name, root)
    safe = "".join(char if char.isalnum() or char in "+=.:,_-" else "_" for char in label)
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{safe}"[:150]
    for attempt in range(1, 1000):
        path = root / (name or (stem if attempt == 1 else f"{stem}-{attempt}"))
        if run := _make(path, spec, documents):
            return run
    raise UsageError(f"cannot make run folder {root / stem}: a thousand of that name exist")


def check_name(name: str, root: Path) -> None:
    """Raises UsageError where a run cannot have this name, or another has it."""
    odd = not name or name[0] in ".-" or not name.isprintable() or {*name} & {*"/\\"} or len(name.encode()) > 200
    if odd or name.partition(":")[0] == "last":
        raise UsageError(f'"{name}" cannot be a run\'s name: no slash, no . or - at its start, not last, 200 bytes')
    if (root / name).exists():
        raise UsageError(f'there is a "{name}" in {root} already: choose another name')


def _make(path: Path, spec: Spec, documents: Documents) -> Run | None:
    """A run folder made aside and renamed, so that it is there whole or not at all; None: there is one already."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    if os.path.exists(path):
        return None
    try:
        aside.mkdir(parents=True)
        _fill(Run(aside), spec, documents)
        aside.rename(path)
    except OSError as error:
        if os.path.exists(path):  # since a moment ago
            return None
        raise UsageError(f"cannot make run folder {path}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Run(path)


def _fill(run: Run, spec: Spec, documents: Documents) -> None:
    contents = {name: _bytes(content) for name, content in {**documents, names.SETTINGS: spec}.items()}
    noted = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    run.write(names.ENVIRONMENT, replace(environment(), documents=noted))
    for name, content in contents.items():
        (run.path / name).parent.mkdir(exist_ok=True)
        run.write(name, content)


def _bytes(content: Any) -> bytes:
    """Text or bytes as they are, dicts, lists and dataclasses as JSON."""
    if isinstance(content, str | bytes):
        return content.encode() if isinstance(content, str) else content
    return json_text(content if isinstance(content, dict | list) else as_json(content)).encode()


def find(name: str, root: Path) -> Run:
    """A run by its path, its name under ``root`` or the beginning of one; ``last`` or ``last:search``: the newest.

    Raises:
        UsageError: there is none, or several names begin so.
    """
    first, _, command = name.partition(":")
    if first == "last":
        return newest(root, command)
    for path in (Path(name), root / name):
        if (path / names.SETTINGS).is_file():
            return Run(path)
    if Path(name).is_dir():
        raise UsageError(f"{name} is not a run folder: it has no {names.SETTINGS}")
    known = [run.path.name for run in every(root)]
    begun = [each for each in known if name and each.startswith(name)]
    if len(begun) == 1:
        return Run(root / begun[0])
    if not known:
        raise UsageError(f'no run "{name}": there are no runs in {root}')
    if begun:
        raise UsageError(f'"{name}" begins the names of {len(begun)} runs: {", ".join(begun[-3:])}')
    close = get_close_matches(name, known, n=3, cutoff=0.0)
    raise UsageError(f'no run "{name}" in {root}; the nearest: {", ".join(close)}')


def newest(root: Path, command: str = "") -> Run:
    """The newest run, of that command if one is named.

    Raises:
        UsageError: there is none.
    """
    runs = sorted(every(root), key=lambda run: (run.path / names.SETTINGS).stat().st_mtime_ns, reverse=True)
    for run in runs:
        if not command or run.command == command:
            return run
    if command and runs:
        kinds = sorted({run.command for run in runs})
        raise UsageError(f'there are no runs of "{command}" in {root}: {nearest(command, kinds)}')
    raise UsageError(f"there are no runs in {root}")


def every(root: Path) -> list[Run]:
    """All runs of a folder, by name."""
    paths = (path.parent for path in root.glob(f"*/{names.SETTINGS}"))
    return sorted((Run(path) for path in paths if not path.name.startswith(".")), key=lambda run: run.path)


def around(path: Path) -> list[Run]:
    """The runs that a path is, or lies in at no great depth, from the inside out."""
    return [Run(each) for each in (path, *path.parents[:3]) if _is_run(each)]


def _is_run(path: Path) -> bool:
    try:
        return (path / names.SETTINGS).is_file() and bool(Run(path).command)
    except UsageError:  # another program's settings
        return False
