"""Chains of segments as plain modules, of every form that kernels have."""

from collections.abc import Sequence

from torch import nn

from nas.engine.backend import Chain
from nas.engine.segments import merge_terms


def depthwise(
    channels: int, kernel: int, *, stride: int = 1, dilation: int = 1, padding: int | None = None
) -> nn.Module:
    padding = (kernel - 1) * dilation // 2 if padding is None else padding
    return nn.Conv2d(channels, channels, kernel, stride, padding, dilation, channels, bias=False)


def pointwise(c_in: int, c_out: int) -> nn.Module:
    return nn.Conv2d(c_in, c_out, 1, bias=False)


def norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, affine=False)


def affine(channels: int) -> nn.Module:
    """A batch norm whose γ are of both signs and 0."""
    module = nn.BatchNorm2d(channels)
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    nn.init.zeros_(module.weight[: channels // 4])
    return module


CHAINS = {
    "3x3": lambda: [nn.ReLU(), depthwise(8, 3), pointwise(8, 8), norm(8)],
    "5x5, stride 2": lambda: [nn.ReLU(), depthwise(8, 5, stride=2), pointwise(8, 8), norm(8)],
    "from 0 to 6": lambda: [nn.ReLU6(), depthwise(8, 3), pointwise(8, 8), norm(8)],
    "7x7": lambda: [depthwise(4, 7), norm(4)],
    "dilated": lambda: [nn.ReLU(), depthwise(4, 5, dilation=2), pointwise(4, 4), norm(4)],
    "dilated, stride 2": lambda: [depthwise(4, 3, stride=2, dilation=2), norm(4)],
    "no padding": lambda: [depthwise(4, 3, padding=0), norm(4)],
    "full padding": lambda: [depthwise(4, 3, padding=2), norm(4)],
    "inverted": lambda: [
        *(pointwise(4, 12), norm(12), nn.ReLU6()),
        *(depthwise(12, 3), norm(12), nn.ReLU6(), pointwise(12, 4), norm(4)),
    ],
    "wide": lambda: [nn.ReLU(), depthwise(32, 3), pointwise(32, 16), norm(16), nn.ReLU(), pointwise(16, 48), norm(48)],
}

AFFINE = {
    "affine": lambda: [nn.ReLU(), depthwise(8, 3), pointwise(8, 8), affine(8)],
    "affine, inverted": lambda: [
        *(pointwise(4, 12), affine(12), nn.ReLU6()),
        *(depthwise(12, 3), affine(12), nn.ReLU(), pointwise(12, 4), affine(4)),
    ],
    "some affine": lambda: [nn.ReLU(), depthwise(4, 3, stride=2), norm(4), nn.ReLU(), pointwise(4, 8), affine(8)],
    "affine within": lambda: [pointwise(4, 8), affine(8), depthwise(8, 5), pointwise(8, 4), norm(4)],
}


def chain_of(modules: Sequence[nn.Module]) -> Chain:
    """The chain of segments that each edge's modules are."""
    terms = merge_terms(modules)
    assert terms is not None
    return terms[0].stages[0].chain
