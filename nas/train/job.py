"""The driver of a run as a Ray job on the cluster's head, so that it goes on when the terminal closes."""

import asyncio
import os
import shlex
import sys
from typing import Any

from nas.errors import Interrupted, UsageError
from nas.execution import Execution
from nas.run import Run
from nas.train.storage import is_url

HERE = ("local", "auto")
"""Clusters that this process joins itself: one of its own, and the one it already runs on (as a job does)."""


def wanted(execution: Execution) -> bool:
    """Whether a job makes sense: the cluster is elsewhere, and its head sees the run folder."""
    return execution.cluster not in HERE and not is_url(execution.storage)


def carry_out(run: Run, execution: Execution) -> bool:
    """Runs ``--resume`` as a job and shows its log until it ends; False where the cluster takes no jobs.

    Raises:
        UsageError: the job failed.
        Interrupted: on Ctrl-C; the job goes on.
    """
    client = connect(execution.cluster)
    if client is None:
        print(
            f"{execution.cluster} takes no jobs (it has no dashboard): this terminal must stay open; "
            f"if it closes, go on with --resume {run.path}",
            file=sys.stderr,
        )
        return False
    shared = {name: os.environ[name] for name in ("NAS_DATA",) if name in os.environ}
    number = client.submit_job(entrypoint=command(run, execution), runtime_env={"env_vars": shared})
    print(f"job {number}: goes on if this terminal closes", file=sys.stderr)
    try:
        asyncio.run(show_log(client, number))
    except KeyboardInterrupt:
        advice = f"job {number} goes on; stop it with: ray job stop --address {execution.cluster} {number}"
        raise Interrupted(2, advice) from None
    status = str(client.get_job_status(number).value)
    if status != "SUCCEEDED" or not run.finished:
        raise UsageError(f"job {number} ended as {status}, see above; go on with --resume {run.path}")
    return True


def connect(address: str) -> Any:
    """A client of the cluster's jobs, or None where it takes none."""
    try:
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(address)
    except (ImportError, ConnectionError, RuntimeError, ValueError):
        return None


def command(run: Run, execution: Execution) -> str:
    """What the job types: it resumes the run on the cluster it finds itself on."""
    words = ["python", "-m", "nas", "retrain", "--resume", str(run.path.resolve()), "--cluster", "auto"]
    words += ["--device", execution.device] if execution.device else []
    words += ["--workers", str(execution.workers)] if execution.workers else []
    words += ["--data-root", str(execution.data_root.resolve())] if execution.data_root else []
    words += ["--ops", run.told["ops"]["path"]] if run.told.get("ops") else []
    return shlex.join(words)


async def show_log(client: Any, number: str) -> None:
    """The job's output, as it comes, on stderr."""
    async for lines in client.tail_job_logs(number):
        print(lines, end="", file=sys.stderr, flush=True)
