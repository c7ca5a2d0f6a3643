"""Trainings on a Ray cluster: each is a team of one or more tasks, begun again where a worker, a task or a node dies.

A task does what is left of a run folder, as ``--resume`` does, so that a second attempt goes on from the last
checkpoint. Tasks with torch.distributed among them, rather than Ray Train, because a task runs in its process' main
thread, where it can be asked to stop and saves, and because the run folder is the only place that holds anything.
"""

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from nas import plugins
from nas.cluster.storage import Store, is_url
from nas.errors import Interrupted, UsageError
from nas.execution import Execution
from nas.run.folder import Run

ATTEMPTS = 6
"""How often a training is begun in all, where what it runs on keeps dying."""
GRACE = 60.0
"""Seconds that the rest of a team gets to end by itself when one of it has failed, or when all are asked to stop."""

Proceed = Callable[[Run, Execution], Run]


@dataclass(frozen=True)
class Place:
    """One worker's part in a training, as it is sent to it.

    Args:
        path: the run folder, which all nodes see.
        store: URL of the run's copy on an object store, then used instead of ``path``; or empty.
        rank, size: which worker of the team, of how many.
        meeting: address and port of the team's store; None: a team of one.
    """

    path: Path
    store: str
    rank: int
    size: int
    meeting: tuple[str, int] | None


@dataclass
class Fleet:
    """The trainings of one command.

    Args:
        execution: as on the command line; ``threads`` CPUs and, on "cuda", one GPU a worker.
        proceed: does what is left of a run; it must be importable where the tasks run.
    """

    execution: Execution
    proceed: Proceed
    pending: set[Any] = field(default_factory=set)
    stopping: bool = False

    def train(self, run: Run) -> str:
        """One training to its end.

        Returns:
            what the user must know to go on, where it did not end well; else nothing.
        """
        for attempt in range(1, ATTEMPTS + 1):
            said, died = self._attempt(run)
            if not died or self.stopping:
                return said
            if attempt < ATTEMPTS:
                tell(f"{run.path.name}: {died}; going on from its last checkpoint")
        return f"given up after {ATTEMPTS} attempts: {died}"

    def _attempt(self, run: Run) -> tuple[str, str]:
        """(what a worker had to say, what died); both empty: the training is done."""
        import ray
        from ray.util.placement_group import placement_group, remove_placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        size = self.execution.workers or 1
        group = placement_group([self.bundle] * size)
        try:
            with meeting(size) as address:
                task = ray.remote(max_calls=1, max_retries=0)(work).options(
                    num_cpus=self.bundle["CPU"],
                    num_gpus=self.bundle.get("GPU", 0),
                    scheduling_strategy=PlacementGroupSchedulingStrategy(group),
                )
                own = replace(self.execution, cluster="", workers=None, storage="")
                places = [Place(run.path, self.store(run), rank, size, address) for rank in range(size)]
                tasks = [task.remote(place, own, self.proceed, plugins.files()) for place in places]
                return verdict(self._ends(tasks))
        finally:
            remove_placement_group(group)

    def _ends(self, tasks: list[Any]) -> "list[End]":
        """How the tasks of a team ended; once one has failed, the others are given some time and then ended."""
        import ray

        ends: list[End] = []
        left = tasks
        self.pending |= set(tasks)
        while left:
            failed = any(end != End() for end in ends)
            done, left = ray.wait(left, timeout=GRACE if failed else None)
            ends += map(end_of, done)
            for task in left if not done else ():
                ray.cancel(task, force=True)
        self.pending -= set(tasks)
        return ends

    @property
    def bundle(self) -> dict[str, float]:
        """What one worker asks of the cluster."""
        gpu = {"GPU": 1.0} if self.execution.device.startswith("cuda") else {}
        return {"CPU": float(self.execution.threads or 1), **gpu}

    def store(self, run: Run) -> str:
        """Where a run's copy is kept, if its command named an object store."""
        root = self.execution.storage
        return f"{root.rstrip('/')}/{run.path.parent.name}/{run.path.name}" if is_url(root) else ""

    def stop(self) -> None:
        """Asks all tasks to save and end."""
        import ray

        self.stopping, tasks = True, list(self.pending)
        for task in tasks:
            ray.cancel(task)
        if tasks:
            ray.wait(tasks, num_returns=len(tasks), timeout=GRACE)


@dataclass(frozen=True)
class End:
    """How a task ended: well, or with something to say, or by the death of what it ran on, or by a bug."""

    said: str = ""
    died: str = ""
    bug: Exception | None = None


def end_of(task: Any) -> End:
    """How a finished task ended."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return cast(End, ray.get(task))
    except RayTaskError as error:
        return End(bug=error)
    except RayError as error:
        return End(died=f"its worker is gone ({type(error).__name__})")


def verdict(ends: Sequence[End]) -> tuple[str, str]:
    """(what a worker said, what died). A death explains the others' errors: they lose their connection to it."""
    said, died = (next(filter(None, (getattr(end, name) for end in ends)), "") for name in ("said", "died"))
    bugs = [end.bug for end in ends if end.bug]
    if bugs and not said and not died:
        raise bugs[0]
    return said, "" if said else died


