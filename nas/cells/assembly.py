"""From the choices at a space's nodes to a genotype, and to the mixing weights that stand for it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nas.cells.genotype import Genotype, Pair, pruned
from nas.skeleton import SKELETONS
from nas.space import CellSpace

Nodes = Sequence[Sequence[Pair]]
"""Per node its (operation, state) pairs."""


def assemble(space: CellSpace, nodes: Mapping[str, Nodes]) -> Genotype:
    """The genotype of the choices at the nodes of each cell kind; what reads an empty node goes.

    Raises:
        UsageError: a cell of which nothing is left.
    """
    concat = SKELETONS[space.skeleton].concat(space.nodes)
    cells = {kind: pruned(own, concat, space.inputs) for kind, own in nodes.items()}
    genotype = Genotype(cells["normal"], cells.get("reduce"), space=space.name, skeleton=space.skeleton)
    return replace(genotype, ops=space.settings_of(genotype.operations))


def one_hot(space: CellSpace, genotype: Genotype) -> dict[str, Tensor]:
    """Mixing weights under which a supernet is the genotype's network with batch norms and edges of its own.

    Returns:
        per cell kind (edges, operations): 1 for each of its pairs, else 0.
    """
    names = list(space.ops)
    mixing = {kind: torch.zeros(space.edges, len(names)) for kind in space.kinds}
    for kind, cell in genotype.cells.items():
        for node, pairs in enumerate(cell.nodes):
            for name, state in pairs:
                mixing[kind][space.edge_index(node, state), names.index(name)] = 1.0
    return mixing
