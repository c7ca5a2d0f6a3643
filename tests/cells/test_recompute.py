"""Recomputed cells: bit for bit the same losses, gradients and running statistics, in less memory."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.bilevel.build import build_supernet
from nas.cells.supernet import Supernet
from nas.settings import SearchSettings
from nas.space import load
from tests.engine.test_merged import batch, loss

SETTINGS = SearchSettings(channels=8, cells=3)
WAYS: list[dict[str, Any]] = [
    {"engine": "reference"},
    {"engine": "merged"},
    {"engine": "merged", "partial": 4},
    {"relaxation": "path"},
]
SPACES = ["darts+sandglass", "s4", "nasbench201"]


def pair(changes: dict[str, Any], space: str = "darts+sandglass") -> tuple[Supernet, Supernet]:
    """Without and with."""
    plain, lighter = (
        build_supernet(replace(SETTINGS, recompute=on, **changes), load(space), 10) for on in (False, True)
    )
    return plain, lighter


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("changes", WAYS)
def test_bit_for_bit_the_same(changes: dict[str, Any], space: str) -> None:
    results = []
    data = batch(16, dtype=torch.float32)
    for supernet in pair(changes, space):
        supernet.to(memory_format=torch.channels_last)
        value = loss(supernet, data)
        value.backward()
        gradients = [parameter.grad for parameter in supernet.parameters() if parameter.grad is not None]
        results.append([value, *gradients, *supernet.buffers()])
    plain, lighter = results
    assert len(plain) == len(lighter) and all(torch.equal(a, b) for a, b in zip(plain, lighter, strict=True))


def test_noise_that_stands_still_is_the_same_again() -> None:
    """As in evaluation mode, in which adversarial perturbations are looked for."""
    gradients, data = [], batch(16, dtype=torch.float32)
    for supernet in pair({}, "s4"):
        supernet.eval()
        loss(supernet, data).backward()
        gradients.append([weights.grad for weights in supernet.alphas.values()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_a_cell_without_batch_norm() -> None:
    space = replace(load("nasbench201"), choices={"normal": (("none", "skip_connect"),) * 6})
    supernet = Supernet(space, channels=4, cells=3, recompute=True)
    supernet(torch.randn(2, 3, 8, 8)).sum().backward()
    assert all(weights.grad is not None for weights in supernet.alphas.values())


def test_momentum_is_put_back_and_evaluation_keeps_nothing() -> None:
    _, supernet = pair({}, "darts")
    loss(supernet, batch(8, dtype=torch.float32)).backward()
    norms = [module for module in supernet.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.1}
    assert {int(norm.get_buffer("num_batches_tracked")) for norm in norms} == {1}
    with torch.no_grad():
        assert loss(supernet.eval(), batch(8, dtype=torch.float32)).isfinite()


@pytest.mark.parametrize("engine", ["reference", "merged"])
def test_less_is_kept_for_the_backward_pass(engine: str) -> None:
    kept = []
    for supernet in pair({"engine": engine}, "darts"):
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        data = batch(16, dtype=torch.float32)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss(supernet, data)
        kept.append(sum(sizes.values()))
    assert kept[1] < kept[0] / 3
