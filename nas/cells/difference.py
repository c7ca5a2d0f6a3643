"""What two genotypes have in common, edge by edge."""

from collections import Counter
from typing import Any

from nas.cells.genotype import Genotype


def shared_edges(genotype: Genotype, other: Genotype) -> dict[str, list[bool]]:
    """Per cell kind, of each edge in the order of the nodes and their pairs, whether the other genotype has it too.

    An edge is a node, a state it reads, an operation and its settings; nodes are held against nodes of the same number.
    """
    shared: dict[str, list[bool]] = {}
    for kind in genotype.cells:
        left = Counter(edges_of(other, kind)) if kind in other.cells else Counter()
        shared[kind] = []
        for edge in edges_of(genotype, kind):
            shared[kind].append(left[edge] > 0)
            left[edge] -= 1
    return shared


def edges_of(genotype: Genotype, kind: str) -> list[tuple[int, int, str, str]]:
    """(Node, state, operation, settings) of every edge of a cell."""
    return [
        (node, state, operation, _written(genotype.ops.get(operation, {})))
        for node, pairs in enumerate(genotype.cells[kind].nodes)
        for operation, state in pairs
    ]


def _written(settings: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(settings.items()))
