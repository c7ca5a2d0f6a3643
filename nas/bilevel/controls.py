"""Random cells that cost about as much as another one: what a search is held against.

Drawn uniformly, without rejection: how many cells cost so much is counted exactly, node by node (dynamic programming
over the costs), and a cell is drawn backwards from the counts. Its kinds' nodes are split in two halves, each with its
own table of costs, so that the many sums of both never have to be listed.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from random import Random

from nas.bilevel.derivation import EdgeCosts, Option, node_options
from nas.cells.assembly import assemble
from nas.cells.genotype import Genotype

TOLERANCES = (0.03, 0.1)
"""Relative half widths of the window of multiply-adds, the second where the first holds too few cells."""
FEWEST_CELLS = 20


@dataclass(frozen=True)
class Window:
    """The costs that a random cell may have.

    Args:
        madds: of the cell that it is matched to.
        tolerance: relative.
        cells: that lie in it.
    """

    madds: int
    tolerance: float
    cells: int

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the largest multiply-adds."""
        return bounds_of(self.madds, self.tolerance)


def bounds_of(madds: int, tolerance: float) -> tuple[int, int]:
    """The whole numbers within a relative tolerance."""
    width = int(madds * tolerance)
    return madds - width, madds + width


class Half:
    """Some of the nodes: how many choices at them cost so much.

    Args:
        nodes: the options of each.
    """

    def __init__(self, nodes: Sequence[Sequence[Option]]) -> None:
        self.nodes = [_by_cost(options) for options in nodes]
        self.counts: list[Mapping[int, int]] = [{0: 1}]
        for options in self.nodes:
            sums: Counter[int] = Counter()
            for cost, own in options.items():
                for before, count in self.counts[-1].items():
                    sums[before + cost] += count * len(own)
            self.counts.append(sums)
        self.costs = sorted(self.counts[-1])
        self.below = [0, *accumulate(self.counts[-1][cost] for cost in self.costs)]

    def within(self, low: int, high: int) -> tuple[int, int]:
        """(Number of the first choice, choices) that cost from ``low`` to ``high``, of all in the order of costs."""
        first = self.below[bisect_left(self.costs, low)]
        return first, self.below[bisect_right(self.costs, high)] - first

    def cost_of(self, number: int) -> int:
        """The cost of the choice of that number."""
        return self.costs[bisect_right(self.below, number) - 1]

    def draw(self, cost: int, stream: Random) -> list[Option]:
        """One of the choices that cost so much, each as likely; per node its option."""
        choice: list[Option] = []
        for counts, options in zip(reversed(self.counts[:-1]), reversed(self.nodes), strict=True):
            ways = {own: counts.get(cost - own, 0) * len(options[own]) for own in options}
            own = _pick(ways, stream)
            choice.insert(0, options[own][stream.randrange(len(options[own]))])
            cost -= own
        return choice


def _by_cost(options: Sequence[Option]) -> dict[int, list[Option]]:
    """Options by their multiply-adds."""
    groups: dict[int, list[Option]] = {}
    for option in options:
        groups.setdefault(option.cost.madds, []).append(option)
    return groups


def _pick(ways: Mapping[int, int], stream: Random) -> int:
    """A key, each as likely as its number of ways, which may be too large for a float."""
    ends = list(accumulate(ways.values()))
    return list(ways)[bisect_right(ends, stream.randrange(ends[-1]))]


@dataclass(frozen=True)
class Controls:
    """The cells of a space by their multiply-adds in the network that they are meant for.

    Args:
        costs: of the space's choices in that network.
    """

    costs: EdgeCosts

    @cached_property
    def halves(self) -> tuple[Half, Half]:
        """The first and the second half of all nodes; normal and reduction cell, where there are both."""
        space = self.costs.space
        even = [[1.0] * len(space.ops)] * space.edges
        groups = [
            list(node_options(self.costs, kind, node, even)) for kind in space.kinds for node in range(space.nodes)
        ]
        middle = (len(groups) + 1) // 2
        return Half(groups[:middle]), Half(groups[middle:])

    def count(self, low: int, high: int) -> int:
        """How many cells cost from ``low`` to ``high`` multiply-adds."""
        return sum(self._ways(low, high).values())

    def window(self, madds: int) -> Window | None:
        """The narrowest window around a cell's cost with 20 cells in it; None: neither has so many."""
        windows = (Window(madds, each, self.count(*bounds_of(madds, each))) for each in TOLERANCES)
        return next((window for window in windows if window.cells >= FEWEST_CELLS), None)

    def draw(self, window: Window, seed: int) -> Genotype:
        """A random cell of a window, each as likely."""
        stream, (low, high) = Random(seed), window.bounds
        first, second = self.halves
        own = _pick(self._ways(low, high), stream)
        start, count = second.within(*self._left(low, high, own))
        other = second.cost_of(start + stream.randrange(count))
        nodes = [option.nodes[0] for option in (*first.draw(own, stream), *second.draw(other, stream))]
        space = self.costs.space
        starts = zip(space.kinds, range(0, len(nodes), space.nodes), strict=True)
        return assemble(space, {kind: nodes[start : start + space.nodes] for kind, start in starts})

    def _ways(self, low: int, high: int) -> dict[int, int]:
        """Per cost of the first half's choices how many cells lie within."""
        first, second = self.halves
        ways = {own: first.counts[-1][own] * second.within(*self._left(low, high, own))[1] for own in first.costs}
        return {own: count for own, count in ways.items() if count}

    def _left(self, low: int, high: int, own: int) -> tuple[int, int]:
        """What the second half may cost, given the first half's cost."""
        spent = self.costs.rest.madds + own
        return low - spent, high - spent
