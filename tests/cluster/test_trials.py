"""Jobs as Ray tasks: one whose worker dies each time costs itself and nothing else; who answers them may die."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from nas.cluster import trials
from nas.errors import Interrupted, UsageError

exceptions = pytest.importorskip("ray.exceptions")


def perform(job: str, ask: Callable[..., Any]) -> str:
    """A job that kills its worker, or who answers, or asks."""
    if job == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "kills":
        os.kill(ask(job), signal.SIGKILL)
    return f"{job} {ask(job) > 0}"


def pid_of(job: str) -> int:
    """Who answers."""
    return os.getpid()


def test_deaths_cost_no_other_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "ATTEMPTS", 2)
    with trials.RayPool("local", 1, 1, 0.0, perform, pid_of, lambda deaths: f"died {deaths} times") as pool:
        outcomes = [pool.submit(job) for job in ("dies", "kills", "lives")]
        assert [outcome.result(120) for outcome in outcomes] == ["died 2 times", "kills True", "lives True"]


def worker_that_is_told_to_stop(job: str, ask: Callable[..., Any]) -> str:
    """Once; begun again it works."""
    mark = Path(job)
    if not mark.exists():
        mark.touch()
        raise Interrupted(signal.SIGTERM)
    return "done"


def test_a_worker_that_is_told_to_stop_is_followed_by_another(tmp_path: Path) -> None:
    with trials.RayPool("local", 1, 1, 0.0, worker_that_is_told_to_stop, pid_of, str) as pool:
        assert pool.submit(str(tmp_path / "mark")).result(120) == "done"


def test_a_task_has_as_many_cpus_as_threads() -> None:
    with trials.RayPool("local", 2, 2, 0.0, perform, pid_of, str) as pool:
        assert (pool.slots, pool._cpus) == (2, 2)
    with trials.RayPool("local", None, 64, 0.0, perform, pid_of, str) as pool:
        assert (pool.slots, pool._cpus) == (1, os.cpu_count()), "and no more than there are"


@pytest.mark.parametrize("error", [exceptions.LocalRayletDiedError(), exceptions.TaskCancelledError()], ids=repr)
def test_a_ray_that_is_gone_is_one_line(error: Exception) -> None:
    pool = trials.RayPool("local", 1, 1, 0.0, perform, pid_of, str)
    task, outcome = Future[str](), Future[str]()
    task.set_exception(error)
    pool._hand_on(outcome, task)
    with pytest.raises(UsageError, match=r"--cluster local: Ray is gone .*--resume goes on"):
        outcome.result(0)
