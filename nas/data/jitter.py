"""Colour jitter of a batch: brightness, contrast and saturation, in an order and by factors of each image's own."""

from collections.abc import Iterable
from itertools import chain, permutations

import torch
from torch import Tensor

ORDERS = tuple(permutations(range(3)))
"""In which the three changes follow each other: 0 brightness, 1 contrast, 2 saturation."""
LUMA = (0.2989, 0.587, 0.114)


def jitter(images: Tensor, order: Tensor, factors: Tensor) -> Tensor:
    """Moves each image away from black, from its mean grey and from its greys.

    Args:
        images: float (N, 3, H, W) in 0 to 1.
        order: int64 (N,), which of :data:`ORDERS`.
        factors: (N, 3) of brightness, contrast and saturation; 1 changes nothing, 0 leaves black, grey, greys.
    """
    luma = constants(images, LUMA).view(1, 3, 1, 1)
    for change in constants(order, chain(*ORDERS)).view(-1, 3)[order].unbind(1):
        which = change.view(-1, 1, 1, 1)
        greys = (images * luma).sum(1, keepdim=True)
        centre = greys.where(which == 2, greys.mean((2, 3), keepdim=True)) * (which > 0)
        factor = factors.gather(1, change[:, None]).view(-1, 1, 1, 1)
        images = centre.lerp(images, factor).clamp(0, 1)
    return images


def constants(like: Tensor, values: Iterable[float]) -> Tensor:
    """Numbers (n,) on a tensor's device and of its type, without a copy from the host, which cannot be recorded."""
    return torch.stack([like.new_full((), value) for value in values])
