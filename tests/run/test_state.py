"""Whether a process works on a run."""

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nas.errors import UsageError
from nas.execution import Execution
from nas.run import state
from nas.run.folder import Run, create
from nas.run.names import WORKER
from nas.run.spec import TrainSpec
from nas.settings import TrainSettings

HOLDER = "import sys; from pathlib import Path; from nas.run.state import *; run = Run(Path(sys.argv[1]))"
HOLDING = f"{HOLDER}\nwith working(run): print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(tmp_path, "x", TrainSpec(settings=TrainSettings(), execution=Execution()))


def test_one_process_at_a_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "GLANCE", 0.0)
    child = run.child("s0", run.spec(TrainSpec))
    assert state.state_of(run) == state.state_of(child) == "interrupted"
    with state.working(run):
        assert state.state_of(run) == state.state_of(child) == "running", "it may work on what lies inside"
        with pytest.raises(UsageError, match=rf"works on run .*\(number {os.getpid()} on .*\)"), state.working(run):
            pass
    assert state.state_of(run) == "interrupted"
    run.write("result.json", {})
    assert state.state_of(run) == "finished"


def test_a_killed_process_holds_nothing(run: Run) -> None:
    command = [sys.executable, "-c", HOLDING, str(run.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        assert state.state_of(run) == "running"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert state.state_of(run) == "interrupted"


def test_size(run: Run) -> None:
    before = state.size_of(run.path)
    (run.path / "more").write_bytes(bytes(1000))
    assert state.size_of(run.path) == before + 1000 and state.size_of(run.path / "more") == 1000


def test_inside_and_around(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "GLANCE", 0.0)
    child = run.child("s0", run.spec(TrainSpec))
    for one, other in ((run, child), (child, run)):
        refusal = f"another process works on run {one.path} \\(number {os.getpid()} on "
        with state.working(one), pytest.raises(UsageError, match=refusal), state.working(other):
            pass
    assert not (run.path / WORKER).exists()


def test_who_works_inside_a_run_works_on_it(run: Run) -> None:
    child = run.child("s0", run.spec(TrainSpec))
    assert not state.busy(run) and not state.busy(child)
    with state.working(child):
        assert state.busy(run) and state.busy(child)
    run.write("result.json", {})
    with state.working(run):
        assert state.busy(run), "a finished one too"


def test_where_storage_knows_no_locks(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lock(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(state.fcntl, "flock", lock)
    with state.working(run):
        assert state.state_of(run) == "running"
        with pytest.raises(UsageError, match="another process works on run"), state.working(run):
            pass
    assert state.state_of(run) == "interrupted" and not capsys.readouterr().err
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    for worker in (state.Worker("elsewhere", os.getpid(), 1), state.Worker(socket.gethostname(), dead.pid, 1)):
        run.write(WORKER, worker)
        assert state.state_of(run) == "interrupted"
        with state.working(run):
            assert f"make sure that process {worker.pid} on {worker.host} is no more" in capsys.readouterr().err


def test_what_a_kill_left_half_written_goes(run: Run) -> None:
    child = run.child("s0", run.spec(TrainSpec))
    (child.path / ".log.jsonl.part").write_text("half")
    (run.path / ".s1.123.part").mkdir()
    with state.working(run):
        assert not list(run.path.rglob(".*.part"))


def test_a_folder_that_cannot_be_written_to(run: Run) -> None:
    gone = Run(run.path.rename(run.path.with_name("moved")).with_name("gone"))
    with pytest.raises(UsageError, match=r"cannot work on run .*gone: No such file"), state.working(gone):
        pass
