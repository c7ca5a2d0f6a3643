"""What a back end of the merged engine does: it adds up terms of all edges that leave one state."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from nas.blocks.segment import Step
from nas.engine.segments import MergedSegment, Statistics

Chain = Sequence[MergedSegment]
Contribution = tuple[int, Tensor]
"""What an edge, by its number, brings to its node: (N, C, H, W), one of several."""


class CommonMap(NamedTuple):
    """A map that all edges share, (N, C, H, W), its batch norm (None: there is none), its weights (edges,)."""

    map: Tensor
    statistics: Statistics | None
    row: Tensor


class Backend(ABC):
    """A sum in one forward pass, of terms whose convolutions a back end computes in its own layout of memory.

    A row is a term's mixing weights, (edges,). A chain starts from the state or, where ``starts`` is given, from a map
    (N, C, H, W) of each edge's own, and ends in a batch norm.

    Args:
        state: (N, C, H, W), in channels-last memory.
        edges: how many read it.
    """

    def __init__(self, state: Tensor, edges: int) -> None:
        self.state = state
        self.edges = edges

    @staticmethod
    @abstractmethod
    def supports(chain: Chain, state: Tensor) -> bool:
        """Whether it can compute these segments on such maps."""

    @abstractmethod
    def weighted(self, chain: Chain, row: Tensor, starts: Sequence[Tensor] | None = None) -> Sequence[Tensor]:
        """Weight times the chain's result, one map an edge."""

    @abstractmethod
    def add(self, chain: Chain, row: Tensor, starts: Sequence[Tensor] | None = None) -> Sequence[Tensor]:
        """Adds weight times the chain's result to the sum; one map an edge of what stays outside of it, if anything."""

    @property
    @abstractmethod
    def pending(self) -> bool:
        """Whether chains were added to the sum."""

    @abstractmethod
    def contributions(self, common: Sequence[CommonMap]) -> list[Contribution]:
        """The sum of what was added and of maps that all edges share, by edge."""

    def stepped(self, steps: Sequence[Step], maps: Sequence[Tensor]) -> Sequence[Tensor]:
        """One map an edge, after the steps."""
        for step in steps:
            maps = [step(x, state) for x, state in zip(maps, self.states(), strict=True)]
        return maps

    def states(self) -> Sequence[Tensor]:
        """The state, once for every edge."""
        return [self.state] * self.edges
