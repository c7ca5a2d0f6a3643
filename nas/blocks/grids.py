"""A dilation of 2 as an ordinary convolution on the four half-resolution grids. Activations are (N, C, H, W)."""

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn


def to_grids(x: Tensor) -> Tensor:
    """(N, C, 2H, 2W) → (4N, C, H, W): a dilation of 2 there is one of 1 here."""
    n, c, h, w = x.shape
    grids = x.permute(0, 2, 3, 1).reshape(n, h // 2, 2, w // 2, 2, c).permute(2, 4, 0, 1, 3, 5)
    return grids.reshape(4 * n, h // 2, w // 2, c).permute(0, 3, 1, 2)


def from_grids(grids: Tensor) -> Tensor:
    """The inverse of :func:`to_grids`."""
    n, c, h, w = grids.shape
    x = grids.permute(0, 2, 3, 1).reshape(2, 2, n // 4, h, w, c).permute(2, 3, 0, 4, 1, 5)
    return x.reshape(n // 4, 2 * h, 2 * w, c).permute(0, 3, 1, 2)


class GridConv2d(nn.Conv2d):
    """A depthwise convolution of dilation 2, computed as an ordinary one on the half-resolution grids.

    The same weights and result as nn.Conv2d's; on a CPU its backward pass is several times faster. At stride 2 only the
    grid of even pixels is touched.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == (2, 2):
            return self._plain(x[:, :, ::2, ::2])
        if x.shape[2] % 2 or x.shape[3] % 2:
            return super().forward(x)
        return from_grids(self._plain(to_grids(x)))

    def _plain(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, padding=self.kernel_size[0] // 2, groups=self.groups)

    def ordinary(self) -> nn.Conv2d:
        """The convolution with the same weight that computes it as the library does."""
        sizes = (self.kernel_size, self.stride, self.padding, self.dilation)
        kernel, stride, padding, dilation = (cast(tuple[int, int], size) for size in sizes)
        made = nn.Conv2d(
            self.in_channels, self.out_channels, kernel, stride, padding, dilation, self.groups, bias=False
        )
        made.weight = self.weight
        return made


def without_grids(network: nn.Module) -> nn.Module:
    """The network itself with ordinary convolutions in the place of :class:`GridConv2d`."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, GridConv2d):
                setattr(module, name, child.ordinary())
    return network
