"""Odd command lines and documents: status 0 or 2, one line that says why, no traceback, in half a minute."""

import contextlib
import io
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import torch

from nas import cli, data
from nas.blocks import OPS
from tests.campaign import documents, words, world
from tests.campaign.process import Command
from tests.campaign.tries import Tries, examples

SECONDS = 30
"""Of computing, before any work begins."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that command lines name files of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NAS_RUNS", raising=False)
        return world.make(tmp_path_factory.mktemp("words") / "world")


@pytest.fixture
def here(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Makes the folder anew and goes there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NAS_DATA", str(whole / "data"))
    monkeypatch.delenv("NAS_RUNS", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    folder = tmp_path / "deep" / "er" / "here"

    def renew() -> Path:
        monkeypatch.chdir(tmp_path)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        monkeypatch.chdir(folder)
        return folder

    return renew


def said_well(status: int, out: str, err: str) -> None:
    """Raises AssertionError where a command did not end as it must."""
    assert status in (0, 2), f"status {status}: {err[-500:]}"
    assert "Traceback" not in out + err
    mine = [line for line in err.splitlines() if line.startswith("nas: ")]
    assert len(mine) == (status == 2), f"status {status}: {err[-500:]}"


def tried(line: list[str]) -> None:
    """Runs a command line in this process, up to where its work would begin."""
    known, registered = dict(OPS), time.process_time()
    out, err = io.StringIO(), io.StringIO()
    data.forget()
    try:
        with world.before_work(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            said_well(cli.run(line), out.getvalue(), err.getvalue())
    except world.Begun:
        said_well(0, out.getvalue(), err.getvalue())
    finally:
        for name in OPS.keys() - known.keys():
            del OPS[name]
        torch.set_num_threads(1)
    spent = time.process_time() - registered
    assert spent < SECONDS, f"{spent:.0f} s of computing"


@pytest.mark.campaign("e: command lines", share=4)
@pytest.mark.filterwarnings("ignore")
def test_command_lines(tries: Tries, here: Callable[[], Path]) -> None:
    def check(stream: Random) -> None:
        line = words.line(stream)
        here()
        try:
            tried(line)
        except Exception as error:
            raise AssertionError(f"nas {line!a:.1000}") from error

    tries.repeat(lambda stream: examples(check, stream, 20))


@pytest.mark.campaign("e: real processes", share=0.7)
def test_real_processes(tries: Tries, here: Callable[[], Path]) -> None:
    """A sample of the same in processes of their own, which begin their work, and are then stopped."""

    def attempt(stream: Random) -> int:
        line = words.line(stream)
        command = Command(line, here(), before=world.alone)
        command.process.join(SECONDS)
        if command.process.exitcode is None:
            command.send(signal.SIGTERM)
            command.end(0, 143)
        elif line[0] != "doctor":  # whose status 1 says that something is broken
            said_well(command.end(0, 2), "", command.said())
        return 1

    tries.repeat(attempt)


@pytest.mark.campaign("e: documents", share=2.5)
@pytest.mark.filterwarnings("ignore")
def test_documents(tries: Tries, here: Callable[[], Path]) -> None:
    def check(stream: Random) -> None:
        folder, name = here(), stream.choice(list(documents.DOCUMENTS))
        content = documents.changed(folder / name, stream)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode(errors="replace"))
        for line in documents.DOCUMENTS[name]:
            try:
                tried(line.split())
            except Exception as error:
                raise AssertionError(f"{line}: {content!a:.800}: {type(error).__name__}: {error}"[:4000]) from error

    tries.repeat(lambda stream: examples(check, stream, 10))