def finish(runs: Sequence[Run], execution: Execution, proceed: Proceed) -> None:
    """Does what is left of independent runs, each a training on the cluster, as many at a time as fit.

    Raises:
        UsageError: no such cluster, no node that has what a worker asks for, or trainings that could not be ended; the
            others are done all the same.
        Interrupted: on a signal, saved.
    """
    left = [replace(run, path=run.path.resolve()) for run in runs if not run.finished]
    with joined(execution.cluster):
        fleet = Fleet(equipped(execution), proceed)
        check_fits(fleet.bundle, fleet.execution.workers or 1)
        for run in left:
            if fleet.store(run):
                Store(fleet.store(run)).begin(run.path)
        try:
            failures = train_all(fleet, left)
        except Exception as error:  # a signal, or a bug of one training, which must not cost the others
            tell("saving …")
            fleet.stop()
            if not isinstance(error, Interrupted):
                raise
            raise Interrupted(error.signal, f"saved; go on with --resume {command_run(left[0])}") from None
        finally:
            for run in left:
                if fleet.store(run):
                    Store(fleet.store(run)).pull(run.path)
    if failures:
        raise UsageError("; ".join(failures))


def command_run(run: Run) -> Path:
    """The run folder of the command that a run belongs to: its parent's, where it is a child."""
    return run.path.parent if (run.path.parent / "settings.json").is_file() else run.path


def train_all(fleet: Fleet, runs: Sequence[Run]) -> list[str]:
    """Trains all runs; what went wrong, a line each."""
    failures = []
    pool = ThreadPoolExecutor(max(1, len(runs)))
    try:
        with signals():
            futures: dict[Future[str], Run] = {pool.submit(fleet.train, run): run for run in runs}
            for future in as_completed(futures):
                run = futures[future]
                said = future.result()
                failures += [f"{run.path.name}: {said}"] if said else []
                tell(f"{run.path.name}: {said or 'done'}")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return failures


def work(place: Place, execution: Execution, proceed: Proceed, ops: Sequence[Path]) -> End:
    """In a task's own process: does what is left of a run; how that ended."""
    try:
        for path in ops:
            plugins.register(path)
        with folder(place) as run, gathered(place, execution):
            proceed(run, execution)
    except UsageError as error:
        return End(said=str(error))
    except Interrupted:  # by this command, or as a node that is drained does
        return End(died="its worker was told to stop, and has saved")
    return End()


@contextmanager
def folder(place: Place) -> Iterator[Run]:
    """The run folder where this process can use it: the shared one, or a copy that is sent back to the store."""
    if not place.store:
        if not (place.path / "settings.json").is_file():
            raise UsageError(
                f"node {os.uname().nodename} does not see {place.path}: --storage must be a folder all share"
            )
        yield Run(place.path)
        return
    store = Store(place.store)
    with tempfile.TemporaryDirectory(prefix="nas-") as scratch:
        store.pull(Path(scratch))
        run = Run(Path(scratch), store.push if place.rank == 0 else None)
        try:
            yield run
        finally:
            run.publish()


@contextmanager
def gathered(place: Place, execution: Execution) -> Iterator[None]:
    """The team's torch.distributed group, NCCL on GPUs and gloo on CPUs; none for a team of one."""
    if place.meeting is None:
        yield
        return
    import torch.distributed as dist

    backend = "nccl" if execution.device.startswith("cuda") else "gloo"
    store = dist.TCPStore(*place.meeting, is_master=False)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.size)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def meeting(size: int) -> Iterator[tuple[str, int] | None]:
    """Where a team finds itself: a store in this process, which all workers can reach; None for a team of one."""
    if size == 1:
        yield None
        return
    import ray
    import torch.distributed as dist

    host = ray.util.get_node_ip_address()
    store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    yield host, store.port


@contextmanager
def joined(address: str) -> Iterator[None]:
    """A connection to a cluster: "local" starts one on this machine, "auto" finds the one this process runs on.

    Raises:
        UsageError: Ray is not installed, or there is no cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # else epoch lines of several trainings count as one repeated
    os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")  # else NAS_DATA given to a job conflicts with itself
    try:
        import ray
    except ImportError:
        raise UsageError("--cluster needs Ray: pip install 'nas[cluster]'") from None
    shared = {name: os.environ[name] for name in ("NAS_DATA",) if name in os.environ}
    options: dict[str, Any] = {"runtime_env": {"env_vars": shared}, "logging_level": "error"}
    if address == "local":
        options |= {"include_dashboard": False, "object_store_memory": 100 * 2**20}
    else:
        check_answers(address)
    try:
        ray.init(address, **options)
    except Exception as error:  # what Ray raises itself when a node does not start
        raise UsageError(f"--cluster {address}: {str(error).splitlines()[0]}") from None
    try:
        yield
    finally:
        ray.shutdown()


def check_answers(address: str) -> None:
    """Raises UsageError where nothing listens at ``[scheme://]host:port``; Ray itself would wait for minutes."""
    host, _, port = address.rpartition("://")[2].rstrip("/").rpartition(":")
    if not host or not port.isdigit():
        return  # auto, or a name that Ray knows
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UsageError(f"--cluster {address}: nothing answers there ({error.strerror or error})") from None


def equipped(execution: Execution) -> Execution:
    """With the device to be used: where none was asked for, a GPU if the cluster has any."""
    import ray

    return replace(execution, device=execution.device or ("cuda" if ray.cluster_resources().get("GPU") else "cpu"))


def check_fits(bundle: dict[str, float], workers: int) -> None:
    """Raises UsageError where the nodes cannot hold a team even when they are idle."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(int(min(node.get(name, 0) // wanted for name, wanted in bundle.items())) for node in nodes)
    if room < workers:
        asked = " and ".join(f"{wanted:.0f} {name}" for name, wanted in bundle.items())
        raise UsageError(f"--workers {workers}: each asks for {asked} (--threads), and the cluster holds {room} such")


@contextmanager
def signals() -> Iterator[None]:
    """Turns SIGINT and SIGTERM into Interrupted."""

    def stop(number: int, frame: Any) -> None:
        raise Interrupted(number, "")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tell(line: str) -> None:
    """A line for the user, on stderr."""
    print(line, file=sys.stderr, flush=True)
