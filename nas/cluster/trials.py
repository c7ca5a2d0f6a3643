"""Trials as Ray tasks, on one machine or many. The driver keeps the study; nothing of Ray's own is saved or read back.

A task is tried again on another node when its own dies, up to five times: from its checkpoint where the nodes share the
folder of runs, anew where they do not. An actor on the driver's node answers what tasks ask of the study.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Generic, Self, TypeVar

from nas.cluster.connect import connected
from nas.cluster.trainings import ATTEMPTS
from nas.errors import BrokenProcess, Interrupted, UsageError

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")
GRACE = 60.0
"""Seconds that tasks have to save."""


class Relay:
    """Calls a function on the driver's node for tasks that run elsewhere; a Ray actor."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def call(self, *arguments: Any) -> Any:
        """What the function returns."""
        return self._function(*arguments)


def _work(perform: Callable[[Any, Callable[..., Any]], Any], job: Any, relay: Any) -> Any:
    """A task: performs a job; what it asks is answered on the driver's node."""
    import ray

    try:
        return perform(job, lambda *question: ray.get(relay.call.remote(*question)))
    except (BrokenProcess, Interrupted):
        os._exit(1)  # and the task is begun again in another, unless it was cancelled


class RayPool(Generic[Job, Outcome]):
    """Tasks on a Ray cluster; left by an error, they save.

    Args:
        cluster: see :func:`nas.cluster.connect.connected`.
        parallel: tasks at once; None: as many as there is room for.
        threads: of a task, and so many CPUs are its own.
        gpus: share of a GPU that a task takes; None: a whole one where the cluster has any.
        perform: does a job, and is given what it may ask.
        answer: what it asks, called on this node. Both must be importable where tasks run.
        lost: the outcome of a job whose workers died so many times.

    Raises:
        UsageError: Ray is not installed, or there is no such cluster.
    """

    def __init__(
        self,
        cluster: str,
        parallel: int | None,
        threads: int,
        gpus: float | None,
        perform: Callable[[Job, Callable[..., Any]], Outcome],
        answer: Callable[..., Any],
        lost: Callable[[int], Outcome],
    ) -> None:
        self._cluster, self._parallel, self._threads, self._gpus = cluster, parallel, threads, gpus
        self._perform, self._answer, self._lost = perform, answer, lost
        self._connection = ExitStack()
        self._tasks: list[Any] = []

    def __enter__(self) -> Self:
        self._connection.enter_context(connected(self._cluster, self._parallel and self._parallel * self._threads))
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        relay = ray.remote(Relay).options(num_cpus=0, scheduling_strategy=here, max_restarts=-1, max_task_retries=-1)
        self._relay: Any = relay.remote(self._answer)
        self._task: Any = ray.remote(_work).options(num_cpus=self._cpus, num_gpus=self._share, max_retries=ATTEMPTS - 1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        import ray
        from ray.exceptions import RayError

        with self._connection, suppress(RayError):
            if error:
                self._stop()
            ray.kill(self._relay)
        if isinstance(cause := getattr(error, "cause", None), UsageError):  # Ray wraps what a task raises
            raise cause from None

    def _stop(self) -> None:
        """Has the tasks save, and ends those that have not in time."""
        import ray

        for task in self._tasks:
            ray.cancel(task)
        for task in ray.wait(self._tasks, num_returns=len(self._tasks), timeout=GRACE)[1] if self._tasks else ():
            ray.cancel(task, force=True)

    @property
    def _cpus(self) -> float:
        """Of a task: no more than the largest node has, or it would wait for ever."""
        import ray

        largest: float = max(node["Resources"].get("CPU", 1.0) for node in ray.nodes())
        return min(float(self._threads), largest)

    @property
    def _share(self) -> float:
        import ray

        return self._gpus if self._gpus is not None else float(ray.cluster_resources().get("GPU", 0) > 0)

    @property
    def slots(self) -> int:
        """Tasks at once; nodes may come and go."""
        import ray

        if self._parallel:
            return self._parallel
        resources, share = ray.cluster_resources(), self._share
        return max(1, int(resources.get("GPU", 0) / share if share else resources.get("CPU", 1) / self._cpus))

    def submit(self, job: Job) -> "Future[Outcome]":
        """The outcome of a job."""
        self._tasks.append(self._task.remote(self._perform, job, self._relay))
        outcome: Future[Outcome] = Future()
        self._tasks[-1].future().add_done_callback(partial(self._hand_on, outcome))
        return outcome

    def _hand_on(self, outcome: "Future[Outcome]", task: "Future[Outcome]") -> None:
        from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError

        error = task.exception()
        if isinstance(error, (NodeDiedError, OutOfMemoryError, WorkerCrashedError)):
            outcome.set_result(self._lost(ATTEMPTS))
        elif isinstance(error, RayError) and not isinstance(error, RayTaskError):
            said = f"--cluster {self._cluster}: Ray is gone ({type(error).__name__}); --resume goes on"
            outcome.set_exception(UsageError(said))
        elif error:
            outcome.set_exception(error)
        else:
            outcome.set_result(task.result())
