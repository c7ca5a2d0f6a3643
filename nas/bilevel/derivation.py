"""The best cell under limits, exactly: a knapsack whose groups are the nodes, solved by merging Pareto frontiers.

A cell's cost is the sum of its edges' costs and its score the sum of their log strengths, so the frontier of two nodes
together lies among the sums of their frontiers (Nemhauser and Ullmann, 1969). Integers: no tolerance, no solver.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations, product

import torch
from torch import Tensor

from nas.amounts import Cost, Limits, short
from nas.cells.assembly import assemble, one_hot
from nas.cells.genotype import Genotype, Pair
from nas.errors import UsageError
from nas.skeleton import SKELETONS
from nas.space import CellSpace

SCALE = 2**40
"""Scores are log strengths in these parts: enough to tell any two float32 strengths apart."""
RANKS = 2**32
"""Below one part of a score lies the place in DARTS' own order of ties; sums of places stay below this."""
LEAST = 2.0**-150
"""Stands for a strength of zero: below every positive float32."""


@dataclass(frozen=True)
class EdgeCosts:
    """What each choice costs in the network that a cell is meant for.

    Args:
        space: of the cells.
        rest: all but the edges: stem, preprocessing, classifier.
        edges: per cell kind, edge and operation that it may have, summed over the cells of that kind.
    """

    space: CellSpace
    rest: Cost
    edges: Mapping[str, Sequence[Mapping[str, Cost]]]

    def of(self, genotype: Genotype) -> Cost:
        """The cost of a genotype's network; its concat must name all nodes."""
        chosen = (
            self.edges[kind][self.space.edge_index(node, state)][operation]
            for kind, cell in genotype.cells.items()
            for node, pairs in enumerate(cell.nodes)
            for operation, state in pairs
        )
        return sum(chosen, self.rest)


