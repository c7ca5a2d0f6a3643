"""Drop-path (Larsson et al., FractalNet, ICLR 2017): whole paths are dropped, per image, with masks drawn outside.

The masks of a step come as one tensor for the whole batch, so that a batch spread over workers is treated as one.
"""

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """A path that may be dropped; in evaluation, or without a mask, it changes nothing."""

    mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) times the mask (N, 1, 1, 1), which is 0 or 1 / (1 − probability)."""
        return x if self.mask is None or not self.training else x * self.mask


def draw_paths(network: nn.Module, probability: float, batch: int, generator: torch.Generator) -> Tensor:
    """Masks of one step for all paths of a network, (paths, batch), to be handed to :func:`set_paths`."""
    paths = sum(isinstance(module, DropPath) for module in network.modules())
    kept = torch.rand(paths, batch, generator=generator) >= probability
    return kept / (1 - probability)


def set_paths(network: nn.Module, masks: Tensor | None) -> None:
    """Gives each path its mask of the coming step; None: nothing is dropped."""
    paths = [module for module in network.modules() if isinstance(module, DropPath)]
    for index, path in enumerate(paths):
        path.mask = None if masks is None else masks[index].view(-1, 1, 1, 1)
