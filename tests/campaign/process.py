"""A command in a process of its own, which may meet a fault at one of its changes to the disk.

It is forked from a server that has all imported (a second or two of each, saved), but real: with a session, files and
signals of its own.
"""

import errno
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.__main__ import heed_signals, main
from nas.run.folder import every

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.campaign.preload"])
CHANGES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"}
"""Python's audit events of what changes the disk; each comes just before it is done."""
MARK = "CAMPAIGN_TRY"
"""The variable by which a command's descendants are known."""


@dataclass
class Fault:
    """Something that happens just before change number ``at``, from 1, in a folder: a signal, or an error of the disk.

    Args:
        what: "SIGKILL", "SIGTERM", "SIGINT", or an error's name; "ENOSPC" also for all later ones that make a file.
        folder: whose changes count.
        notes: a file that gets a line a change; None: no file.
    """

    at: int
    what: str
    folder: str
    notes: str | None = None
    count: int = 0

    def __call__(self, event: str, values: tuple[Any, ...]) -> None:
        if event not in CHANGES or not str(values[0]).startswith(self.folder) or not _changes(event, values):
            return
        self.count += 1
        if self.notes:
            os.write(os.open(self.notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT), f"{event} {values[0]}\n".encode())
        if self.what.startswith("SIG"):
            if self.count == self.at:
                os.kill(os.getpid(), signal.Signals[self.what])
        elif self.count >= self.at and event in ("open", "os.mkdir", "os.rename"):
            number = getattr(errno, self.what)
            raise OSError(number, os.strerror(number), str(values[0]))


def _changes(event: str, values: tuple[Any, ...]) -> bool:
    return event != "open" or bool(values[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if values[2] else False)


@dataclass
class Command:
    """A command line at work.

    Args:
        words: after ``nas``.
        folder: its working directory; runs lie in ``folder/runs``.
        fault: what it meets.
        limits: of the process, by ``resource``'s names.
        before: is called in the process, before the command; importable.
        seconds: so long it may take; ``grace``: and then those that it began.
    """

    words: Sequence[str]
    folder: Path
    fault: Fault | None = None
    limits: dict[str, int] = field(default_factory=dict)
    before: Callable[[], object] | None = None
    seconds: float = 600.0
    grace: float = 20.0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.output = self.folder / f"output-{time.monotonic_ns()}"
        self.process = CONTEXT.Process(target=_main, args=(self._as_sent(), str(self.output)))
        self.process.start()
        until = time.monotonic() + 60
        while not self.output.exists() and self.process.is_alive() and time.monotonic() < until:
            time.sleep(0.002)

    def _as_sent(self) -> tuple[Any, ...]:
        return (list(map(str, self.words)), str(self.folder), self.fault, self.limits, self.before)

    @property
    def pid(self) -> int:
        assert self.process.pid
        return self.process.pid

    def send(self, number: int) -> None:
        """Sends a signal to the process alone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def end(self, *statuses: int) -> int:
        """Waits for its end, of one of these statuses, with no process left behind; returns the status."""
        self.process.join(self.seconds)
        status = self.process.exitcode
        if status is None:
            self.process.kill()
            raise AssertionError(f"{' '.join(map(str, self.words))} hangs: {self.said()}")
        until = time.monotonic() + self.grace
        while orphans := descendants(self.folder):
            assert time.monotonic() < until, f"processes {orphans} are left by {self.words}"
            time.sleep(0.05)
        said = self.said()
        assert status in (statuses or (0,)), f"status {status}: {' '.join(map(str, self.words))}: {said}"
        assert "Traceback" not in said, said
        return status

    def said(self) -> str:
        """What it printed."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""


def descendants(folder: Path) -> list[int]:
    """Processes that a command in a folder began and that go on."""
    sign, pids = f"{MARK}={folder}\0".encode(), []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if sign in (path / "environ").read_bytes() and b") Z " not in (path / "stat").read_bytes():
                pids.append(int(path.name))
    return pids


def _main(sent: tuple[Any, ...], output: str) -> None:
    words, folder, fault, limits, before = sent
    os.setsid()
    heed_signals()
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1), os.dup2(file, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    os.chdir(folder)
    os.environ |= {MARK: folder, "NAS_RUNS": f"{folder}/runs", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, resource.RLIM_INFINITY))
    if before:
        before()
    if fault:
        sys.addaudithook(fault)
    sys.argv = ["nas", *words]
    main()


def stray(root: Path) -> list[str]:
    """What lies in a folder of runs and is no run nor hidden."""
    known = {run.path.name for run in every(root)}
    return [path.name for path in root.iterdir() if path.name not in known and not path.name.startswith(".")]
