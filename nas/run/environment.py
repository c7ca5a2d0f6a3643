"""What a run ran on: versions, hardware and git state."""

import os
import platform
import shutil
import subprocess
from dataclasses import field
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path

from pydantic.dataclasses import dataclass

from nas import __version__
from nas.run.documents import DOCUMENT


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Git:
    """The commit a run's code was at, and whether it had been changed."""

    commit: str
    changed: bool


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Environment:
    """What a run was begun on, and the SHA-256 of its documents by name; empty where it was not noted."""

    python: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    platform: str = ""
    hardware: str = ""
    compiler: str | None = None
    threads: int | None = None
    git: Git | None = None
    time: str = ""
    documents: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, str]]:
        """What is known, by name."""
        versions = [(name, version) for name, version in self.versions.items()]
        own = ("python", "platform", "hardware", "compiler", "threads", "time")
        rows = [(name, str(value)) for name in own if (value := getattr(self, name))]
        if self.git:
            rows.append(("commit", f"{self.git.commit}{', changed' if self.git.changed else ''}"))
        return versions + rows


def environment() -> Environment:
    """Versions, hardware and git state, for result files."""
    import torch

    packages = ("torch", "torchvision", "numpy")
    return Environment(
        python=platform.python_version(),
        versions={"nas": __version__, **{name: _version(name) for name in packages}},
        platform=platform.platform(),
        hardware=hardware(),
        compiler=shutil.which(os.environ.get("CXX", "c++")),
        threads=torch.get_num_threads(),
        git=_git(),
        time=datetime.now().astimezone().isoformat(timespec="seconds"),
    )


def hardware() -> str:
    """The accelerator, or the processor and the number of its cores."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {os.cpu_count()} CPU cores"
    return f"{_processor()}, {os.cpu_count()} cores"


@cache
def code() -> str:
    """Version of this package, its commit where it is a checkout (with + if that was changed), and torch's version."""
    git = _git()
    commit = f" {git.commit[:7]}{'+' * git.changed}" if git else ""
    return f"nas {__version__}{commit} on torch {_version('torch')}"


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


def _git() -> Git | None:
    """Commit of the source tree this package runs from, and whether it was changed; None outside a checkout."""

    def ask(*words: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(Path(__file__).parent), *words]  # a kill leaves no lock
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return Git(commit=ask("rev-parse", "HEAD"), changed=bool(ask("status", "--porcelain")))
    except (OSError, subprocess.SubprocessError):
        return None
