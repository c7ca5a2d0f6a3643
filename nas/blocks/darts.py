"""The operations of the DARTS search space (Liu et al., ICLR 2019, §3.1.1), C → C at stride 1 or 2.

Each convolution is ReLU–conv–BN. ``affine`` is False in search and True in a found network; in search a pooling is
followed by a batch norm too, so that all operations of an edge speak at one scale; a plain one, as NAS-Bench-201 has
it (Dong and Yang, ICLR 2020), is not.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from nas.blocks.grids import GridConv2d
from nas.blocks.layers import FactorizedReduce, Zero, batch_norm
from nas.blocks.pooling import AvgPool2d


def none(channels: int, stride: int, affine: bool) -> nn.Module:
    return Zero(stride)


def skip_connect(channels: int, stride: int, affine: bool) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine=affine)


def pool(kind: Callable[..., nn.Module], norm: bool, channels: int, stride: int, affine: bool) -> nn.Module:
    pooling = kind(3, stride, padding=1)
    return pooling if affine or not norm else nn.Sequential(pooling, batch_norm(affine)(channels))


max_pool_3x3 = partial(pool, nn.MaxPool2d, True)
avg_pool_3x3 = partial(pool, partial(AvgPool2d, count_include_pad=False), True)
avg_pool_3x3_plain = partial(pool, partial(AvgPool2d, count_include_pad=False), False)


def separable(kernel: int, dilation: int, repeats: int, channels: int, stride: int, affine: bool) -> nn.Sequential:
    """``repeats`` times ReLU → depthwise k×k → 1×1 → BN; only the first has the stride.

    In search a dilated convolution is the plain one: the reference supernet is the textbook, the merged one has its own
    form of it.
    """
    depthwise = GridConv2d if affine and dilation == 2 else nn.Conv2d
    layers: list[nn.Module] = []
    for repeat in range(repeats):
        layers += [
            nn.ReLU(),
            depthwise(
                channels,
                channels,
                kernel,
                stride if repeat == 0 else 1,
                padding=dilation * (kernel // 2),
                dilation=dilation,
                groups=channels,
                bias=False,
            ),
            nn.Conv2d(channels, channels, 1, bias=False),
            batch_norm(affine)(channels),
        ]
    return nn.Sequential(*layers)


sep_conv_3x3 = partial(separable, 3, 1, 2)
sep_conv_5x5 = partial(separable, 5, 1, 2)
sep_conv_7x7 = partial(separable, 7, 1, 2)
dil_conv_3x3 = partial(separable, 3, 2, 1)
dil_conv_5x5 = partial(separable, 5, 2, 1)


def conv_1x1(channels: int, stride: int, affine: bool) -> nn.Sequential:
    """A convolution of single pixels; at stride 2 of every second one."""
    chosen = [nn.MaxPool2d(1, stride)] if stride > 1 else []
    return nn.Sequential(*chosen, nn.ReLU(), nn.Conv2d(channels, channels, 1, bias=False), batch_norm(affine)(channels))


def conv_3x3(channels: int, stride: int, affine: bool) -> nn.Sequential:
    """A regular (dense) convolution."""
    conv = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
    return nn.Sequential(nn.ReLU(), conv, batch_norm(affine)(channels))


def conv_7x1_1x7(channels: int, stride: int, affine: bool) -> nn.Sequential:
    """A dense 7×7 in two: 1×7, then 7×1."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, (1, 7), (1, stride), padding=(0, 3), bias=False),
        nn.Conv2d(channels, channels, (7, 1), (stride, 1), padding=(3, 0), bias=False),
        batch_norm(affine)(channels),
    )
