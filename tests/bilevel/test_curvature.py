"""The dominant eigenvalue against the full Hessian by automatic differentiation.

In float64, with smooth activations and average pooling: with ReLU and max pooling differences are off by multiples.
"""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from nas.bilevel.curvature import curvature, dominant_eigenvalue, hessian_product
from nas.cells.recompute import still
from nas.cells.supernet import FanOut, MixedFanOut, Supernet
from nas.engine.merged import MergedFanOut
from nas.space import CellSpace
from tests.bilevel.test_gradients import SPACE, batch, smooth

NOISY = CellSpace("noisy", "", 2, {"noise": {}, "avg_pool_3x3": {}, "skip_connect": {}, "sep_conv_3x3": {}})


def supernet_of(space: CellSpace = SPACE, fan_out: FanOut = MixedFanOut, *, kinks: bool = False) -> Supernet:
    torch.manual_seed(0)
    supernet = Supernet(space, channels=2, cells=3, classes=3, fan_out=fan_out).double().train()
    if not kinks:
        smooth(supernet)
    with torch.no_grad():
        for alpha in supernet.alphas.values():
            alpha.normal_()
    return supernet


def hessian(supernet: Supernet) -> Tensor:
    """(alphas, alphas) of both cell kinds together."""
    names = [f"alphas.{kind}" for kind in supernet.alphas]
    alphas = [alpha.detach() for alpha in supernet.alphas.values()]
    images, labels = batch(1)

    def loss(flat: Tensor) -> Tensor:
        parts = zip(names, flat.split([alpha.numel() for alpha in alphas]), alphas, strict=True)
        own = {name: part.view_as(alpha) for name, part, alpha in parts}
        return F.cross_entropy(functional_call(supernet, own, images), labels)

    flat = torch.cat([alpha.flatten() for alpha in alphas])
    with still(supernet):
        return torch.autograd.functional.hessian(loss, flat)


def test_dominant_eigenvalue() -> None:
    supernet = supernet_of()
    values = np.linalg.eigvalsh(hessian(supernet).numpy())
    found = dominant_eigenvalue(supernet, batch(1), step=1e-3, tolerance=1e-8)
    assert found == pytest.approx(values[-1], rel=1e-4)
    assert abs(values[0]) != pytest.approx(values[-1], rel=0.1), "the largest, not the largest in size"


def test_product_is_of_second_order() -> None:
    supernet = supernet_of()
    vector = np.random.default_rng(1).standard_normal(40)
    wanted = hessian(supernet).numpy() @ vector
    with still(supernet):
        products = [hessian_product(supernet, batch(1), step)(vector) for step in (4e-2, 2e-2)]
    errors = [np.linalg.norm(product - wanted) / np.linalg.norm(wanted) for product in products]
    assert errors[1] < 1e-3 and 3 < errors[0] / errors[1] < 5
    assert np.array_equal(
        hessian_product(supernet, batch(1), 1e-2)(-vector), -hessian_product(supernet, batch(1), 1e-2)(vector)
    )


@pytest.mark.parametrize("space", [SPACE, NOISY], ids=lambda space: space.name)
def test_changes_nothing(space: CellSpace) -> None:
    supernet = supernet_of(space)
    before = copy.deepcopy(supernet.state_dict())
    measured = [curvature(supernet, batch(1)).eigenvalue for _ in range(2)]
    assert measured[0] is not None and measured[0] == measured[1], "the same draws and the same start"
    after = supernet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in supernet.parameters())


def test_both_engines() -> None:
    own: list[float | None] = []
    for fan_out in (MixedFanOut, MergedFanOut):
        supernet = supernet_of(fan_out=fan_out, kinks=True)
        supernet.load_state_dict(supernet_of().state_dict())
        own.append(dominant_eigenvalue(supernet, batch(1)))
    assert own[0] == pytest.approx(own[1], rel=1e-6)


def spoilt(supernet: Supernet) -> None:
    with torch.no_grad():
        supernet.weights[0].fill_(float("nan"))


def emptied(supernet: Supernet) -> None:
    with torch.no_grad():
        supernet.network.classifier.weight.zero_()


@pytest.mark.parametrize(("change", "wanted"), [(spoilt, None), (emptied, 0.0)])
def test_nothing_to_measure(change: Callable[[Supernet], None], wanted: float | None) -> None:
    """A search that has diverged, or learns nothing, goes on."""
    supernet = supernet_of()
    change(supernet)
    assert dominant_eigenvalue(supernet, batch(1)) in (wanted, None)
