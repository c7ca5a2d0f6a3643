"""Speed and memory of a step against the textbook's way, and how near they come to what the machine can do.

Each measurement is a process of its own, never two alive; the ways take turns, so that a disturbance of the machine
meets all of them.
"""

import gc
import json
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass

from nas.commands.limits import Limits, machine_limits
from nas.commands.workloads import LEAN, TEXTBOOK, Work, Workload, check
from nas.errors import UsageError
from nas.execution import keep_memory
from nas.run.environment import Environment, environment
from nas.train.preflight import peak, timed

SECONDS = 1.0
"""At least so long a process measures, after a step that warms up."""


@dataclass(frozen=True)
class Point:
    """Of one process: the median of its steps; the bytes of the process (on a GPU, of the device) at its highest."""

    seconds: float
    bytes: int


@dataclass(frozen=True)
class Measurement:
    """Steps done in several ways, measured in one run.

    Args:
        engine: the way whose advantage is asked over each of the others.
        seconds: of a step, by way: the median of ``points``' medians.
        peak_bytes: by way.
        speedup: seconds of another way over those of ``engine``, by way; ``memory_ratio``: bytes of ``engine`` over
            the other's.
        arithmetic, traffic: the least time for a step's multiply-adds, and for its maps, by the machine's limits, over
            the time taken, by way.
    """

    engine: str
    workload: Workload
    seconds: dict[str, float]
    peak_bytes: dict[str, int]
    speedup: dict[str, float]
    memory_ratio: dict[str, float]
    arithmetic: dict[str, float]
    traffic: dict[str, float]
    points: dict[str, list[Point]]
    work: Work
    limits: Limits
    environment: Environment


def compare(workload: Workload, engine: str, against: str, repeats: int = 3) -> Measurement:
    """A way held against another one, by ``repeats`` processes of each.

    Args:
        against: the other way. Where it is a search's textbook, so is measured what any user can have for nothing.

    Raises:
        UsageError: an unknown way, or one that does not fit the memory.
    """
    check(workload, engine, against)
    ways = list(dict.fromkeys([engine, against, *([LEAN] if against == "reference" else [])]))
    rounds = [{way: measure(workload, way) for way in ways} for _ in range(repeats)]
    points = {way: [each[way] for each in rounds] for way in ways}
    seconds = {way: statistics.median(point.seconds for point in points[way]) for way in ways}
    peaks = {way: max(point.bytes for point in points[way]) for way in ways}
    workload.start()
    limits, work = machine_limits(workload.device), workload.work()
    return Measurement(
        engine=engine,
        workload=workload,
        seconds=seconds,
        peak_bytes=peaks,
        speedup={way: seconds[way] / seconds[engine] for way in ways[1:]},
        memory_ratio={way: peaks[engine] / peaks[way] for way in ways[1:]},
        arithmetic={way: work.madds / limits.madds / seconds[way] for way in ways},
        traffic={way: work.bytes / limits.bytes / seconds[way] for way in ways},
        points=points,
        work=work,
        limits=limits,
        environment=environment(),
    )


def measure(workload: Workload, way: str) -> Point:
    """A step done that way, in a process of its own.

    Raises:
        UsageError: it did not run.
    """
    command = [sys.executable, "-m", "nas.commands.bench", way, json.dumps(asdict(workload))]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode != 0:
        last = (process.stderr.strip().splitlines() or ["killed"])[-1]
        _, mistake, said = last.partition("UsageError: ")
        if mistake:
            raise UsageError(said)
        raise UsageError(f"bench: the {way} step did not run ({last}); does batch {workload.batch} fit the memory?")
    return Point(**json.loads(process.stdout.splitlines()[-1]))


def point(workload: Workload, way: str) -> Point:
    """The measurement, in this process, with what a session does for speed; the published code does not."""
    workload.start()
    published = way in TEXTBOOK
    if not published:
        keep_memory()
    step, seconds = workload.build(way), list[float]()
    step()
    if not published:
        gc.collect()
        gc.freeze()
    while sum(seconds) < SECONDS:
        seconds.append(timed(step, workload.device))
    return Point(statistics.median(seconds), peak(workload.device))


if __name__ == "__main__":
    print(json.dumps(asdict(point(Workload(**json.loads(sys.argv[2])), sys.argv[1]))))
