"""Ray performs jobs, on one machine or many. The driver keeps the study; nothing of Ray's own is saved or read back.

Each job is a task, tried again on another node when its own dies; it goes on from its checkpoint where the nodes share
the folder of runs, and starts anew where they do not. An actor on the driver's node carries the epochs' accuracies to
the driver and its verdicts back.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import Any

from nas.cluster.trainings import check_answers
from nas.errors import Interrupted, UsageError
from nas.tuning.objective import Job, perform
from nas.tuning.pools import Done, Jobs, Told

Event = tuple[str, int, float]
"""(key, epoch, accuracy)."""


def import_ray() -> Any:
    """The package.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise UsageError("--engine ray needs Ray: pip install 'nas[cluster]'") from None
    return ray


class Board:
    """Where workers report and wait for the verdict; an asynchronous actor."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.verdicts: dict[tuple[str, int], asyncio.Future[bool]] = {}

    async def report(self, key: str, epoch: int, accuracy: float) -> bool:
        """A worker's question: stop there?"""
        self.verdicts[key, epoch] = asyncio.get_running_loop().create_future()
        await self.events.put((key, epoch, accuracy))
        return await self.verdicts[key, epoch]

    async def next(self) -> Event:
        """The driver takes the next report."""
        return await self.events.get()

    async def answer(self, key: str, epoch: int, stop: bool) -> None:
        """The driver's verdict; whoever asked may have died."""
        verdict = self.verdicts.pop((key, epoch))
        if not verdict.done():
            verdict.set_result(stop)


def attempt(job: Job, board: Any) -> Mapping[str, Any]:
    """A task: performs a job; a mistake of the user's comes back as a result, since Ray wraps what is raised."""
    import ray

    def report(epoch: int, accuracy: float) -> bool:
        return bool(ray.get(board.report.remote(job.key, epoch, accuracy)))

    try:
        return perform(job, report)
    except UsageError as error:
        return {"mistake": str(error)}


@dataclass
class RayPool:
    """Tasks on a Ray cluster.

    Args:
        cluster: "local" or an address.
        workers: trials at once; None: as many as there is room for.
        gpus: share of a GPU that a trial takes; None: one where the cluster has any.
    """

    cluster: str
    workers: int | None
    gpus: float | None
    _tasks: dict[Any, str] = field(default_factory=dict)

    def run(self, jobs: Jobs, told: Told, done: Done) -> None:
        """See :class:`nas.tuning.pools.Pool`. What Ray says of nodes that died belongs on stderr."""
        with redirect_stdout(sys.stderr):
            self._run(jobs, told, done)

    def _run(self, jobs: Jobs, told: Told, done: Done) -> None:
        ray = import_ray()
        ours = not ray.is_initialized()
        if ours:
            self._connect(ray)
        board = ray.remote(Board).options(num_cpus=0, max_concurrency=1000, **_here(ray)).remote()
        perform_remote = ray.remote(attempt).options(num_cpus=1, num_gpus=self._share(ray), max_retries=-1)
        try:
            event = board.next.remote()
            self._submit(jobs, lambda job: perform_remote.remote(job, board), ray)
            while self._tasks:
                ready, _ = ray.wait([event, *self._tasks])
                if ready[0] == event:
                    key, epoch, accuracy = ray.get(event)
                    board.answer.remote(key, epoch, told(key, epoch, accuracy))
                    event = board.next.remote()
                    continue
                self._finish(ray, ready[0], done)
                self._submit(jobs, lambda job: perform_remote.remote(job, board), ray)
        except KeyboardInterrupt:
            raise Interrupted(2, "") from None
        finally:
            for task in self._tasks:
                ray.cancel(task, force=True)
            ray.kill(board)
            if ours:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        local = {"num_cpus": self.workers, "_node_ip_address": "127.0.0.1"}
        if self.cluster != "local":
            check_answers(self.cluster)
        where = local if self.cluster == "local" else {"address": self.cluster}
        try:
            ray.init(**where, include_dashboard=False, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(f"--cluster {self.cluster}: {str(error).splitlines()[0]}") from None

    def _share(self, ray: Any) -> float:
        return self.gpus if self.gpus is not None else float(ray.cluster_resources().get("GPU", 0) > 0)

    def _room(self, ray: Any) -> int:
        if self.workers:
            return self.workers
        resources, share = ray.cluster_resources(), self._share(ray)
        return max(1, int(resources.get("GPU", 0) / share if share else resources.get("CPU", 1)))

    def _submit(self, jobs: Jobs, start: Callable[[Job], Any], ray: Any) -> None:
        while len(self._tasks) < self._room(ray) and (job := jobs()):
            self._tasks[start(job)] = job.key

    def _finish(self, ray: Any, task: Any, done: Done) -> None:
        key = self._tasks.pop(task)
        result = ray.get(task)
        if "mistake" in result:
            raise UsageError(result["mistake"])
        done(key, result)


def _here(ray: Any) -> dict[str, Any]:
    """Options that keep an actor on the driver's node."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)}
