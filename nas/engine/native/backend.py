"""The merged engine on compiled kernels, the C++ beside this file, on a CPU."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.engine.backend import Chain, ChainSum, Contribution, Summand, spread_rows
from nas.engine.native.functions import Plan, SumFunction
from nas.engine.native.kernels import library
from nas.engine.native.pools import PoolFunction
from nas.engine.segments import MergedTerm


class Native(ChainSum):
    """The back end of compiled kernels."""

    def __init__(self, state: Tensor, edges: int) -> None:
        super().__init__(state, edges)
        self.pools: dict[int, tuple[Tensor, Tensor]] = {}

    @staticmethod
    def available(device: str) -> bool:
        return device == "cpu" and library() is not None

    @staticmethod
    def supports(chain: Chain, state: Tensor) -> bool:
        fits = state.device.type == "cpu" and state.dtype in (torch.float32, torch.float64)
        even = not any(side % 2 for side in state.shape[2:])
        return fits and all(each.fusable or (even and each.odd) for each in chain) and library() is not None

    def passed(self, term: MergedTerm) -> Tensor:
        """As of :class:`ChainSum`; 3×3 poolings are computed together, once a state."""
        pool = term.pooling
        if pool is None:
            return super().passed(term)
        stride = pool.stride if isinstance(pool.stride, int) else pool.stride[0]
        if stride not in self.pools:
            self.pools[stride] = PoolFunction.apply(self.state, stride)
        return self.pools[stride][isinstance(pool, nn.AvgPool2d)]

    def maps(self, chain: Chain, row: Tensor, starts: Sequence[Tensor] | None = None) -> Sequence[Tensor]:
        plan = Plan(self.edges, [chain], apart=starts is not None)
        return add_up(plan, self.state if starts is None else torch.cat(list(starts)), [row], [])

    def contributions(self, common: Sequence[Summand]) -> list[Contribution]:
        if not self.chains:
            return []
        state = next((index for index, each in enumerate(common) if each.map is self.state), None)
        plan = Plan(self.edges, [chain for chain, _ in self.chains], [each.statistics for each in common], state)
        rows = [*(row for _, row in self.chains), *(each.row for each in common)]
        return list(enumerate(add_up(plan, self.state, rows, [each.map for each in common])))


def add_up(plan: Plan, state: Tensor, rows: Sequence[Tensor], common: Sequence[Tensor]) -> Sequence[Tensor]:
    """What a plan adds up, one map (N, C, H, W) an edge.

    Args:
        state: (N, C, H, W), or (edges · N, C, H, W) of an edge each.
        rows: the weights of its chains and common maps, (edges,) each.
    """
    weights: list[Tensor] = []
    for chain in plan.chains:
        for index, segment in enumerate(chain):
            weights += chain[index - 1].norm.affine if index else []
            weights += map(torch.cat, segment.weights)
    last = [chain[-1] for chain in plan.chains]
    scales, shift = spread_rows(rows, last[0].channels[1], [each.norm.affine for each in last], torch.float64)
    total: Sequence[Tensor] = SumFunction.apply(plan, state, scales, shift, *common, *weights)
    return total
