"""What the kernels are held against."""

import pytest

from nas.engine.native import kernels
from nas.engine.native.limits import measure_limits


@pytest.mark.skipif(kernels.library() is None, reason="no C++ compiler")
def test_limits_are_those_of_a_processor() -> None:
    limits = measure_limits(repeats=3)
    assert limits is not None
    assert 1e8 < limits.multiply_adds < 1e12 and 1e8 < limits.bytes < 1e12


def test_without_kernels_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.engine.native.limits.library", lambda: None)
    assert measure_limits() is None
