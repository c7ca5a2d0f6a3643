"""The driver as a Ray job, against a client that records what it is asked."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas.cluster import job
from nas.commands import children
from nas.errors import Interrupted, UsageError
from nas.execution import Execution
from nas.run.folder import Run, create
from nas.run.log import Epoch
from nas.run.names import RESULT
from nas.run.spec import OpsFile, TrainSpec
from nas.run.state import busy
from nas.settings import TrainSettings
from tests.cluster.test_trainings import ended, once, resumed, start

HOST = "127.0.0.4"
AWAY = Execution(cluster="http://head:8265", workers=2)


class Client:
    """A client whose jobs all end with one status."""

    def __init__(self, run: Run, status: str = "SUCCEEDED", stopped: bool = False) -> None:
        self.run, self.status, self.stopped = run, status, stopped
        self.asked: dict[str, Any] = {}
        self.others: list[SimpleNamespace] = []

    def list_jobs(self) -> list[SimpleNamespace]:
        return self.others

    def submit_job(self, **asked: Any) -> str:
        self.asked = asked
        return "job-1"

    async def tail_job_logs(self, number: str) -> AsyncIterator[str]:
        yield f"log of {number}\n"
        if self.stopped:
            raise KeyboardInterrupt
        if self.status == "SUCCEEDED":
            self.run.write(RESULT, {"test_accuracy": 0.5})

    def get_job_status(self, number: str) -> SimpleNamespace:
        return SimpleNamespace(value=self.status)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(tmp_path, "retrain", TrainSpec(settings=TrainSettings(), execution=Execution()))


def carried_out(run: Run, client: Client | None, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(job, "client_of", lambda address: client)
    monkeypatch.setattr(job, "check_answers", lambda address: None)
    return job.carry_out(run, AWAY)


def test_the_job_resumes_the_run(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NAS_DATA", "/shared/data")
    client = Client(run)
    assert carried_out(run, client, monkeypatch)
    assert client.asked["entrypoint"] == f"python -m nas retrain --resume {run.path} --cluster auto --workers 2"
    assert client.asked["runtime_env"] == {"env_vars": {"NAS_DATA": "/shared/data"}}
    assert "log of job-1" in capsys.readouterr().err


def test_a_job_under_way_is_shown_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Client(run)
    for number, over, path in (("old", True, run.path), ("other", False, "elsewhere"), ("own", False, run.path)):
        status = SimpleNamespace(is_terminal=lambda over=over: over)
        client.others.append(SimpleNamespace(submission_id=number, status=status, metadata={"run": str(path)}))
    assert carried_out(run, client, monkeypatch)
    assert not client.asked and "log of own" in capsys.readouterr().err


def test_a_log_that_breaks_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(run)
    monkeypatch.setattr(client, "get_job_status", broken)
    with pytest.raises(
        UsageError,
        match=f"broke off .no head.; see it again with: nas retrain --resume {run.path} --cluster http://head:8265",
    ):
        carried_out(run, client, monkeypatch)


def broken(number: str) -> None:
    raise ConnectionError("no head")


def test_a_failed_job(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=f"ended as FAILED.*--resume {run.path}"):
        carried_out(run, Client(run, "FAILED"), monkeypatch)


def test_ctrl_c_leaves_the_job(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted, match="job-1 goes on") as stopped:
        carried_out(run, Client(run, stopped=True), monkeypatch)
    assert stopped.value.signal == 2


def test_a_cluster_without_jobs(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert not carried_out(run, None, monkeypatch)
    assert (
        f"must stay open; if it closes, go on with: nas retrain --resume {run.path} --cluster"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("command", ["retrain", "tune"])
def test_what_no_job_does_is_done_under_a_lock(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that takes no jobs; a tuning, whose driver stays here whatever it takes."""
    spec = TrainSpec(settings=TrainSettings(), execution=Execution())
    run = create(tmp_path, command, spec)
    document = json.loads((run.path / "settings.json").read_text())
    (run.path / "settings.json").write_text(json.dumps({**document, "command": command}))
    (run.path / "environment.json").unlink()  # which has the digest
    monkeypatch.setattr(job, "client_of", lambda address: Client(run) if command == "tune" else None)
    monkeypatch.setattr(job, "check_answers", lambda address: None)
    seen: list[bool] = []
    children.carry_out(run, AWAY, lambda run, execution: seen.append(busy(run)))
    assert seen == [True]


