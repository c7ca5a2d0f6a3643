"""A search that several ranks share is that of one process: real processes of a gloo group, in float64."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from nas.train.process_group import ProcessGroup, membership, rendezvous
from tests.bilevel import one_searcher
from tests.ranks import assert_as_one, several

FEW = ("merged", "reference", "paths")


@pytest.mark.parametrize("names", [FEW, pytest.param([*one_searcher.CHANGES], marks=pytest.mark.slow)])
def test_both_gradients_are_those_of_one_process(names: Sequence[str], tmp_path: Path) -> None:
    one = one_searcher.steps(names, ProcessGroup(12))
    for name, tensors in one.items():
        assert any(key.startswith("gradient of alphas") for key in tensors), name
        assert sum(key.startswith("gradient of network") for key in tensors) > 20, name
    assert_as_one(several(one_searcher, 2, tmp_path, *names), one)


@pytest.mark.gpu
@pytest.mark.parametrize("name", one_searcher.CHANGES)
def test_exchanges_on_a_gpu(name: str) -> None:
    """By NCCL, in a group of one: its shared statistics and averages are the library's own and no averages."""
    changes, store = one_searcher.CHANGES[name], rendezvous("127.0.0.1")
    alone = one_searcher.step(changes, ProcessGroup(12), "cuda")
    with membership("cuda", 0, 1, ("127.0.0.1", store.port)):
        shared = one_searcher.step(changes, ProcessGroup.current(12), "cuda")
    for key, value in alone.items():
        torch.testing.assert_close(shared[key], value, rtol=1e-9, atol=1e-9, msg=f"{name}: {key}")
