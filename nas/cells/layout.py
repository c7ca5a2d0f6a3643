"""Where everything of a cell's drawing is, whatever draws it.

The states of a cell stand in columns on one line. Every edge runs in a lane of its own above or below that line, as on
a tram map, and turns only at columns; its label interrupts it in the gap before the node that it leads to. So, whatever
the cell, no label meets another label, a node or the line of another edge. Lengths are inches, heights grow upwards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import zip_longest
from typing import Any

from nas.cells.genotype import Cell, Genotype
from nas.cells.graph import TITLES, family_of, short, state_names

FAMILY, FONT = "DejaVu Sans", 8.0  # points
HALF, TRACK, MARGIN = 0.17, 0.32, 0.15  # half the height of a state's box; to the concat track below; around all
_LANE, _FIRST = 0.25, 0.46  # between lanes; line of states to first lane
_WIDTH, _PORT = 0.38, 0.12  # a node's least width; between edges at it
_PAD, _FAN, _TURN = 0.22, 0.3, 0.16  # beside a label; from an input to its lanes; radius of a turn

Point = tuple[float, float]
Span = tuple[int, int]
Settings = Mapping[str, Mapping[str, Any]]
Line = list[tuple[str, tuple[Point, ...]]]
"""SVG's commands M, L, Q and C with their points."""


@dataclass(frozen=True)
class Edge:
    """An edge and its lane: 1, 2, … upwards above the states, −1, −2, … below, 0 straight to the next node.

    ``shared`` says that another cell, beside which this one is drawn, has it too.
    """

    label: str
    family: str
    source: int
    target: int
    lane: int = 0
    shared: bool = False

    @property
    def span(self) -> Span:
        """The columns it leads from and to; both inputs stand in column 0."""
        return max(self.source - 1, 0), self.target - 1


def route(cell: Cell, ops: Settings, shared: Sequence[bool] = ()) -> list[Edge]:
    """The edges of a cell with their lanes: what the first input sends runs above, what the second sends below.

    An only input counts as the second one, state 1.
    """
    missing = 2 - cell.inputs
    pairs = [(pair, target) for target, pairs in enumerate(cell.nodes, start=2) for pair in pairs]
    edges = [
        Edge(short(op, ops.get(op)), family_of(op), source + missing, target, shared=own)
        for ((op, source), target), own in zip_longest(pairs, shared or [False] * len(pairs))
    ]
    direct = {edge.target: index for index, edge in enumerate(edges) if 2 <= edge.source == edge.target - 1}
    spans = {index: edge.span for index, edge in enumerate(edges) if index not in direct.values()}
    sides = _sides(spans, {index: 1 - 2 * edges[index].source for index in spans if edges[index].source < 2})
    for side in (1, -1):
        members = [index for index in spans if sides[index] == side]
        for index, level in zip(members, _levels([spans[index] for index in members]), strict=True):
            edges[index] = replace(edges[index], lane=side * level)
    return edges


def _levels(spans: Sequence[Span]) -> list[int]:
    """How far out each edge of one side runs: a longer one outside every shorter one that it overlaps."""
    levels = [0] * len(spans)
    for edge in sorted(range(len(spans)), key=lambda index: spans[index][1] - spans[index][0]):
        left, right = spans[edge]
        levels[edge] = 1 + max(level for (a, b), level in zip(spans, levels, strict=True) if a < right and left < b)
    return levels


def _sides(spans: Mapping[int, Span], fixed: Mapping[int, int]) -> dict[int, int]:
    """The side of each edge (1 above, −1 below): those not fixed such that few edges cross and the cell is flat."""

    def cost(sides: Mapping[int, int]) -> float:
        pages = [[spans[index] for index, side in sides.items() if side == page] for page in (1, -1)]
        crossings = sum(a < c < b < d for page in pages for a, b in page for c, d in page)
        above, below = (max(_levels(page), default=0) for page in pages)
        return 2 * crossings + above + below + 0.3 * abs(above - below)

    sides = dict(fixed)
    for _ in range(3):  # the first pass places, the others improve
        for index in [index for index in spans if index not in fixed]:
            above, below = (cost({**sides, index: side}) for side in (1, -1))
            sides[index] = 1 if above <= below else -1
    return sides


