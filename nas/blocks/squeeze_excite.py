"""Squeeze-and-excitation: channels weighted by what the whole image shows."""

from collections.abc import Callable

from torch import Tensor, nn

from nas.blocks.layers import Activation, check_at_least_one

Squeeze = Callable[[int], nn.Module]
"""``squeeze(channels)``: a module (N, C, H, W) → (N, C, H, W) that a block puts before its projection."""


class SqueezeExcite(nn.Module):
    """x · gate(W₂ act(W₁ mean(x))) (Hu et al., Squeeze-and-Excitation Networks, CVPR 2018, §3).

    Args:
        channels: C of (N, C, H, W) → (N, C, H, W).
        hidden: width of the bottleneck between the two linear maps, which have biases.
        activation: after the first; ReLU in MobileNetV3, swish in MobileNeXt.
        gate: after the second; hard sigmoid in MobileNetV3, sigmoid in MobileNeXt.
    """

    def __init__(
        self, channels: int, hidden: int, *, activation: Activation = nn.ReLU, gate: Activation = nn.Hardsigmoid
    ) -> None:
        super().__init__()
        check_at_least_one(squeeze=hidden)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.activation = activation()
        self.expand = nn.Conv2d(hidden, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.gate(self.expand(self.activation(self.reduce(self.pool(x)))))
        return x * weights
