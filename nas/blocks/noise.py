"""Noise as an operation of a cell: what a sound search never chooses (Zela et al., RobustDARTS, ICLR 2020, §3)."""

import torch
from torch import Tensor, nn


class Noise(nn.Module):
    """Standard normal noise of the output's shape, whatever the input is; each pass in training draws anew.

    A draw is a function of the buffer ``place``, which a training pass moves on by one: what goes on from a saved state
    draws the same, and passes in evaluation, which do not move it, all draw alike. Where it begins is the global
    generator's, as the initial weights are. Several workers draw the same for their parts of a batch.

    Args:
        stride: 1 or 2.
    """

    mergeable = False
    """No two edges may share a draw."""
    recordable = False
    """The host reads ``place``."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.place: Tensor
        self.register_buffer("place", torch.randint(2**31, ()))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, ⌈H/stride⌉, ⌈W/stride⌉), in channels-last memory.

        Raises:
            RuntimeError: it is being exported: a file could only hold one draw.
        """
        if torch.compiler.is_exporting():
            raise RuntimeError("the operation noise draws anew in each pass")
        n, c, h, w = x[:, :, :: self.stride, :: self.stride].shape
        if x.is_meta:
            return x.new_empty(n, c, h, w)
        stream = torch.Generator(x.device).manual_seed(int(self.place))
        if self.training:
            self.place += 1
        return torch.randn(n, h, w, c, generator=stream, device=x.device).permute(0, 3, 1, 2).to(x.dtype)


def noise(channels: int, stride: int, affine: bool) -> nn.Module:
    return Noise(stride)
