"""The residual block between the parts of NAS-Bench-201's networks (Dong and Yang, ICLR 2020, §2.1, and its code)."""

from torch import Tensor, nn

from nas.blocks.layers import conv_bn


class ResidualReduction(nn.Module):
    """Halves the map: ReLU → 3×3 stride 2 → BN → ReLU → 3×3 → BN, beside 2×2 average pooling → 1×1.

    Args:
        c_in, c_out: channels.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        halves = nn.ReLU(), *conv_bn(c_in, c_out, 3, stride=2)
        self.residual = nn.Sequential(*halves, nn.ReLU(), *conv_bn(c_out, c_out, 3))
        pool = nn.AvgPool2d(2, ceil_mode=True)  # odd maps, which the convolution rounds up too
        self.shortcut = nn.Sequential(pool, nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', ⌈H/2⌉, ⌈W/2⌉)."""
        out: Tensor = self.shortcut(x) + self.residual(x)
        return out
