"""Costs and strengths drawn at random, for tests of what is derived from them."""

import torch
from torch import Tensor

from nas.amounts import Cost
from nas.bilevel.derivation import EdgeCosts
from nas.space import CellSpace


def random_costs(space: CellSpace, stream: torch.Generator) -> EdgeCosts:
    def costs() -> dict[str, Cost]:
        return {name: Cost(*torch.randint(0, 50, (2,), generator=stream).tolist()) for name in space.ops}

    return EdgeCosts(space, Cost(100, 7), {kind: [costs() for _ in range(space.edges)] for kind in space.kinds})


def random_strengths(space: CellSpace, stream: torch.Generator, levels: int | None = None) -> dict[str, Tensor]:
    """Softmaxed alphas, or, with many ties, one of so many values."""
    shape = (space.edges, len(space.ops))
    if levels:
        return {kind: torch.randint(0, levels, shape, generator=stream) / levels for kind in space.kinds}
    return {kind: torch.randn(shape, generator=stream).softmax(-1) for kind in space.kinds}
