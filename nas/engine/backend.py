"""What a back end of the merged engine does: it adds up terms of all edges that leave one state."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.blocks.segment import Step
from nas.engine.segments import MergedSegment, MergedTerm, Statistics

Chain = Sequence[MergedSegment]
Contribution = tuple[int, Tensor]
"""What an edge, by its number, brings to its node: (N, C, H, W), one of several."""


class Summand(NamedTuple):
    """A map, the statistics of the batch norm over it (None: there is none), its mixing weights (edges,)."""

    map: Tensor
    statistics: Statistics | None
    row: Tensor


class Backend(ABC):
    """A sum in one forward pass, of terms whose convolutions a back end computes in its own layout of memory.

    A chain starts from the state or, where ``starts`` is given, from a map (N, C, H, W) of each edge's own, and ends in
    a batch norm. A row is its mixing weights, (edges,).

    Args:
        state: (N, C, H, W), in channels-last memory.
        edges: how many read it.
    """

    shares = False
    """Whether it can take a batch norm's statistics over all ranks of a process group."""

    def __init__(self, state: Tensor, edges: int) -> None:
        self.state = state
        self.edges = edges

    @staticmethod
    @abstractmethod
    def available(device: str) -> bool:
        """Whether it can run on such a device, "cpu" or "cuda", with what is installed."""

    @staticmethod
    @abstractmethod
    def supports(chain: Chain, state: Tensor) -> bool:
        """Whether it can compute these segments on such maps."""

    def common(self, term: MergedTerm, row: Tensor) -> Summand:
        """The map of a term without convolutions, before its batch norm if it has one."""
        x = self.passed(term)
        norms = [segment.norm for stage in term.stages for segment in stage.chain]
        statistics = norms[0].statistics(x) if norms else None
        return Summand(embed(x, term.zeros), statistics, row)

    def passed(self, term: MergedTerm) -> Tensor:
        """The state after the steps of a term without convolutions."""
        x = self.state
        for stage in term.stages:
            for step in stage.steps:
                x = step(x, self.state)
        return x

    @abstractmethod
    def maps(self, chain: Chain, row: Tensor, starts: Sequence[Tensor] | None = None) -> Sequence[Tensor]:
        """The chain's results times their weights, outside of the sum: (N, C', H', W') an edge."""

    @abstractmethod
    def add(self, chain: Chain, row: Tensor, starts: Sequence[Tensor] | None = None) -> Sequence[Tensor]:
        """Adds the chain's results times their weights; what it leaves outside of the sum, one map an edge or none."""

    @property
    @abstractmethod
    def empty(self) -> bool:
        """Whether no chain is in the sum."""

    @abstractmethod
    def contributions(self, common: Sequence[Summand]) -> list[Contribution]:
        """The sum of the chains and of maps (N, C', H', W') that all edges share."""

    def step(self, steps: Sequence[Step], maps: Sequence[Tensor]) -> Sequence[Tensor]:
        """The maps after the steps, one an edge."""
        for step in steps:
            maps = [step(x, state) for x, state in zip(maps, self.states(), strict=True)]
        return maps

    def states(self) -> Sequence[Tensor]:
        """The state, once for every edge."""
        return [self.state] * self.edges


class ChainSum(Backend):
    """A back end that computes all chains that start from the state as one function, with their sum."""

    def __init__(self, state: Tensor, edges: int) -> None:
        super().__init__(state, edges)
        self.chains: list[tuple[Chain, Tensor]] = []

    def add(self, chain: Chain, row: Tensor, starts: Sequence[Tensor] | None = None) -> Sequence[Tensor]:
        if starts is not None:
            return self.maps(chain, row, starts)
        self.chains.append((chain, row))
        return ()

    @property
    def empty(self) -> bool:
        return not self.chains


def spread_rows(
    rows: Sequence[Tensor], channels: int, affine: Sequence[Sequence[Tensor]], dtype: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """Mixing weights (edges,) of maps as a scale of each of their channels and one shift: row · γ and Σ row · β.

    Args:
        channels: of an edge.
        affine: γ and β of the batch norm over each of the first maps, (edges · channels,) each, or none.

    Returns:
        (maps, edges · channels) and (edges · channels,), or None where there is no β.
    """
    every = torch.stack(list(rows)).to(dtype).repeat_interleave(channels, dim=1)
    if not any(affine):
        return every, None
    scales, shifts = list(every.unbind()), []
    for index, (scale, each) in enumerate(zip(scales, affine, strict=False)):
        if each:
            gamma, beta = each
            scales[index] = scale * gamma
            shifts.append(scale * beta)
    return torch.stack(scales), torch.stack(shifts).sum(0)


def embed(x: Tensor, zeros: tuple[int, int]) -> Tensor:
    """The map between channels of zeros."""
    return F.pad(x.permute(0, 2, 3, 1), zeros).permute(0, 3, 1, 2) if any(zeros) else x