class Plan:
    """Where the boxes, ports and lanes of one cell are; the line of states has height 0. :func:`align` sets the rest.

    Args:
        genotype, kind: which cell.
        shared: of each edge, whether another cell has it too.
        name: whose cell it is, where several are drawn.
    """

    def __init__(self, genotype: Genotype, kind: str, shared: Sequence[bool] = (), name: str = "") -> None:
        cell = genotype.cells[kind]
        self.title = f"{TITLES[kind]}{f' of {name}' if name else ''}"
        self.edges, self.output = route(cell, genotype.ops, shared), len(cell.nodes) + 2
        self.names = dict(enumerate(state_names(cell), start=2 - cell.inputs))
        self.concat = [state + 2 - cell.inputs for state in cell.concat]
        nodes = range(2, self.output)
        ports = [max(len(self.ports(state, side)) for side in (1, -1)) for state in nodes]
        labels = [max((inches(e.label) for e in self.edges if e.target == state), default=0.0) for state in nodes]
        self.widths = [0.56, *(max(_WIDTH, (count + 0.8) * _PORT) for count in ports), 0.46]
        self.gaps = [0.0, *(label + 2 * _PAD for label in labels), 0.55]
        self.top = max(self.height(max(edge.lane for edge in self.edges)) + 0.08, self.offset(2 - cell.inputs) + HALF)
        self.bottom = min(self.height(min(edge.lane for edge in self.edges)) - 0.08, self.offset(1) - HALF)
        self.fan = _FAN + 0.04 * (self.top - self.bottom) / _LANE
        self.columns: Sequence[float] = []

    def height(self, lane: int) -> float:
        """Of a lane above the line of states; the lanes below leave room for the concat track."""
        steps = (abs(lane) - 1) * _LANE
        return 0.0 if lane == 0 else _FIRST + steps if lane > 0 else -_FIRST - TRACK + HALF - steps

    def offset(self, state: int) -> float:
        """Of a box from the line of states; an input stands halfway between the lanes that it feeds."""
        lanes = [edge.lane for edge in self.edges if edge.source == state] or [1 - 2 * state]
        return (self.height(min(lanes)) + self.height(max(lanes))) / 2 if state < 2 else 0.0

    def ports(self, state: int, side: int) -> list[Edge | None]:
        """What touches a node on one side, from left to right in the order without crossings; None is the concat."""
        here = [edge for edge in self.edges if edge.lane * side > 0]
        arriving = sorted((edge for edge in here if edge.target == state), key=lambda edge: abs(edge.lane))
        leaving = sorted((edge for edge in here if edge.source == state), key=lambda edge: -abs(edge.lane))
        concat = [None] if side < 0 and state in self.concat and state != self.output - 1 else []
        return [*arriving, *leaving, *concat]

    def port(self, state: int, edge: Edge | None, side: int) -> Point:
        """Where an edge touches the upper or lower side of a node."""
        ports = self.ports(state, side)
        x = self.columns[state - 1] + (ports.index(edge) - (len(ports) - 1) / 2) * _PORT
        return x, side * HALF

    def end(self, state: int, direction: int) -> Point:
        """The middle of the left (−1) or right (1) side of a state's box."""
        column = max(state - 1, 0)
        return self.columns[column] + direction * self.widths[column] / 2, self.offset(state)

    def line(self, edge: Edge) -> Line:
        """Of an edge, from its source to the node that reads it."""
        if edge.lane == 0:
            return _line(self.end(edge.source, 1), self.end(edge.target, -1))
        side, lane = (1 if edge.lane > 0 else -1), self.height(edge.lane)
        end = self.port(edge.target, edge, side)
        if edge.source < 2:
            start = self.end(edge.source, 1)
            return _line(start, (start[0] + self.fan, lane), (end[0], lane), end)
        start = self.port(edge.source, edge, side)
        return _line(start, (start[0], lane), (end[0], lane), end)

    def concat_line(self, state: int) -> Line:
        """From a state to the output: straight from the last node, else by the track that all others share."""
        last, end = self.end(self.output - 1, 1), self.end(self.output, -1)
        if state == self.output - 1:
            return _line(last, end)
        start = self.port(state, None, -1)
        return _line(start, (start[0], -TRACK), (last[0], -TRACK), (end[0] - 0.15, 0), end)


def _line(*corners: Point) -> Line:
    """A line through the corners: round where it turns at a right angle, a wave between corners that lie aslant."""
    line: Line = [("M", (corners[0],))]
    for last, here, following in zip(corners, corners[1:], [*corners[2:], None], strict=False):
        (left, low), (x, y) = last, here
        if x != left and y != low:
            line.append(("C", (((left + x) / 2, low), ((left + x) / 2, y), here)))
        elif following and (x == following[0] or y == following[1]):
            line += [("L", (_towards(here, last),)), ("Q", (here, _towards(here, following)))]
        else:
            line.append(("L", (here,)))
    return line


def _towards(start: Point, end: Point) -> Point:
    """The point a turn's radius away from the start, or halfway if that is nearer."""
    (x, y), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])
    share = min(_TURN / (abs(dx) + abs(dy)), 0.5)
    return x + share * dx, y + share * dy


@cache
def inches(text: str) -> float:
    """The width of a text, without a canvas."""
    from matplotlib.textpath import TextPath

    font: Any = {"family": FAMILY, "size": FONT}
    return float(TextPath((0, 0), text.replace("$", "S"), prop=font).vertices[:, 0].max(initial=0.0)) / 72


def notes_of(genotype: Genotype) -> list[str]:
    """The settings that are too long to stand on the edges, a line an operation."""
    settings = {op: {k: v for k, v in genotype.ops.get(op, {}).items() if len(k) > 1} for op in genotype.operations}
    return [f"{short(op)}: {', '.join(f'{k} {v}' for k, v in rest.items())}" for op, rest in settings.items() if rest]


def align(plans: Sequence[Plan]) -> float:
    """Puts the columns of several cells under one another; returns the width that they take, without a right margin."""
    widths = [max(column) for column in zip_longest(*(plan.widths for plan in plans), fillvalue=0.0)]
    gaps = [max(column) for column in zip_longest(*(plan.gaps for plan in plans), fillvalue=0.0)]
    fan = max(plan.fan for plan in plans)
    columns = [MARGIN + sum(widths[:i]) + widths[i] / 2 + sum(gaps[: i + 1]) + fan * (i > 0) for i in range(len(gaps))]
    for plan in plans:
        plan.columns, plan.widths, plan.gaps = columns, widths, gaps
    return columns[-1] + widths[-1] / 2