def test_a_job_needs_no_lock_here(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "client_of", lambda address: Client(run))
    monkeypatch.setattr(job, "check_answers", lambda address: None)
    monkeypatch.setattr(children, "working", None)
    assert children.carry_out(run, AWAY, lambda run, execution: pytest.fail("done here")).finished


def test_what_the_job_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = TrainSpec(settings=TrainSettings(), execution=Execution(), ops=OpsFile("/shared/my ops.py", "0"))
    run = create(tmp_path, "retrain", spec)
    execution = Execution("cuda", data_root=Path("/data"), cluster="http://head:8265")
    words = f"python -m nas retrain --resume {run.path} --cluster auto --device cuda --data-root /data"
    assert job.command_line(run, execution) == f"{words} --ops '/shared/my ops.py'"
    moved = {Path("/elsewhere/ops.py"): (OpsFile("/elsewhere/ops.py", "0"), {})}
    monkeypatch.setattr("nas.plugins._registered", moved)
    assert job.command_line(run, execution) == f"{words} --ops /elsewhere/ops.py", "as it was named in its new place"


@pytest.mark.parametrize(
    ("execution", "possible"),
    [
        (AWAY, True),
        (Execution(cluster="local"), False),
        (Execution(cluster="auto"), False),
        (Execution(cluster="head:6379", storage="s3://bucket"), False),
    ],
)
def test_where_a_job_makes_sense(execution: Execution, possible: bool) -> None:
    assert job.possible(execution) is possible


@contextmanager
def head(folder: Path) -> Iterator[str]:
    """A head with one CPU and a dashboard, on a loopback address, as ``ray start`` makes it: host:port."""
    named = ("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port")
    options: dict[str, Any] = dict(zip(named, free_ports(len(named)), strict=True))
    options |= {"node-ip-address": HOST, "dashboard-host": HOST, "num-cpus": 1, "object-store-memory": 100 * 2**20}
    words = [f"--{name}={value}" for name, value in options.items()]
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    environment |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0"}
    with (folder / "head.txt").open("w") as out:
        command = [str(bin_folder / "ray"), "start", "--head", "--block", *words]
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        try:
            yield f"{HOST}:{options['port']}"
        finally:
            process.terminate()
            process.wait(60)


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(number)]
        return [each.getsockname()[1] for each in sockets]


@pytest.mark.slow
def test_a_real_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C leaves it running, ``--resume`` shows it again, and the run is finished there; with a token."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "7" * 64)
    monkeypatch.setenv("RAY_AUTH_MODE", "")
    monkeypatch.delenv("RAY_AUTH_MODE")  # what client_of() sets goes with the test
    monkeypatch.setenv("NAS_DATA", str(tmp_path))
    with head(tmp_path) as address:
        wait_for(lambda: answers(address), 120)
        seeds = start(tmp_path, "--seeds", "0,1", "--cluster", address)
        run = once(tmp_path, lambda run: any(child.log(Epoch) for child in run.children), seeds)
        seeds.send_signal(signal.SIGINT)
        err = ended(seeds, 130)
        assert "goes on; see it again with: nas retrain --resume" in err and "Traceback" not in err
        assert not run.finished
        err = ended(start(tmp_path, "--resume", str(run.path), "--cluster", address))
        assert re.search("train s0 .* epoch 1/4", err) and re.search("train s1 .* epoch 4/4", err), "its log comes back"
        assert run.finished and not any(resumed(child) for child in run.children)
        assert len(job.client_of(address).list_jobs()) == 1


def answers(address: str) -> bool:
    """Whether the head takes jobs by now."""
    try:
        job.check_answers(address)
        return job.client_of(address) is not None
    except UsageError:
        return False


def wait_for(reached: Callable[[], Any], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.5)
