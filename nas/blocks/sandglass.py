"""The sandglass block of MobileNeXt: wide ends, narrow middle, depthwise convolutions at the wide ends."""

from fractions import Fraction

from torch import Tensor, nn

from nas.blocks.layers import (
    Activation,
    Norm,
    add_first,
    check_at_least_one,
    conv_bn,
    depthwise_bn,
    shortcut_channels,
)
from nas.blocks.segment import Term, segments_of, shortcut_terms
from nas.blocks.squeeze_excite import Squeeze

DEPTHWISE = ("both", "first", "last", "none")


class Sandglass(nn.Module):
    """Depthwise k×k, BN, act → 1×1 to ``hidden``, BN → 1×1, BN, act → depthwise k×k stride s, BN; plus the input.

    Zhou et al., MobileNeXt, ECCV 2020, Fig. 3c and Table 1. (N, c_in, H, W) → (N, c_out, ⌈H/s⌉, ⌈W/s⌉).

    Args:
        hidden: channels of the bottleneck, c_in/t.
        identity: the identity tensor multiplier (§3.3): the share of the channels that the shortcut carries, when
            stride is 1 and c_in = c_out; 0: no shortcut.
        depthwise: which of the two depthwise convolutions there are: "both", "first", "last", "none". The published
            network has "last" where it strides and "none" at two stage entries. The stride is the last one's.
        linear: no activation after the reduction and the last depthwise convolution (§4.4).
        groups: of both 1×1 convolutions (2 in the published network with squeeze-and-excitation, b1).
        squeeze: builds what stands after the last depthwise convolution, before the shortcut, see SqueezeExcite.
        tf_padding: of the last depthwise convolution at stride 2, see conv_bn.

    Raises:
        ValueError: a size below 1, an identity multiplier outside 0 to 1, a stride and nothing to bear it.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        stride: int,
        hidden: int,
        kernel: int = 3,
        norm: Norm = nn.BatchNorm2d,
        activation: Activation = nn.ReLU6,
        identity: Fraction = Fraction(1),
        depthwise: str = "both",
        linear: bool = True,
        groups: int = 1,
        squeeze: Squeeze | None = None,
        tf_padding: bool = False,
    ) -> None:
        super().__init__()
        self.c_out = c_out
        check_at_least_one(c_in=c_in, c_out=c_out, hidden=hidden)
        if depthwise not in DEPTHWISE:
            raise ValueError(f"depthwise={depthwise!r}: it must be one of {', '.join(DEPTHWISE)}")
        if stride != 1 and depthwise == "none":
            raise ValueError(f"stride={stride}: a sandglass without depthwise convolution has stride 1")
        self.outer = shortcut_channels(c_in, c_out, stride, identity)
        end = None if linear else activation
        layers: list[nn.Module] = []
        if depthwise in ("both", "first"):
            early = stride if depthwise == "first" else 1
            layers.append(depthwise_bn(c_in, kernel, stride=early, norm=norm, activation=activation))
        layers.append(conv_bn(c_in, hidden, groups=groups, norm=norm, activation=end))
        layers.append(conv_bn(hidden, c_out, groups=groups, norm=norm, activation=activation))
        if depthwise in ("both", "last"):
            layers.append(depthwise_bn(c_out, kernel, stride=stride, norm=norm, activation=end, tf_padding=tf_padding))
        if squeeze:
            layers.append(squeeze(c_out))
        self.layers = nn.Sequential(*layers)
        # Only a batch norm's output may be written to: an activation or a gate may keep its own for the gradient.
        self.in_place = linear and depthwise in ("both", "last") and squeeze is None

    def forward(self, x: Tensor) -> Tensor:
        return add_first(self.layers(x), x, self.outer, in_place=self.in_place)

    def terms(self) -> list[Term] | None:
        """Its layers and its shortcut; None: the layers are no segments."""
        segments = segments_of(self.layers)
        return None if segments is None else [Term(segments), *shortcut_terms(self.outer, self.c_out)]
