"""Jobs as Ray tasks: one whose worker dies each time costs itself and nothing else."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from nas.cluster import trials

pytest.importorskip("ray")


def perform(job: str, ask: Callable[..., Any]) -> str:
    """A job that kills its worker, or asks."""
    if job == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{job} {ask(job)}"


def test_a_job_whose_worker_dies_each_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "ATTEMPTS", 2)
    with trials.RayPool("local", 1, 0.0, perform, len, lambda deaths: f"died {deaths} times") as pool:
        outcomes = [pool.submit(job) for job in ("dies", "lives")]
        assert [outcome.result(120) for outcome in outcomes] == ["died 2 times", "lives 5"]
