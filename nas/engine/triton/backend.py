"""The merged engine on Triton kernels, on a GPU: those beside this file, which come with torch where Triton does."""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from nas.engine.backend import Chain, ChainSum, Contribution, Summand
from nas.engine.segments import MergedSegment, MergedTerm, Statistics

MOST = 2**31 - 1
"""Elements of a map that a kernel can count."""
DEVICES = {"cuda"}
"""Tests add a CPU, where Triton's interpreter runs the kernels."""


class Triton(ChainSum):
    """The back end of Triton kernels."""

    def __init__(self, state: Tensor, edges: int) -> None:
        super().__init__(state, edges)
        self.pools: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    @staticmethod
    def available(device: str) -> bool:
        return device in DEVICES and installed()

    @staticmethod
    def supports(chain: Chain, state: Tensor) -> bool:
        fits = state.dtype in (torch.float32, torch.bfloat16, torch.float16) and state.numel() < MOST
        return fits and Triton.available(state.device.type) and all(map(computable, chain))

    def common(self, term: MergedTerm, row: Tensor) -> Summand:
        """As of :class:`ChainSum`; 3×3 poolings are computed together, once a state."""
        pool = term.pooling
        if pool is None:
            return super().common(term, row)
        from nas.engine.triton.passes import norm_statistics, running
        from nas.engine.triton.pools import PoolFunction

        stride = int(pool.stride if isinstance(pool.stride, int) else pool.stride[0])
        if stride not in self.pools:
            self.pools[stride] = PoolFunction.apply(self.state, stride)
        *maps, moments = self.pools[stride]
        which = int(isinstance(pool, nn.AvgPool2d))
        segment = next((segment for stage in term.stages for segment in stage.chain), None)
        if segment is None:
            return Summand(maps[which], None, row)
        norm, channels = segment.norm, self.state.shape[1]
        rows = [(which, *addresses) for addresses in running(norm)]
        every = norm_statistics(norm, rows, moments, maps[which].numel() // channels, channels)
        own = slice(which * channels, (which + 1) * channels)
        mean, var, invstd = (each[own] for each in every)
        return Summand(maps[which], Statistics(mean, var, invstd, norm.modules[0].eps, norm.modules[0].training), row)

    def maps(self, chain: Chain, row: Tensor, starts: Sequence[Tensor] | None = None) -> Sequence[Tensor]:
        state = self.state if starts is None else torch.cat(list(starts)).to(self.state.dtype)
        return add_up(self.edges, [chain], state, [row], [], apart=starts is not None)

    def contributions(self, common: Sequence[Summand]) -> list[Contribution]:
        if not self.chains:
            return []
        chains = [chain for chain, _ in self.chains]
        rows = [*(row for _, row in self.chains), *(each.row for each in common)]
        return list(enumerate(add_up(self.edges, chains, self.state, rows, common)))


def add_up(
    edges: int,
    chains: Sequence[Chain],
    state: Tensor,
    rows: Sequence[Tensor],
    common: Sequence[Summand],
    *,
    apart: bool = False,
) -> Sequence[Tensor]:
    """The sum of chains and common maps, one map (N, C, H, W) an edge.

    Args:
        state: (N, C, H, W), or (edges · N, C, H, W) of an edge each, if they are ``apart``.
        rows: the weights of the chains and common maps, (edges,) each.
    """
    from nas.engine.triton.functions import SumFunction
    from nas.engine.triton.groups import Plan, groups_of

    groups = groups_of(chains)
    own = next((index for index, each in enumerate(common) if each.map is state), None)
    plan = Plan(edges, groups, len(chains), [each.statistics for each in common], own, apart)
    weights = [weight for group in groups for weight in group.weights]
    maps = [each.map for each in common]
    total: Sequence[Tensor] = SumFunction.apply(plan, state, torch.stack(list(rows)).float(), *maps, *weights)
    return total


@cache
def installed() -> bool:
    """Whether there is Triton."""
    return find_spec("triton") is not None


def computable(segment: MergedSegment) -> bool:
    """Whether it is a depthwise and a pointwise convolution, one of them, or two pointwise side by side; not affine."""
    parts = [segment.convolutions[0], segment.odd] if segment.odd else []
    halves = len({each.modules[0].out_channels for each in parts if each}) == 1
    weight = segment.convolutions[0].modules[0].weight if segment.convolutions else None
    plain = not segment.norm.modules[0].affine
    return plain and (segment.fusable or halves) and weight is not None and weight.dtype == torch.float32
