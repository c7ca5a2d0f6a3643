"""The driver of a run as a Ray job on the cluster's head, so that it goes on when the terminal closes."""

import asyncio
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nas import plugins
from nas.cluster.connect import check_answers, runtime_environment
from nas.cluster.storage import is_url
from nas.errors import Interrupted, UsageError
from nas.execution import Execution
from nas.run.folder import Run
from nas.run.hints import resumption
from nas.run.spec import Spec

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

HERE = ("local", "auto")
"""Clusters that this process joins itself: one of its own, and the one it already runs on (as a job does)."""


def possible(execution: Execution) -> bool:
    """Whether a job makes sense: the cluster is elsewhere, and its head sees the run folder."""
    return execution.cluster not in HERE and not is_url(execution.storage)


def carry_out(run: Run, execution: Execution) -> bool:
    """Runs ``--resume`` as a job, or joins the one that does, and shows its log until it ends.

    Returns:
        False where no job is :func:`possible`, or the cluster takes none.

    Raises:
        UsageError: nothing answers there, the job failed, or its log broke off.
        Interrupted: on Ctrl-C; the job goes on.
    """
    if not possible(execution):
        return False
    check_answers(execution.cluster)
    client = client_of(execution.cluster)
    if client is None:
        print(
            f"{execution.cluster} takes no jobs (it has no dashboard): this terminal must stay open; "
            f"if it closes, go on with: {resumption(run, execution)}",
            file=sys.stderr,
        )
        return False
    number = present(client, run) or submit(client, run, execution)
    print(f"job {number}: goes on if this terminal closes", file=sys.stderr)
    again = f"see it again with: {resumption(run, execution)}"
    try:
        asyncio.run(show_log(client, number))
        status = str(client.get_job_status(number).value)
    except KeyboardInterrupt:
        stop = f"stop it with: ray job stop --address {execution.cluster} {number}"
        raise Interrupted(2, f"job {number} goes on; {again}; {stop}") from None
    except (OSError, RuntimeError) as error:
        raise UsageError(f"the log of job {number} broke off ({str(error).splitlines()[0]}); {again}") from None
    if status != "SUCCEEDED" or not run.finished:
        raise UsageError(f"job {number} ended as {status}, see above; go on with: {resumption(run, execution)}")
    return True


def client_of(address: str) -> "JobSubmissionClient | None":
    """A client of the cluster's jobs, or None where it takes none.

    Raises:
        UsageError: the cluster wants another token than this user has.
    """
    token = Path.home() / ".ray" / "auth_token"
    if token.is_file() or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # as Ray does itself everywhere but here
    try:
        from ray.exceptions import RayError
        from ray.job_submission import JobSubmissionClient
    except ImportError:
        return None
    try:
        return JobSubmissionClient(address)
    except RayError as error:
        raise UsageError(f"--cluster {address}: {str(error).splitlines()[0]}") from None
    except (ConnectionError, RuntimeError, ValueError):
        return None


def present(client: "JobSubmissionClient", run: Run) -> str:
    """The job that carries out this run now, or nothing: two must not write into one folder."""
    jobs = [job for job in client.list_jobs() if (job.metadata or {}).get("run") == str(run.path.resolve())]
    return next((job.submission_id or "" for job in jobs if not job.status.is_terminal()), "")


def submit(client: "JobSubmissionClient", run: Run, execution: Execution) -> str:
    """The number of a new job."""
    return client.submit_job(
        entrypoint=command_line(run, execution),
        runtime_env=runtime_environment(),
        metadata={"run": str(run.path.resolve())},
    )


def command_line(run: Run, execution: Execution) -> str:
    """What the job types: it resumes the run on the cluster it finds itself on."""
    spec = run.spec(Spec)
    words = ["python", "-m", "nas", spec.command, "--resume", str(run.path.resolve()), "--cluster", "auto"]
    words += ["--device", execution.device] if execution.device else []
    words += ["--workers", str(execution.workers)] if execution.workers else []
    words += ["--data-root", str(execution.data_root.resolve())] if execution.data_root else []
    words += ["--ops", str(plugins.place_of(spec.ops))] if spec.ops else []
    return shlex.join(words)


async def show_log(client: "JobSubmissionClient", number: str) -> None:
    """Prints the job's output, as it comes, on stderr."""
    async for lines in client.tail_job_logs(number):
        print(lines, end="", file=sys.stderr, flush=True)
