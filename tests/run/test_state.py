"""Whether a process works on a run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nas.errors import UsageError
from nas.execution import Execution
from nas.run import state
from nas.run.folder import Run, create
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
        with pytest.raises(UsageError, match="another process works on run"), state.working(run):
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
