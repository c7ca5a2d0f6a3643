"""Selections: what makes a discrete cell of a supernet. Each is known by its name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from nas.amounts import Limits
from nas.bilevel.derivation import EdgeCosts, derive_within
from nas.cells.assembly import assemble
from nas.cells.genotype import Cell, Genotype, Pair
from nas.cells.supernet import derive
from nas.errors import UsageError
from nas.space import CellSpace


@dataclass(frozen=True)
class Basis:
    """What selections go by.

    Args:
        space: of the cells.
        strengths: per cell kind (edges, operations), free of noise.
        threshold: least strength of an edge that stays, of ``threshold``.
        limits: of ``budget``.
        costs: makes the costs that the limits are of.
        project: does ``perturbation``, a search of its own.
    """

    space: CellSpace
    strengths: Mapping[str, Tensor]
    threshold: float
    limits: Limits
    costs: Callable[[], EdgeCosts]
    project: Callable[[], Genotype]


def strongest(basis: Basis) -> Genotype:
    """DARTS' own cell."""
    return derive(basis.space, basis.strengths)


def gdas(basis: Basis) -> Genotype:
    """Per node the two strongest pairs of edge and operation, which may be two operations of one edge: the published
    code of Dong and Yang, GDAS, CVPR 2019."""
    return derive(basis.space, basis.strengths, once=False)


def threshold(basis: Basis) -> Genotype:
    """DARTS' own cell without its edges that are weaker than a threshold (Chu et al., FairDARTS, ECCV 2020, §3.3).

    A node may keep one input or none; one without is no part of the output, and nothing reads it.

    Raises:
        UsageError: a cell would be left with nothing.
    """
    nodes = {kind: _above(basis, kind, cell) for kind, cell in strongest(basis).cells.items()}
    try:
        return assemble(basis.space, nodes)
    except UsageError as error:
        raise UsageError(f"--threshold {basis.threshold} leaves nothing of a cell: {error}") from None


def _above(basis: Basis, kind: str, cell: Cell) -> list[list[Pair]]:
    """A cell's nodes with those of their pairs that are strong enough."""
    space, names, rows = basis.space, list(basis.space.ops), basis.strengths[kind].tolist()
    strengths = [
        {pair: rows[space.edge_index(node, pair[1])][names.index(pair[0])] for pair in pairs}
        for node, pairs in enumerate(cell.nodes)
    ]
    highest = max(value for node in strengths for (_, state), value in node.items() if state < space.inputs)
    if highest < basis.threshold:
        raise UsageError(
            f"--threshold {basis.threshold}: nothing of the {kind} cell is as strong: "
            f"its strongest edge from an input has {highest:.3g}"
        )
    return [[pair for pair, value in node.items() if value >= basis.threshold] for node in strengths]


def budget(basis: Basis) -> Genotype:
    """The best cell within the limits (:mod:`nas.bilevel.derivation`)."""
    genotype, _ = derive_within(basis.strengths, basis.costs(), basis.limits)
    return genotype


def perturbation(basis: Basis) -> Genotype:
    """What the supernet can least do without (:mod:`nas.bilevel.projection`)."""
    return basis.project()


Select = Callable[[Basis], Genotype]
SELECTIONS: dict[str, Select] = {
    "strongest": strongest,
    "gdas": gdas,
    "threshold": threshold,
    "perturbation": perturbation,
    "budget": budget,
}
