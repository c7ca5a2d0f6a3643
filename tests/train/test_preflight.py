"""The measured step: on a GPU at one size, and at others only where that does not fit."""

import pytest
import torch

from nas.errors import UsageError
from nas.train import preflight
from nas.train.preflight import measure


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A GPU of 1000 bytes, of which an image takes 10; the sizes that are run are listed."""
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    sizes: list[int] = []
    monkeypatch.setattr(preflight, "peak", lambda device: 10 * sizes[-1])
    monkeypatch.setattr(preflight, "free_memory", lambda device: 1000 - 10 * sizes[-1])
    return sizes


def step_into(sizes: list[int], images: int) -> None:
    if images > 100:
        raise torch.OutOfMemoryError
    sizes.append(images)


def test_one_size_is_run_on_a_gpu(gpu: list[int]) -> None:
    assert measure(lambda images: step_into(gpu, images), 64, "cuda").peak_bytes == 640
    assert gpu == [64, 64], "the first builds what is built once, the second is timed"


def test_a_recorded_step_stands_for_the_whole(gpu: list[int]) -> None:
    gpu.append(1)
    whole: list[str] = []
    measure(lambda images: step_into(gpu, images), 64, "cuda", lambda: whole.append("recorded"))
    assert whole == ["recorded"] * 2 and gpu == [1]


def test_what_does_not_fit_names_what_does(gpu: list[int]) -> None:
    with pytest.raises(UsageError, match=r"--batch 256 needs .* --batch 96 fits"):
        measure(lambda images: step_into(gpu, images), 256, "cuda")
    assert gpu == [32, 64]


def test_of_several_workers_the_whole_batch_is_named(gpu: list[int]) -> None:
    with pytest.raises(UsageError, match=r"--batch 1024 needs .* --batch 384 fits"):
        measure(lambda images: step_into(gpu, images), 256, "cuda", workers=4)
