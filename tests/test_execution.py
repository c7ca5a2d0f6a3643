"""Where a run is executed."""

import ctypes
import os
import resource
import subprocess
import sys

import pytest
import torch

from nas.errors import UsageError
from nas.execution import Execution

MAPS = """
import resource, torch
from nas.execution import Execution
Execution("cpu").start()
for time in range(20):
    torch.ones(2**24)
    if time >= 15:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""
"""Page faults of the process so far, after each of the last maps of 64 MiB; the first find no gap of that size."""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
def test_a_map_that_comes_and_goes_is_no_fresh_memory_each_time() -> None:
    """In a process of its own: in a heap that other tests have cut up, a map may find no room where it was."""
    done = subprocess.run([sys.executable, "-c", MAPS], check=True, capture_output=True, text=True)
    first, *_, last = map(int, done.stdout.split())
    assert last - first < 2**26 // resource.getpagesize(), "four maps"


def test_a_run_from_a_larger_machine_goes_on_with_the_threads_that_there_are() -> None:
    most, own = 4 * (os.cpu_count() or 1), torch.get_num_threads()
    assert Execution().going_on(Execution("cpu", threads=most)).threads == most
    with pytest.warns(UserWarning, match=f"begun with {most + 1} threads, of which this machine takes {most}"):
        Execution().going_on(Execution("cpu", threads=most + 1)).start()
    torch.set_num_threads(own)


def test_on_a_cluster_threads_are_its_own_and_a_store_needs_one() -> None:
    begun = Execution("cpu", threads=10**4, storage="s3://bucket")
    assert Execution(cluster="local").going_on(begun).threads == 10**4
    with pytest.raises(UsageError, match="checkpoints are on s3://bucket: go on with --cluster"):
        Execution().going_on(begun)


@pytest.mark.parametrize("given", [{"threads": 2}, {"backend": "library"}, {"storage": "s3://x"}])
def test_what_a_resumed_run_keeps_is_not_ignored(given: dict) -> None:
    with pytest.raises(UsageError, match=f"a resumed run keeps its {next(iter(given))}"):
        Execution(**given).going_on(Execution("cpu", threads=1))
