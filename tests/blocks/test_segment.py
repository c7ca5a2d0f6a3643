"""The terms that operations and blocks say they are made of: their sum is the operation."""

import copy
from collections.abc import Callable
from fractions import Fraction
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.blocks import OPS
from nas.blocks.asymmetric import Asymmetric
from nas.blocks.harmonious import Harmonious
from nas.blocks.inverted_residual import InvertedResidual
from nas.blocks.layers import batch_norm, conv_bn, pad_to_even
from nas.blocks.sandglass import Sandglass
from nas.blocks.segment import Segment, Term, terms_of
from nas.blocks.squeeze_excite import SqueezeExcite

BLOCKS = [
    partial(InvertedResidual, hidden=12),
    partial(InvertedResidual, hidden=6, identity=Fraction(1, 2)),
    partial(Sandglass, hidden=3, identity=Fraction(1, 3)),
    partial(Sandglass, hidden=3, depthwise="last", identity=Fraction(0)),
    partial(Harmonious, hidden=12),
    partial(Harmonious, hidden=12, contraction=4),
    partial(Harmonious, hidden=12, contraction=8, upsample="bilinear"),
    partial(Asymmetric, expanded=12),
    partial(Asymmetric, expanded=12, rate=Fraction(3, 2)),
    partial(Asymmetric, expanded=12, pruned=True),
    partial(Asymmetric, expanded=6, rate=Fraction(0)),
]


def evaluated(terms: list[Term], x: Tensor) -> Tensor:
    """The sum of terms, piece by piece."""
    maps = []
    for term in terms:
        y = x
        for piece in term.pieces:
            y = passed_through(piece, y) if isinstance(piece, Segment) else piece(y, x)
        maps.append(F.pad(y, (0, 0, 0, 0, *term.zeros)))
    return torch.stack(maps).sum(0)


def passed_through(segment: Segment, x: Tensor) -> Tensor:
    y = segment.activation()(x) if segment.activation else x
    if segment.odd:
        y = pad_to_even(y)
        y = torch.cat([segment.convolutions[0](y), segment.odd(y[:, :, 1:, 1:])], dim=1)
    else:
        y = nn.Sequential(*segment.convolutions)(y)
    out: Tensor = segment.norm(y)
    return out


def assert_terms_add_up(operation: nn.Module, channels: int, size: tuple[int, int]) -> None:
    """In training, running statistics included, and then in evaluation mode."""
    torch.manual_seed(0)
    operation.double()
    apart, x = copy.deepcopy(operation), torch.randn(3, channels, *size, dtype=torch.float64)
    terms = terms_of(apart)
    assert terms
    for training in (True, False):
        torch.testing.assert_close(evaluated(terms, x), operation.train(training)(x), rtol=1e-12, atol=1e-12)
        apart.eval()
    for mine, theirs in zip(apart.buffers(), operation.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", [name for name in OPS if name not in ("none", "noise", "conv_1x1")])
def test_terms_of_an_operation_add_up_to_it(name: str, stride: int, affine: bool, size: tuple[int, int]) -> None:
    assert_terms_add_up(OPS[name](8, stride, affine), 8, size)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_operation_none_has_no_terms(stride: int) -> None:
    assert terms_of(OPS["none"](8, stride, False)) == []


@pytest.mark.parametrize(("c_in", "c_out", "stride"), [(6, 6, 1), (6, 6, 2), (6, 15, 1), (6, 4, 2)])
@pytest.mark.parametrize("block", BLOCKS)
def test_terms_of_a_block_add_up_to_it(block: Callable[..., nn.Module], c_in: int, c_out: int, stride: int) -> None:
    assert_terms_add_up(block(c_in, c_out, stride=stride), c_in, (8, 7))


@pytest.mark.parametrize(
    "block",
    [
        partial(InvertedResidual, hidden=12, shortcut="expansions"),
        partial(InvertedResidual, hidden=12, squeeze=partial(SqueezeExcite, hidden=4)),
        partial(InvertedResidual, hidden=12, activation=nn.Hardswish),
        partial(InvertedResidual, hidden=12, linear=False),
        partial(Sandglass, hidden=3, linear=False),
        partial(Asymmetric, expanded=12, activation=nn.Hardswish),
        partial(Asymmetric, expanded=12, norm=nn.InstanceNorm2d),
        partial(Harmonious, hidden=12, norm=nn.InstanceNorm2d),
    ],
)
def test_what_is_no_sum_of_segments_says_so(block: Callable[..., nn.Module]) -> None:
    assert terms_of(block(6, 6, stride=1)) is None


@pytest.mark.parametrize("base", [InvertedResidual, Sandglass, Harmonious])
def test_a_subclass_says_its_terms_itself(base: type[nn.Module]) -> None:
    class Derived(base):  # type: ignore[misc, valid-type]
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    assert terms_of(Derived(6, 6, stride=1, hidden=12)) is None


def test_a_layer_used_twice_is_there_twice() -> None:
    block = nn.Sequential(nn.ReLU(), *conv_bn(4, 4, norm=batch_norm(False)))
    terms = terms_of(nn.Sequential(block, block))
    assert terms is not None and len(terms[0].pieces) == 2
    assert terms[0].pieces[0] == terms[0].pieces[1]