@dataclass(frozen=True)
class Option:
    """A choice for some nodes: its score, its cost, and per node its (operation, state) pairs."""

    score: int
    cost: Cost
    nodes: tuple[tuple[Pair, ...], ...]

    @property
    def log_strength(self) -> float:
        """Σ log strength of the chosen edges."""
        return -(-self.score // RANKS) / SCALE


def derive_within(strengths: Mapping[str, Tensor], costs: EdgeCosts, limits: Limits) -> tuple[Genotype, Option]:
    """The cell of the highest Σ log strength whose network keeps the limits, and what it scores and costs.

    Without limits it is :func:`nas.cells.supernet.derive`'s cell; ties are broken as there.

    Args:
        strengths: per cell kind (edges, operations), from 0 to 1.

    Raises:
        UsageError: no cell keeps the limits; the least cost is named.
    """
    front = frontier(strengths, costs, params=limits.params is not None)
    within = next((option for option in front if limits.allow(option.cost)), None)
    if within is None:
        raise UsageError(f"no cell of {costs.space.name} keeps {_impossible(front, limits)}")
    starts = zip(costs.space.kinds, range(0, len(within.nodes), costs.space.nodes), strict=True)
    nodes = {kind: within.nodes[start : start + costs.space.nodes] for kind, start in starts}
    return assemble(costs.space, nodes), within


def check_limits(costs: EdgeCosts, limits: Limits) -> None:
    """Raises UsageError where no cell keeps the limits, whatever the strengths; the least cost is named."""
    shape = costs.space.edges, len(costs.space.ops)
    derive_within({kind: torch.ones(shape) for kind in costs.space.kinds}, costs, limits)


def _impossible(front: Sequence[Option], limits: Limits) -> str:
    """Which limit cannot be kept, and what could be."""
    madds, params = min(each.cost.madds for each in front), min(each.cost.params for each in front)
    if limits.madds is not None and madds > limits.madds:
        return f"--max-madds {short(limits.madds)}: the least possible is {madds:,} multiply-adds"
    if limits.madds is None or (limits.params is not None and params > limits.params):
        return f"--max-params {short(limits.params or 0)}: the least possible is {params:,} parameters"
    params = min(each.cost.params for each in front if each.cost.madds <= limits.madds)
    return (
        f"--max-madds {short(limits.madds)} and --max-params {short(limits.params or 0)} at once: "
        f"the least possible within the first is {params:,} parameters"
    )


def log_strength(space: CellSpace, strengths: Mapping[str, Tensor], genotype: Genotype) -> float:
    """Σ log strength of a genotype's edges: its score."""
    chosen = [strengths[kind].cpu()[mask.bool()] for kind, mask in one_hot(space, genotype).items()]
    return float(torch.cat(chosen).double().clamp_min(LEAST).log().sum())


def frontier(strengths: Mapping[str, Tensor], costs: EdgeCosts, *, params: bool = False) -> list[Option]:
    """The cells that no other beats in score and cost at once, best score first.

    Args:
        params: whether parameters count as a cost of their own; else multiply-adds alone do.

    Raises:
        UsageError: strengths that are no numbers.
    """
    if any(matrix.isnan().any() for matrix in strengths.values()):
        raise UsageError("the alphas are no numbers any more, and name no cell: search again with a smaller --lr")
    groups = (
        prune(list(node_options(costs, kind, node, strengths[kind].tolist())), params)
        for kind in costs.space.kinds
        for node in range(costs.space.nodes)
    )
    return reduce(lambda one, other: merge(one, other, params), groups, [Option(0, costs.rest, ())])


def node_options(costs: EdgeCosts, kind: str, node: int, strengths: Sequence[Sequence[float]]) -> Iterator[Option]:
    """All that a node may keep of its edges, with an operation each, in DARTS' own order of ties: the lower state, then
    the earlier operation. Within an option the stronger edge comes first, where it is not all edges that are kept."""
    space = costs.space
    names, kept = list(space.ops), SKELETONS[space.skeleton].inputs_kept

    def edge_options(state: int) -> list[tuple[int, Cost, Pair]]:
        edge = space.edge_index(node, state)
        row, prices = strengths[edge], costs.edges[kind][edge]
        candidates = [(max(row[index], LEAST), names[index]) for index in space.candidates(kind, edge)]
        return [(round(math.log(strength) * SCALE), prices[name], (name, state)) for strength, name in candidates]

    edges = [edge_options(state) for state in range(node + space.inputs)]
    subsets = combinations(edges, len(edges) if kept is None else min(kept, len(edges)))
    for rank, choice in enumerate(each for subset in subsets for each in product(*subset)):
        ordered = choice if kept is None else sorted(choice, key=lambda edge: -edge[0])
        score = sum(edge[0] for edge in choice) * RANKS - rank
        yield Option(score, sum((edge[1] for edge in choice), Cost()), (tuple(edge[2] for edge in ordered),))


def merge(one: Sequence[Option], other: Sequence[Option], params: bool) -> list[Option]:
    """The frontier of two groups' nodes together, of the frontiers of each."""
    return prune(
        [Option(a.score + b.score, a.cost + b.cost, a.nodes + b.nodes) for a in one for b in other],
        params,
    )


def prune(options: Sequence[Option], params: bool) -> list[Option]:
    """Those that none beats, best score first.

    A sweep from the best score down: an option stays if none so far costs as little. What has been met is a staircase:
    multiply-adds rising, parameters falling.
    """
    kept: list[Option] = []
    madds: list[int] = []
    least: list[int] = []
    for option in sorted(options, key=lambda each: (-each.score, each.cost.madds, each.cost.params)):
        cost, own = option.cost, option.cost.params if params else 0
        place = bisect_right(madds, cost.madds)
        if place and least[place - 1] <= own:
            continue
        kept.append(option)
        start = place - 1 if place and madds[place - 1] == cost.madds else place
        end = start
        while end < len(least) and least[end] >= own:
            end += 1
        madds[start:end], least[start:end] = [cost.madds], [own]
    return kept
