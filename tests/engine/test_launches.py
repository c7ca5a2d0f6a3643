"""How many kernels a search's step launches on a GPU, counted on fake tensors (benchmarks/launches.py)."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks.fake_gpu import fake_gpu
from benchmarks.launches import Launches, count_step, count_training


def launched(*, tensors: int) -> int:
    launches = Launches()
    with fake_gpu():
        x = torch.randn(2, 8, 4, 4, device="cuda")
        weight = torch.randn(8, 8, 3, 3, device="cuda", requires_grad=True)
        group = [x.clone() for _ in range(tensors)]
        with launches.counting():
            F.conv2d(x.view(2, 8, 4, 4)[:1], weight).sum().backward()
            torch._foreach_add_(group, 1)
    return launches.total.kernels


def test_each_operation_counts_as_it_launches() -> None:
    forward, ones, backward = 2, 1, 1
    assert launched(tensors=110) == forward + ones + backward + 1
    assert launched(tensors=111) == forward + ones + backward + 2


def test_single_precision_casts_nothing_and_touches_more() -> None:
    space = str(Path(__file__).parents[1] / "small_space.toml")
    single, mixed = (count_step(space, cells=1, precision=precision).total for precision in ("fp32", "bf16"))
    assert single.kernels < mixed.kernels and single.bytes > mixed.bytes


def check(backend: str, cells: int, limit: int) -> None:
    """The count keeps the limit, and is not far below it: then the limit has become loose."""
    if backend == "triton" and find_spec("triton") is None:
        pytest.skip("there is no Triton")
    assert 0.85 * limit < count_step("darts", cells=cells, backend=backend).total.kernels <= limit


@pytest.mark.parametrize(("backend", "limit"), [("library", 8_500), ("triton", 1_400)])
def test_a_step_keeps_its_limit(backend: str, limit: int) -> None:
    check(backend, 3, limit)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "limit"), [("library", 22_500), ("triton", 3_500)])
def test_the_paper_s_step_keeps_its_limit(backend: str, limit: int) -> None:
    check(backend, 8, limit)


@pytest.mark.slow
def test_a_recorded_retraining_keeps_its_limit() -> None:
    recorded, textbook = count_training().total, count_training(textbook=True).total
    assert recorded.kernels <= 4_000 < textbook.kernels
