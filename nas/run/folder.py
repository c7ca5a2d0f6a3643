"""Run folders: what a command was told, what it did, what came out. Never overwritten."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from nas.errors import UsageError, nearest
from nas.files import read_json, write, write_json


@dataclass(frozen=True)
class Run:
    """One run folder.

    ``settings.json`` holds {"command", "settings", "execution", …}; a finished run has ``result.json``.

    Args:
        path: the folder.
        copy: copies the folder to where it is kept, if that is not here.
    """

    path: Path
    copy: Callable[[Path], None] | None = None

    @property
    def name(self) -> str:
        """The folder's name; a child's is parent/child."""
        return str(self.path)

    @cached_property
    def told(self) -> dict[str, Any]:
        """The content of settings.json."""
        document = read_json(self.path / "settings.json")
        if not isinstance(document, dict) or not {"command", "settings", "execution"} <= set(document):
            raise UsageError(f"{self.path / 'settings.json'}: not the settings of a run")
        return document

    @property
    def finished(self) -> bool:
        """Whether there is a result."""
        return (self.path / "result.json").is_file()

    @property
    def result(self) -> dict[str, Any]:
        """The content of result.json."""
        document = read_json(self.path / "result.json")
        if not isinstance(document, dict):
            raise UsageError(f"{self.path / 'result.json'}: not the result of a run")
        return document

    @property
    def children(self) -> list["Run"]:
        """Runs inside this one (one a seed), by name."""
        return sorted((Run(path.parent) for path in self.path.glob("*/settings.json")), key=lambda run: run.name)

    def child(self, name: str, told: Mapping[str, Any]) -> "Run":
        """The child of that name, made if it is not there."""
        path = self.path / name
        if not (path / "settings.json").is_file():
            _fill(path, told)
        return Run(path)

    def write(self, name: str, content: Any) -> Path:
        """Writes a file of the run: text or bytes as they are, anything else as JSON."""
        path = self.path / name
        write(path, content) if isinstance(content, str | bytes) else write_json(path, content)
        return path

    def publish(self) -> None:
        """Copies the folder to where it is kept, if that is not here."""
        if self.copy:
            self.copy(self.path)

    def log(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl; a torn last line is left out."""
        path = self.path / "log.jsonl"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        entries = []
        for line in lines:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                break
            if not isinstance(entry, dict) or "epoch" not in entry:
                break
            entries.append(entry)
        return entries

    def append_log(self, entry: Mapping[str, Any]) -> None:
        """Adds a line to log.jsonl."""
        self._append("log.jsonl", entry)

    def note(self, event: Mapping[str, Any]) -> None:
        """Adds a line to events.jsonl, which is never cut: each start and each resumption."""
        self._append("events.jsonl", event)

    def _append(self, name: str, entry: Mapping[str, Any]) -> None:
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise UsageError(f"cannot write {self.path / name}: {error.strerror or error}") from None

    def cut_log(self, epoch: int) -> None:
        """Drops the lines of this epoch and later ones, which will be done again."""
        kept = [entry for entry in self.log() if entry["epoch"] < epoch]
        self.write("log.jsonl", "".join(json.dumps(entry) + "\n" for entry in kept))


def runs_root(given: Path | None = None) -> Path:
    """``--runs``, then ``NAS_RUNS``, then ./runs."""
    return given or Path(os.environ.get("NAS_RUNS") or "runs")


def create(root: Path, label: str, told: Mapping[str, Any]) -> Run:
    """A new run folder ``<date>-<time>-<label>``; a colliding name gets -2, -3, …

    Args:
        label: ``<command>-<space>-s<seed>``.
        told: the content of settings.json.

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
        _fill(path, told)
        return Run(path)
    raise UsageError(f"cannot make run folder {root / stem}: a thousand of that name exist")


def _fill(path: Path, told: Mapping[str, Any]) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make run folder {path}: {error.strerror or error}") from None
    write_json(path / "environment.json", environment())
    write_json(path / "settings.json", dict(told))


def find(name: str, root: Path) -> Run:
    """The run at a path, of a name under ``root``, or ``last``: the newest there.

    Raises:
        UsageError: there is none.
    """
    names = [run.path.name for run in every(root)]
    if name == "last":
        if not names:
            raise UsageError(f"there are no runs in {root}")
        return max(every(root), key=lambda run: (run.path / "settings.json").stat().st_mtime_ns)
    for path in (Path(name), root / name):
        if (path / "settings.json").is_file():
            return Run(path)
    if Path(name).is_dir():
        raise UsageError(f"{name} is not a run folder: it has no settings.json")
    raise UsageError(f'no run "{name}": {nearest(name, names) if names else f"there are no runs in {root}"}')


def every(root: Path) -> list[Run]:
    """All runs of a folder, by name."""
    return sorted((Run(path.parent) for path in root.glob("*/settings.json")), key=lambda run: run.name)


def environment() -> dict[str, Any]:
    """Versions, hardware and git state, for result files."""
    import torch

    packages = ("nas", "torch", "torchvision", "numpy")
    return {
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "platform": platform.platform(),
        "hardware": hardware(),
        "compiler": shutil.which(os.environ.get("CXX", "c++")),
        "threads": torch.get_num_threads(),
        "git": _git(),
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def hardware() -> str:
    """The accelerator, or the processor and the number of its cores."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {os.cpu_count()} CPU cores"
    return f"{_processor()}, {os.cpu_count()} cores"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _git() -> dict[str, Any] | None:
    """Commit of the source tree this package runs from, and whether it was changed; None outside a checkout."""

    def ask(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "changed": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
