"""The harmonious bottleneck of HBONet: work on a contracted map, pass half of the channels on."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.blocks.layers import Activation, Norm, add_first, check_at_least_one, conv_bn, depthwise_bn
from nas.blocks.segment import Term, segments_of

CONTRACTIONS = (2, 4, 8)
UPSAMPLINGS = ("nearest", "bilinear")


class Harmonious(nn.Module):
    """An inverted residual between a spatial contraction and its expansion, on half of the output channels.

    Li et al., HBONet, ICCV 2019, Fig. 2 and Eq. 2, as in its published code.
    (N, c_in, H, W) → (N, c_out, ⌈H/s⌉, ⌈W/s⌉).

    - Contraction and bottleneck: depthwise 5×5 stride 2, BN → 1×1 to ``hidden``, BN, act → depthwise 3×3, BN, act → 1×1
      to ⌊c_out/2⌋, BN. Contractions of 4 and 8 insert one or two times depthwise 5×5 stride 2, BN → 1×1, BN, act, and
      leave the depthwise 3×3 linear.
    - Expansion: upsampling, addition of the first ⌊c_out/2⌋ input channels (2×2-pooled at stride 2), depthwise 5×5, BN.
      A contraction of 2 is a stride 2, so that such a block needs none of this.
    - The last ⌈c_out/2⌉ input channels (2×2-pooled at stride 2) stand before the result.

    Where the published code crashes, this was chosen: with fewer inputs than ⌈c_out/2⌉ (HBONet at widths such as 0.45,
    0.7, 0.95, 1.2, 1.4) all inputs are passed on and the bottleneck makes the rest, adding what inputs there are; an
    upsampled odd map is cut to the input's size.

    Args:
        hidden: channels of the bottleneck's depthwise convolution, t·c_in.
        contraction: by how much the map's sides shrink inside: 2, 4 or 8.
        upsample: "nearest" as in the published code, or "bilinear" as in the paper.

    Raises:
        ValueError: a size below 1, a stride other than 1 and 2, an unknown contraction or upsampling.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        stride: int,
        hidden: int,
        contraction: int = 2,
        upsample: str = "nearest",
        norm: Norm = nn.BatchNorm2d,
        activation: Activation = nn.ReLU6,
    ) -> None:
        super().__init__()
        check_at_least_one(c_in=c_in, c_out=c_out, hidden=hidden)
        if contraction not in CONTRACTIONS:
            raise ValueError(f"contraction={contraction}: it must be one of {', '.join(map(str, CONTRACTIONS))}")
        if upsample not in UPSAMPLINGS:
            raise ValueError(f"upsample={upsample!r}: it must be one of {', '.join(UPSAMPLINGS)}")
        if stride not in (1, 2):
            raise ValueError(f"stride={stride}: a harmonious bottleneck has stride 1 or 2")
        self.stride = stride
        self.scale = contraction // stride
        self.upsample = upsample
        self.c_shortcut = min(c_in, c_out - c_out // 2)
        self.c_bottleneck = c_out - self.c_shortcut
        self.bottleneck = contracted(c_in, self.c_bottleneck, hidden, contraction, norm, activation)
        self.smooth = depthwise_bn(self.c_bottleneck, 5, norm=norm) if self.scale > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        pooled, y = self.pool(x), self.bottleneck(x)
        if self.scale > 1:
            y = self.expand(y, pooled)
        return torch.cat([pooled[:, -self.c_shortcut :], self.smooth(y)], dim=1)

    def pool(self, x: Tensor) -> Tensor:
        """The block's input at the size of its output."""
        return F.avg_pool2d(x, 2, ceil_mode=True) if self.stride == 2 else x

    def expand(self, y: Tensor, pooled: Tensor) -> Tensor:
        """The map upsampled by the part of the contraction that is not stride, plus the first input channels."""
        height, width = pooled.shape[2:]
        y = F.interpolate(y, scale_factor=self.scale, mode=self.upsample)[:, :, :height, :width]
        return add_first(y, pooled, min(pooled.shape[1], self.c_bottleneck))

    def terms(self) -> list[Term] | None:
        """The bottleneck's channels and those passed on; None: its layers are no segments."""
        bottleneck, smooth = segments_of(self.bottleneck), segments_of(self.smooth)
        if bottleneck is None or smooth is None:
            return None
        steps = [lambda y, state: self.expand(y, self.pool(state))] if self.scale > 1 else []
        return [
            Term((*bottleneck, *steps, *smooth), (self.c_shortcut, 0)),
            Term((lambda _, state: self.pool(state)[:, -self.c_shortcut :],), (0, self.c_bottleneck)),
        ]


def contracted(
    c_in: int, c_out: int, hidden: int, contraction: int, norm: Norm, activation: Activation
) -> nn.Sequential:
    """What runs at lower resolution: (N, c_in, H, W) → (N, c_out, H/contraction, W/contraction), rounded up."""
    layers: list[nn.Module] = []
    channels, left = c_in, contraction
    while left > 1:
        layers.append(depthwise_bn(channels, 5, stride=2, norm=norm))
        layers.append(conv_bn(channels, hidden, norm=norm, activation=activation))
        channels, left = hidden, left // 2
    layers.append(depthwise_bn(hidden, norm=norm, activation=activation if contraction == 2 else None))
    layers.append(conv_bn(hidden, c_out, norm=norm))
    return nn.Sequential(*layers)
