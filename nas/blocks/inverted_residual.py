"""The inverted residual of MobileNetV2 and, with its arguments changed, the blocks of MobileNetV1 and V3."""

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
from nas.blocks.segment import Term, pieces_of, shortcut_terms
from nas.blocks.squeeze_excite import Squeeze

SHORTCUTS = ("bottlenecks", "expansions", "none")


class InvertedResidual(nn.Module):
    """1×1 to ``hidden``, BN, act → depthwise k×k stride s, BN, act → [squeeze] → 1×1, BN; plus the input.

    Sandler et al., MobileNetV2, CVPR 2018, Table 1 and Fig. 3. (N, c_in, H, W) → (N, c_out, ⌈H/s⌉, ⌈W/s⌉). Its
    convolutions cost h·w·hidden·(c_in + k²/s² + c_out/s²) multiply-adds, §3.3.

    Args:
        hidden: channels of the depthwise convolution, t·c_in. At hidden = c_in there is no expansion convolution.
        identity: share of the channels that the shortcut carries, when stride is 1 and c_in = c_out; 0: no shortcut.
        squeeze: builds what stands between the depthwise convolution and the projection, see SqueezeExcite.
        linear: no activation after the projection (MobileNetV2 §6.4; False in MobileNetV1).
        shortcut: what it joins (§6.4): "bottlenecks"; "expansions": around the depthwise convolution; or "none".
        groups: of both 1×1 convolutions.
        expand: what makes ``hidden`` channels of c_in, in the place of the 1×1 convolution; Asymmetric passes one.

    Raises:
        ValueError: a size below 1, an identity multiplier outside 0 to 1, an unknown shortcut.
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
        squeeze: Squeeze | None = None,
        linear: bool = True,
        shortcut: str = "bottlenecks",
        groups: int = 1,
        expand: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.c_out = c_out
        check_at_least_one(c_in=c_in, c_out=c_out, hidden=hidden)
        if shortcut not in SHORTCUTS:
            raise ValueError(f"shortcut={shortcut!r}: it must be one of {', '.join(SHORTCUTS)}")
        self.outer = shortcut_channels(c_in, c_out, stride, identity) if shortcut == "bottlenecks" else 0
        self.inner = shortcut_channels(hidden, hidden, stride, identity) if shortcut == "expansions" else 0
        self.linear = linear
        if expand is None and hidden != c_in:
            expand = conv_bn(c_in, hidden, groups=groups, norm=norm, activation=activation)
        self.expand = expand or nn.Identity()
        self.depthwise = depthwise_bn(hidden, kernel, stride=stride, norm=norm, activation=activation)
        self.squeeze = squeeze(hidden) if squeeze else nn.Identity()
        self.project = conv_bn(hidden, c_out, groups=groups, norm=norm, activation=None if linear else activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(self.expand(x), x)

    def narrow(self, wide: Tensor, x: Tensor) -> Tensor:
        """What follows the expansion: (N, hidden, H, W) and the block's input → its output."""
        wide = add_first(self.depthwise(wide), wide, self.inner)
        return add_first(self.project(self.squeeze(wide)), x, self.outer, in_place=self.linear)

    def terms(self) -> list[Term] | None:
        """Its layers and its shortcut; None: the layers are no segments."""
        pieces = pieces_of(self.expand, self.depthwise, self.squeeze, self.project)
        return None if pieces is None or self.inner else [Term(pieces), *shortcut_terms(self.outer, self.c_out)]
