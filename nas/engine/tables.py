"""Constant tables of integers on a device."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn

Rows = tuple[int, ...] | tuple[tuple[int, ...], ...]


def table(rows: Sequence[int] | Sequence[Sequence[int]], like: Tensor) -> Tensor:
    """Integers on a tensor's device, where they stay: a recorded step must not bring them there."""
    fixed: Rows = tuple(row if isinstance(row, int) else tuple(row) for row in rows)  # type: ignore[assignment]
    return _table(fixed, like.device) if plain(like) else _table.__wrapped__(fixed, like.device)


@cache
def _table(rows: Rows, device: torch.device) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64, device=device)


def plain(tensor: Tensor) -> bool:
    """Whether it has memory: a fake one has not."""
    return type(tensor) in (Tensor, nn.Parameter)
