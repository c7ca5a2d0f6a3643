"""Trainings on a Ray cluster: each is one or more tasks, begun again where a worker, a task or a node dies.

A task does what is left of a run folder, as ``--resume`` does, so that a second attempt goes on from the last
checkpoint. Tasks with a process group among them, rather than Ray Train, because a task runs in its process' main
thread, where it can be asked to stop and saves, and because the run folder is the only place that holds anything.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from typing import Any, cast

from nas import plugins
from nas.cluster.connect import connected
from nas.cluster.storage import copies, url_of
from nas.cluster.worker import Continue, Outcome, Worker, work
from nas.errors import UsageError
from nas.execution import Execution
from nas.run.folder import Run
from nas.train.process_group import rendezvous
from nas.train.stopping import interrupting

ATTEMPTS = 6
"""How often a training is begun in all, where what it runs on keeps dying."""
GRACE = 60.0
"""Seconds that a training's other workers get to end when one has failed, or all of them when they are to stop."""


def finish(runs: Sequence[Run], execution: Execution, continue_run: Continue) -> None:
    """Does what is left of independent runs, each a training on the cluster, as many at a time as fit.

    Raises:
        UsageError: no such cluster, no node that has what a worker asks for, or trainings that could not be ended; the
            others are done all the same.
        Interrupted: on a signal, saved.
    """
    unfinished = [replace(run, path=run.path.resolve()) for run in runs if not run.finished]
    with connected(execution.cluster):
        trainings = Trainings(_with_device(execution), continue_run)
        trainings.check_fits()
        with copies([run.path for run in unfinished], execution.storage):
            mistakes = trainings.finish(unfinished)
    if mistakes:
        raise UsageError("; ".join(mistakes))


def _with_device(execution: Execution) -> Execution:
    """The same with the device to be used: where none was asked for, a GPU if the cluster has any."""
    import ray

    return replace(execution, device=execution.device or ("cuda" if ray.cluster_resources().get("GPU") else "cpu"))


@dataclass
class Trainings:
    """The trainings of one command, on the cluster this process is connected to.

    Args:
        execution: as on the command line; ``threads`` CPUs and, on "cuda", one GPU a worker.
        continue_run: does what is left of a run.
    """

    execution: Execution
    continue_run: Continue
    _tasks: set[Any] = field(default_factory=set)
    _stopping: bool = False

    @property
    def world_size(self) -> int:
        """Workers a training."""
        return self.execution.workers or 1

    @property
    def bundle(self) -> dict[str, float]:
        """What one worker asks of the cluster."""
        gpu = {"GPU": 1.0} if self.execution.device.startswith("cuda") else {}
        return {"CPU": float(self.execution.threads or 1), **gpu}

    def check_fits(self) -> None:
        """Raises UsageError where the nodes cannot hold a training even when they are idle."""
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = sum(int(min(node.get(name, 0) // amount for name, amount in self.bundle.items())) for node in nodes)
        if room < self.world_size:
            each = " and ".join(f"{amount:.0f} {name}" for name, amount in self.bundle.items())
            raise UsageError(
                f"--workers {self.world_size}: each asks for {each} (--threads), and the cluster holds {room} such"
            )

    def finish(self, runs: Sequence[Run]) -> list[str]:
        """Does what is left of the runs; a line for each that a mistake or repeated deaths kept from its end.

        Raises:
            Interrupted, or a training's bug, once the other trainings are saved.
        """
        mistakes = []
        pool = ThreadPoolExecutor(max(1, len(runs)))
        try:
            with interrupting():
                futures = {pool.submit(self._finish, run): run.path.name for run in runs}
                for future in as_completed(futures):
                    name, mistake = futures[future], future.result()
                    mistakes += [f"{name}: {mistake}"] if mistake else []
                    _print(f"{name}: {mistake or 'done'}")
        except BaseException:
            _print("saving …")
            self._stop()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return mistakes

    def _finish(self, run: Run) -> str:
        """Does what is left of one run; what the user must know to go on, where it did not end well."""
        for attempt in range(1, ATTEMPTS + 1):
            outcome = self._attempt(run)
            if not outcome.death or self._stopping:
                return outcome.mistake
            if attempt < ATTEMPTS:
                _print(f"{run.path.name}: {outcome.death}; going on from its last checkpoint")
        return f"given up after {ATTEMPTS} attempts: {outcome.death}"

    def _attempt(self, run: Run) -> Outcome:
        import ray
        from ray.util.placement_group import placement_group, remove_placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        placement = placement_group([self.bundle] * self.world_size)
        try:
            store = rendezvous(ray.util.get_node_ip_address()) if self.world_size > 1 else None
            task = ray.remote(max_calls=1, max_retries=0)(work).options(
                num_cpus=self.bundle["CPU"],
                num_gpus=self.bundle.get("GPU", 0),
                scheduling_strategy=PlacementGroupSchedulingStrategy(placement),
            )
            root = self.execution.data_root
            worker = Worker(
                run.path,
                url_of(run.path, self.execution.storage),
                replace(self.execution, cluster="", workers=None, storage="", data_root=root and root.resolve()),
                self.continue_run,
                tuple(plugins.files()),
                world_size=self.world_size,
                address=(store.host, store.port) if store else None,
            )
            tasks = [task.remote(replace(worker, rank=rank)) for rank in range(self.world_size)]
            return joint_outcome(self._outcomes(tasks))
        finally:
            remove_placement_group(placement)

    def _outcomes(self, tasks: list[Any]) -> list[Outcome]:
        """How a training's tasks ended; once one has failed, the others are given some time and then ended."""
        import ray

        outcomes: list[Outcome] = []
        left = tasks
        self._tasks |= set(tasks)
        while left:
            failure = any(outcome != Outcome() for outcome in outcomes)
            done, left = ray.wait(left, timeout=GRACE if failure else None)
            outcomes += map(_outcome, done)
            for task in left if not done else ():
                ray.cancel(task, force=True)
        self._tasks -= set(tasks)
        return outcomes

    def _stop(self) -> None:
        """Asks all tasks to save and end."""
        import ray

        self._stopping, tasks = True, list(self._tasks)
        for task in tasks:
            ray.cancel(task)
        if tasks:
            ray.wait(tasks, num_returns=len(tasks), timeout=GRACE)


def _outcome(task: Any) -> Outcome:
    """How a task ended that is over."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return cast(Outcome, ray.get(task))
    except RayTaskError as error:
        return Outcome(bug=error)
    except RayError as error:
        return Outcome(death=f"its worker is gone ({type(error).__name__})")


def joint_outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """How a training ended, given its workers' outcomes.

    A death explains the others' bugs: they lose their connection to it. A mistake explains all else.

    Raises:
        Exception: a worker's bug that nothing else explains.
    """
    mistake = next((outcome.mistake for outcome in outcomes if outcome.mistake), "")
    death = next((outcome.death for outcome in outcomes if outcome.death), "")
    bug = next((outcome.bug for outcome in outcomes if outcome.bug), None)
    if bug and not mistake and not death:
        raise bug
    return Outcome(mistake=mistake, death="" if mistake else death)


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
