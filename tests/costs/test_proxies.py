"""NASWOT and SynFlow by hand, and where the usual forms see nothing."""

import math

import pytest
import torch
from torch import Tensor, nn

from nas.cells.found import found_network
from nas.cells.genotype import Cell, Genotype
from nas.costs.proxies import naswot, synflow


def test_naswot_by_hand() -> None:
    """Two images whose one normalised value has opposite signs in one place, the same in none: K = identity · 1."""
    network = nn.Sequential(nn.BatchNorm2d(1))
    images = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    assert naswot(network, images) == pytest.approx(0.0)
    images = torch.tensor([[3.0, 1.0], [-3.0, 1.0]]).view(2, 1, 1, 2)  # mean 0.5: signs ++ and −+: K = [[2, 1], [1, 2]]
    assert naswot(network, images) == pytest.approx(math.log(3))


def test_naswot_of_equal_images_is_finite() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    assert math.isfinite(naswot(network, torch.ones(3, 3, 4, 4)))


@pytest.mark.parametrize("activation", [nn.Identity, nn.ReLU, nn.ReLU6, nn.Hardswish])
def test_synflow_by_hand(activation: type[nn.Module]) -> None:
    """Two layers of one weight, −20 and 3, on one pixel: R = 60, and both layers' w · ∂R/∂w are 60."""
    network = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), activation(), nn.Flatten(), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        network[0].weight.fill_(-20)
        network[3].weight.fill_(3)
    assert synflow(network, (1, 1, 1)) == pytest.approx(math.log(120))


def test_synflow_does_not_see_statistics() -> None:
    scores = []
    for passes in (0, 3):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
        for _ in range(passes):
            network(5 + torch.randn(8, 3, 4, 4))
        scores.append(synflow(network, (3, 4, 4)))
    assert scores[0] == scores[1]


def cell_of(operation: str) -> nn.Module:
    cell = Cell((((operation, 0), (operation, 1)), ((operation, 0), (operation, 1))), (2, 3))
    torch.manual_seed(0)
    ops = {operation: {"t": 2, "identity": "1"}} if operation == "sandglass_3x3" else {}
    return found_network(Genotype(cell, cell, ops), channels=4, cells=3)


def test_a_collapsed_cell_is_below_a_sound_one() -> None:
    images: Tensor = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    skips, convolutions, sandglasses = (cell_of(name) for name in ("skip_connect", "sep_conv_3x3", "sandglass_3x3"))
    assert naswot(skips, images) < min(naswot(convolutions, images), naswot(sandglasses, images))
    assert synflow(skips, (3, 16, 16)) != synflow(convolutions, (3, 16, 16))
