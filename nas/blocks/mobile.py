"""The mobile blocks as cell operations, C → C at stride 1 or 2; keyword arguments are the settings a space may give.

``t`` is the expansion (the reduction, for the sandglass), ``identity`` the share of the channels that the shortcut
carries (``"1/3"`` or a decimal; 0: no shortcut), ``r`` the asymmetry rate in half-steps.
"""

from fractions import Fraction

from torch import nn

from nas.blocks.asymmetric import Asymmetric
from nas.blocks.harmonious import Harmonious
from nas.blocks.inverted_residual import InvertedResidual
from nas.blocks.layers import batch_norm
from nas.blocks.sandglass import Sandglass


def inverted_residual(channels: int, stride: int, affine: bool, *, t: float = 2, identity: str = "1") -> nn.Module:
    """1×1 to tC → depthwise 3×3 → 1×1 (Sandler et al., MobileNetV2, CVPR 2018, Table 1)."""
    return InvertedResidual(
        channels,
        channels,
        stride=stride,
        hidden=_scaled(channels, t),
        identity=Fraction(identity),
        norm=batch_norm(affine),
    )


def sandglass(channels: int, stride: int, affine: bool, *, t: float = 2, identity: str = "1") -> nn.Module:
    """Depthwise 3×3 → 1×1 to C/t → 1×1 → depthwise 3×3 (Zhou et al., MobileNeXt, ECCV 2020, Fig. 3c)."""
    return Sandglass(
        channels,
        channels,
        stride=stride,
        hidden=_scaled(channels, 1 / _positive(t)),
        identity=Fraction(identity),
        norm=batch_norm(affine),
    )


def harmonious(channels: int, stride: int, affine: bool, *, t: float = 2, upsample: str = "nearest") -> nn.Module:
    """An inverted residual inside a spatial contraction (Li et al., HBONet, ICCV 2019, Fig. 2)."""
    hidden = _scaled(channels, t)
    return Harmonious(channels, channels, stride=stride, hidden=hidden, upsample=upsample, norm=batch_norm(affine))


def asymmetric(
    channels: int, stride: int, affine: bool, *, t: float = 2, r: float = 1, identity: str = "1"
) -> nn.Module:
    """An inverted residual whose expansion reuses 2r copies of its input (Yang et al., AsymmNet, CVPRW 2021, Eq. 3)."""
    return Asymmetric(
        channels,
        channels,
        stride=stride,
        expanded=_scaled(channels, t),
        rate=Fraction(str(r)),
        identity=Fraction(identity),
        norm=batch_norm(affine),
    )


def pruned(channels: int, stride: int, affine: bool, *, t: float = 2, identity: str = "1") -> nn.Module:
    """An inverted residual that takes one C of its expansion from its input (AsymmNet, §4.1)."""
    return Asymmetric(
        channels,
        channels,
        stride=stride,
        expanded=_scaled(channels, t),
        rate=Fraction(1),
        pruned=True,
        identity=Fraction(identity),
        norm=batch_norm(affine),
    )


def _positive(t: float) -> float:
    if not t > 0:
        raise ValueError(f"t={t}: it must be above 0")
    return t


def _scaled(channels: int, factor: float) -> int:
    return max(1, int(channels * _positive(factor)))
