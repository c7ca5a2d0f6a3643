"""The blocks compute what their docstrings say, at the cost of the papers' formulas."""

from fractions import Fraction
from functools import partial

import pytest
import torch
from torch import nn

from nas.blocks.asymmetric import Asymmetric
from nas.blocks.harmonious import Harmonious
from nas.blocks.inverted_residual import InvertedResidual
from nas.blocks.sandglass import Sandglass
from nas.blocks.squeeze_excite import SqueezeExcite
from nas.costs.count import count

BLOCKS = [
    partial(InvertedResidual, hidden=48),
    partial(InvertedResidual, hidden=48, linear=False, shortcut="expansions"),
    partial(InvertedResidual, hidden=24, squeeze=partial(SqueezeExcite, hidden=8)),
    partial(Sandglass, hidden=12),
    partial(Sandglass, hidden=12, depthwise="last", linear=False, identity=Fraction(1, 3)),
    partial(Sandglass, hidden=12, groups=2, squeeze=partial(SqueezeExcite, hidden=4, gate=nn.Sigmoid)),
    partial(Harmonious, hidden=48),
    partial(Harmonious, hidden=48, contraction=4),
    partial(Harmonious, hidden=48, contraction=8, upsample="bilinear"),
    partial(Asymmetric, expanded=48),
    partial(Asymmetric, expanded=48, rate=Fraction(3, 2)),
    partial(Asymmetric, expanded=48, rate=Fraction(0)),
    partial(Asymmetric, expanded=48, pruned=True),
    partial(Asymmetric, expanded=24, rate=Fraction(0)),
]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(("c_in", "c_out", "stride"), [(24, 24, 1), (24, 24, 2), (24, 36, 1), (24, 60, 2)])
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 3)])
def test_shapes_and_gradients(block, c_in, c_out, stride, size):
    module = block(c_in, c_out, stride=stride)
    x = torch.randn(2, c_in, *size, requires_grad=True)
    kept = x.detach().clone()
    y = module(x)
    y.square().mean().backward()
    assert y.shape == (2, c_out, *(-(-side // stride) for side in size))
    assert torch.equal(x, kept)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


@pytest.mark.parametrize("t", [1, 2, 6])
def test_inverted_residual_costs_its_formula(t):
    # MobileNetV2 §3.3: h·w·d'·t·(d' + k² + d''); at t=1 there is no expansion
    h, w, d, d2, k = 14, 10, 24, 40, 3
    cost = count(InvertedResidual(d, d2, stride=1, hidden=t * d), (d, h, w))
    assert cost.madds == h * w * d * t * ((d if t > 1 else 0) + k**2 + d2)


@pytest.mark.parametrize("stride", [1, 2])
def test_harmonious_costs_its_formula(stride):
    # HBONet Eq. 2: B/s² + (H/s·W/s·C₁ + H·W·C₂)·k², B the inverted residual between contraction and expansion
    size, c1, c2, t, k = 16, 24, 32, 2, 5
    cost = count(Harmonious(c1, c2, stride=stride, hidden=t * c1), (c1, size, size))
    inside = size**2 * c1 * t * (c1 + 9 + c2 // 2)
    contraction = (size // 2) ** 2 * c1 * k**2
    expansion = size**2 * (c2 // 2) * k**2 if stride == 1 else 0
    assert cost.madds == inside // 4 + contraction + expansion


@pytest.mark.parametrize("rate", [Fraction(0), Fraction(1, 2), Fraction(1), Fraction(3, 2), Fraction(2)])
def test_asymmetric_costs_its_formula(rate):
    # AsymmNet Eq. 4: h·w·C·(t−r)C + h·w·(t+r)C·k² + h·w·(t+r)C·C'
    h, w, c, c2, t, k = 14, 10, 24, 40, 4, 3
    cost = count(Asymmetric(c, c2, stride=1, expanded=t * c, rate=rate), (c, h, w))
    assert cost.madds == h * w * c * ((t - rate) * c + (t + rate) * (k**2 + c2))


def test_pruned_costs_one_copy_less():
    h, w, c, t, k = 14, 10, 24, 4, 3
    cost = count(Asymmetric(c, c, stride=1, expanded=t * c, pruned=True), (c, h, w))
    assert cost.madds == h * w * c * ((t - 1) * c + t * (k**2 + c))


@pytest.mark.parametrize(
    ("block", "weights"),
    [
        (partial(Sandglass, hidden=18), lambda c: c * c + 18 * c),
        (partial(InvertedResidual, hidden=72), lambda c: 4 * c * c + 18 * c),
        (partial(Asymmetric, expanded=72), lambda c: 4 * c * c + 27 * c),
    ],
)
def test_weights_as_cell_operations(block, weights):
    module = block(36, 36, stride=1, norm=partial(nn.BatchNorm2d, affine=False))
    assert sum(p.numel() for p in module.parameters()) == weights(36)


def test_rate_0_is_the_inverted_residual():
    asymmetric = Asymmetric(8, 8, stride=1, expanded=16, rate=Fraction(0))
    plain = InvertedResidual(8, 8, stride=1, hidden=16)
    plain.load_state_dict(asymmetric.state_dict())
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(asymmetric(x), plain(x))


def test_reused_channels_stand_around_the_computed_ones():
    block = Asymmetric(2, 2, stride=1, expanded=4, rate=Fraction(3, 2))
    x = torch.randn(1, 2, 3, 3)
    wide = block.expand(x)
    assert wide.shape[1] == 2 * 3 + 1
    assert torch.equal(wide[:, :4], torch.cat([x, x], 1)) and torch.equal(wide[:, 5:], x)


@pytest.mark.parametrize("block", [partial(Sandglass, hidden=4), partial(InvertedResidual, hidden=32)])
@pytest.mark.parametrize(("identity", "channels"), [("0", 0), ("1/3", 5), ("1/2", 8), ("1", 16)])
def test_identity_multiplier_adds_the_first_channels(block, identity, channels):
    module = block(16, 16, stride=1, identity=Fraction(identity)).eval()
    without = block(16, 16, stride=1, identity=Fraction(0)).eval()
    without.load_state_dict(module.state_dict())
    x = torch.randn(2, 16, 5, 5)
    added = module(x) - without(x)
    assert torch.allclose(added[:, :channels], x[:, :channels], atol=1e-6)
    assert not added[:, channels:].any()
    assert count(module, (16, 5, 5)).adds == channels * 25


def test_partial_shortcut_has_the_right_gradient():
    block = Sandglass(6, 6, stride=1, hidden=3, identity=Fraction(1, 2), activation=nn.Tanh).double()
    x = torch.randn(2, 6, 3, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(block, x)


def test_harmonious_passes_the_last_inputs_first():
    block = Harmonious(24, 24, stride=1, hidden=48).eval()
    x = torch.randn(2, 24, 8, 8)
    assert torch.equal(block(x)[:, :12], x[:, 12:])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: InvertedResidual(8, 8, stride=1, hidden=0), "hidden=0"),
        (lambda: InvertedResidual(8, 8, stride=1, hidden=8, identity=Fraction(2)), "identity=2"),
        (lambda: InvertedResidual(8, 8, stride=1, hidden=8, shortcut="x"), "shortcut='x'"),
        (lambda: Sandglass(8, 8, stride=2, hidden=4, depthwise="none"), "stride=2"),
        (lambda: Sandglass(8, 8, stride=1, hidden=4, depthwise="x"), "depthwise='x'"),
        (lambda: Harmonious(8, 8, stride=3, hidden=8), "stride=3"),
        (lambda: Harmonious(8, 8, stride=1, hidden=8, contraction=3), "contraction=3"),
        (lambda: Harmonious(8, 8, stride=1, hidden=8, upsample="cubic"), "upsample='cubic'"),
        (lambda: Asymmetric(8, 8, stride=1, expanded=16, rate=Fraction(2)), "r=2"),
        (lambda: Asymmetric(8, 8, stride=1, expanded=16, rate=Fraction(1, 3)), "half-step"),
        (lambda: Asymmetric(8, 8, stride=1, expanded=4, pruned=True), "expanded=4"),
    ],
)
def test_bad_settings_are_refused_in_one_line(make, said):
    with pytest.raises(ValueError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)
