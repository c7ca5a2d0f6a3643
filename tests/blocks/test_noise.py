"""Noise: its law, what a draw depends on, what goes on from a saved state."""

import copy

import pytest
import torch
from torch import nn

from nas.blocks import OPS
from nas.blocks.segment import terms_of
from nas.costs.count import count


def noise(stride: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return OPS["noise"](4, stride, False)


@pytest.mark.parametrize("stride", [1, 2])
def test_standard_normal_whatever_the_input_is(stride: int) -> None:
    one, other = noise(stride), noise(stride)
    x = torch.randn(64, 4, 15, 16)
    out = one(x)
    assert out.shape == (64, 4, -(-15 // stride), 16 // stride)
    assert torch.equal(out, other(x.double().square()).float())
    assert abs(out.mean()) < 5 / out.numel() ** 0.5 and abs(out.std() - 1) < 5 / out.numel() ** 0.5
    assert abs((out * x[:, :, ::stride, ::stride]).mean()) < 5 / out.numel() ** 0.5


def test_a_pass_in_training_draws_anew_and_leaves_the_global_generator() -> None:
    module, x = noise(), torch.zeros(2, 4, 8, 8)
    before = torch.get_rng_state()
    first, second = module(x), module(x)
    assert not torch.equal(first, second) and torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, OPS["noise"](4, 1, False)(x))


def test_it_goes_on_from_a_saved_state_and_evaluation_does_not_disturb_it() -> None:
    module, x = noise(), torch.zeros(2, 4, 8, 8)
    module(x)
    saved, copied = copy.deepcopy(module.state_dict()), copy.deepcopy(module)
    expected = module(x)
    assert torch.equal(copied.eval()(x), copied.eval()(x))
    assert torch.equal(copied.train()(x), expected)
    module.load_state_dict(saved)
    assert torch.equal(module(x), expected)


def test_it_costs_no_multiply_adds() -> None:
    cost = count(noise(2).to("meta"), (4, 9, 9))
    assert (cost.madds, cost.params) == (0, 0)


def test_edges_share_no_draw() -> None:
    assert terms_of(noise()) is None


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    module, x = noise().cuda(), torch.zeros(2, 4, 8, 8, device="cuda")
    copied = copy.deepcopy(module)
    assert torch.equal(module(x), copied(x)) and not torch.equal(module(x), torch.zeros_like(x))
