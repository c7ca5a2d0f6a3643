"""Cells by chance: what a found one is held against."""

import torch

from nas.cells.assembly import assemble
from nas.cells.genotype import Genotype, Pair
from nas.errors import UsageError
from nas.skeleton import SKELETONS
from nas.space import CellSpace


def random_genotype(space: CellSpace, stream: torch.Generator) -> Genotype:
    """A cell of a space: at each node as many edges as it keeps, each with an operation, all equally likely."""
    kept = SKELETONS[space.skeleton].inputs_kept
    names = list(space.ops)

    def draw(kind: str, node: int) -> list[Pair]:
        states = torch.randperm(node + space.inputs, generator=stream).tolist()[:kept]
        pairs = []
        for state in sorted(states):
            candidates = space.candidates(kind, space.edge_index(node, state))
            place = int(torch.randint(len(candidates), (), generator=stream))
            pairs.append((names[candidates[place]], state))
        return pairs

    while True:
        try:
            return assemble(space, {kind: [draw(kind, node) for node in range(space.nodes)] for kind in space.kinds})
        except UsageError:  # of an output without any state, where a node may read nothing
            continue
