"""Where a run is executed."""

import ctypes
import resource

import pytest
import torch

from nas.execution import Execution


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
def test_a_map_that_comes_and_goes_is_no_fresh_memory_each_time() -> None:
    Execution("cpu").start()
    pages = 2**26 // resource.getpagesize()

    def faults() -> int:
        torch.ones(2**24)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    faults()
    first = faults()
    assert [faults() for _ in range(4)][-1] - first < 3 * pages
