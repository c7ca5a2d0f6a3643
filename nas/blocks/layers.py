"""The bricks that all blocks are made of. Activations are (N, C, H, W)."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from math import floor
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.blocks.segment import Segment, Term

Norm = Callable[[int], nn.Module]
Activation = Callable[[], nn.Module]


def batch_norm(affine: bool = True) -> Norm:
    """A builder of batch norms: ``batch_norm(affine)(channels)``. Cells are searched without scale and shift."""
    return partial(nn.BatchNorm2d, affine=affine)


def conv_bn(
    c_in: int,
    c_out: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    norm: Norm = nn.BatchNorm2d,
    activation: Activation | None = None,
    tf_padding: bool = False,
) -> nn.Sequential:
    """Convolution with "same" padding and no bias, batch norm, activation (none: linear).

    ``tf_padding``: at stride 2 pad as TensorFlow does at even sizes, one row and column less at the top and left.
    """
    shifted = tf_padding and stride == 2
    before, after = (kernel - 2) // 2, (kernel - 1) // 2
    layers: list[nn.Module] = [nn.ZeroPad2d((before, after, before, after))] if shifted else []
    padding = 0 if shifted else kernel // 2
    layers += [nn.Conv2d(c_in, c_out, kernel, stride, padding=padding, groups=groups, bias=False), norm(c_out)]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def depthwise_bn(channels: int, kernel: int = 3, **rest: Any) -> nn.Sequential:
    """Depthwise convolution, one filter a channel, batch norm, activation; ``rest`` as in :func:`conv_bn`."""
    return conv_bn(channels, channels, kernel, groups=channels, **rest)


def pad_to_even(x: Tensor) -> Tensor:
    """Zero rows and columns at the bottom and right until height and width are even."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else x


class Zero(nn.Module):
    """The operation ``none``: zeros of the output's shape, so that an edge can be worth nothing."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])

    def terms(self) -> list[Term]:
        """No terms: it adds nothing."""
        return []


class FactorizedReduce(nn.Module):
    """Halves the map without losing every second pixel: two strided 1×1 convolutions, one shifted by (1, 1).

    ReLU → [1×1 stride 2 on x, 1×1 stride 2 on x shifted] → concat → BN (Liu et al., DARTS, ICLR 2019).
    Odd maps are padded by one zero row or column.
    """

    def __init__(self, c_in: int, c_out: int, *, affine: bool = True) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv_even = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv_odd = nn.Conv2d(c_in, c_out - c_out // 2, 1, stride=2, bias=False)
        self.norm = batch_norm(affine)(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = pad_to_even(self.relu(x))
        out: Tensor = self.norm(torch.cat([_strided(self.conv_even, x), _strided(self.conv_odd, x[:, :, 1:, 1:])], 1))
        return out

    def terms(self) -> list[Term] | None:
        """One segment of two convolutions; None: the norm is no batch norm."""
        if type(self.norm) is not nn.BatchNorm2d:
            return None
        return [Term((Segment(nn.ReLU, (self.conv_even,), self.norm, self.conv_odd),))]


def _strided(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1×1 convolution of stride 2: below 8 channels on every second pixel, as oneDNN's gradient of such a weight
    writes past its memory on AVX2 (torch 2.14)."""
    return F.conv2d(x[:, :, ::2, ::2], conv.weight, conv.bias) if conv.in_channels < 8 else cast(Tensor, conv(x))


def relu_conv_bn(c_in: int, c_out: int, *, affine: bool = True) -> nn.Sequential:
    """ReLU → 1×1 → BN: what brings a cell's inputs to its own width."""
    return nn.Sequential(nn.ReLU(), *conv_bn(c_in, c_out, norm=batch_norm(affine)))


def shortcut_channels(c_in: int, c_out: int, stride: int, identity: Fraction) -> int:
    """How many channels a block's shortcut carries: the first ⌊C·identity⌋ if its ends have one shape, else 0.

    The identity tensor multiplier of Zhou et al., MobileNeXt, ECCV 2020, §3.3; a fraction, as 1/3 of 96 is 32 and
    0.333… of 96 is 31.

    Raises:
        ValueError: the multiplier is not between 0 and 1.
    """
    if not 0 <= identity <= 1:
        raise ValueError(f"identity={identity}: the identity multiplier must lie between 0 and 1")
    return floor(c_in * identity) if stride == 1 and c_in == c_out else 0


def add_first(y: Tensor, x: Tensor, channels: int, *, in_place: bool = False) -> Tensor:
    """``y`` with the first ``channels`` channels of ``x`` added to its own; all (N, C, H, W).

    ``in_place`` spares the copy of the other channels, which is what makes a small multiplier fast. It writes into
    ``y``: safe where ``y`` is fresh from a convolution or batch norm, whose gradient does not need it.
    """
    if channels == 0:
        return y
    if channels == y.shape[1]:
        return (x if channels == x.shape[1] else x[:, :channels]) + y
    if in_place:
        y.narrow(1, 0, channels).add_(x.narrow(1, 0, channels))
        return y
    return torch.cat([y[:, :channels] + x[:, :channels], y[:, channels:]], dim=1)


def check_at_least_one(**sizes: int) -> None:
    """Raises ValueError naming the first of ``sizes`` that is below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size}: it must be at least 1")
