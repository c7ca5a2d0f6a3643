"""Partial channels: operations see the first C/K channels of a state only (Xu et al., PC-DARTS, ICLR 2020, §3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.cells.network import stride_of
from nas.cells.supernet import FanOut
from nas.space import CellSpace


class PartialFanOut(nn.Module):
    """An engine's fan-out on the first C/K channels; the others pass it by, and all are shuffled.

    Args:
        inner: the engine.
        share: K; it divides C.
        space, kind, state, channels: as of any fan-out.
    """

    def __init__(self, inner: FanOut, share: int, space: CellSpace, kind: str, state: int, channels: int) -> None:
        super().__init__()
        self.share, self.stride = share, stride_of(kind, state)
        self.rows = {node: space.edge_index(node, state) for node in space.readers(state)}
        self.seen = channels // share
        self.inner = inner(space, kind, state, self.seen)

    def forward(self, state: Tensor, weights: Tensor) -> list[tuple[int, Tensor]]:
        """State (N, C, H, W) and the cell's mixing weights (edges, operations) → (node, contribution) pairs.

        A row of the weights adds up to its edge's weight, which the other channels carry.
        """
        seen, rest = state.tensor_split([self.seen], dim=1)
        if self.stride == 2:
            rest = F.max_pool2d(rest, 2, ceil_mode=True)
        mixed: dict[int, Tensor] = {}
        for node, part in self.inner(seen, weights):
            mixed[node] = mixed[node] + part if node in mixed else part
        edges = {node: weights[self.rows[node]].sum() for node in mixed}
        return [(node, shuffle(torch.cat([mixed[node], edges[node] * rest], 1), self.share)) for node in mixed]


def shuffle(x: Tensor, groups: int) -> Tensor:
    """``torch.channel_shuffle``, but channels-last memory stays so."""
    parts = x.permute(0, 2, 3, 1).unflatten(3, (groups, -1))
    shuffled: Tensor = parts.transpose(3, 4).flatten(3).permute(0, 3, 1, 2)
    return shuffled
