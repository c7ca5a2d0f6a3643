"""The driver as a Ray job, against a client that records what it is asked."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas.errors import Interrupted, UsageError
from nas.execution import Execution
from nas.run import Run, create
from nas.train import job

AWAY = Execution(cluster="http://head:8265", workers=2)


class Client:
    """Ends each job as it is told."""

    def __init__(self, run: Run, status: str = "SUCCEEDED", stopped: bool = False) -> None:
        self.run, self.status, self.stopped = run, status, stopped
        self.asked: dict[str, Any] = {}

    def submit_job(self, **asked: Any) -> str:
        self.asked = asked
        return "job-1"

    async def tail_job_logs(self, number: str) -> AsyncIterator[str]:
        yield f"log of {number}\n"
        if self.stopped:
            raise KeyboardInterrupt
        if self.status == "SUCCEEDED":
            self.run.write("result.json", {"test_accuracy": 0.5})

    def get_job_status(self, number: str) -> SimpleNamespace:
        return SimpleNamespace(value=self.status)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create(tmp_path, "retrain", {"command": "retrain", "settings": {}, "execution": {}})


def carried_out(run: Run, client: Client | None, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(job, "connect", lambda address: client)
    return job.carry_out(run, AWAY)


def test_the_job_resumes_the_run(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NAS_DATA", "/shared/data")
    client = Client(run)
    assert carried_out(run, client, monkeypatch)
    assert client.asked["entrypoint"] == f"python -m nas retrain --resume {run.path} --cluster auto --workers 2"
    assert client.asked["runtime_env"] == {"env_vars": {"NAS_DATA": "/shared/data"}}
    assert "log of job-1" in capsys.readouterr().err


def test_a_failed_job(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=f"ended as FAILED.*--resume {run.path}"):
        carried_out(run, Client(run, "FAILED"), monkeypatch)


def test_ctrl_c_leaves_the_job(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted, match="job-1 goes on") as stopped:
        carried_out(run, Client(run, stopped=True), monkeypatch)
    assert stopped.value.signal == 2


def test_a_cluster_without_jobs(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert not carried_out(run, None, monkeypatch)
    assert f"must stay open; if it closes, go on with --resume {run.path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("execution", "wanted"),
    [
        (AWAY, True),
        (Execution(cluster="local"), False),
        (Execution(cluster="auto"), False),
        (Execution(cluster="head:6379", storage="s3://bucket"), False),
    ],
)
def test_where_a_job_makes_sense(execution: Execution, wanted: bool) -> None:
    assert job.wanted(execution) is wanted
