"""Draws the cells of a genotype as a figure for a paper, with matplotlib alone.

The states of a cell stand in columns on one line. Every edge runs in a lane of its own above or below that line, as on
a tram map, and turns only at columns; its label interrupts it in the gap before the node that it leads to. So, whatever
the cell, no label meets another label, a node or the line of another edge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from os import PathLike
from typing import IO, TYPE_CHECKING, Any

from nas.cells.genotype import Cell, Genotype
from nas.cells.graph import FAMILIES, TITLES, family_of, short, state_names
from nas.errors import UsageError, nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path

_CONCAT, _INPUT, _NODE, _OUTPUT = "#B4B4B4", "#E9F2DF", "#E6EEF8", "#FBF1D6"

_FONT = 8.0  # points; all other lengths are inches
_LANE, _FIRST, _TRACK = 0.25, 0.46, 0.32  # between lanes; line of states to first lane; to the concat track below
_HALF, _WIDTH, _PORT = 0.17, 0.38, 0.12  # half the height of a state's box; a node's least width; between edges at it
_PAD, _FAN, _TURN = 0.22, 0.3, 0.16  # beside a label; from an input to its lanes; radius of a turn
_MARGIN, _TITLE, _GAP, _ROW = 0.15, 0.4, 0.22, 0.21  # around all; over a cell; under a cell; a row of the legend
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": _FONT,
    "mathtext.fontset": "dejavusans",
    "text.usetex": False,
    "savefig.bbox": "standard",
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "svg.fonttype": "path",  # as text it would be set in whatever font the viewer has
    "svg.hashsalt": "nas",
}

Point = tuple[float, float]
Span = tuple[int, int]
Settings = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Edge:
    """An edge and its lane: 1, 2, … upwards above the states, −1, −2, … below, 0 straight to the next node."""

    label: str
    family: str
    source: int
    target: int
    lane: int = 0

    @property
    def span(self) -> Span:
        """The columns it leads from and to; both inputs stand in column 0."""
        return max(self.source - 1, 0), self.target - 1


def route(cell: Cell, ops: Settings) -> list[Edge]:
    """The edges of a cell with their lanes: what the first input sends runs above, what the second sends below.

    An only input counts as the second one, state 1.
    """
    missing = 2 - cell.inputs
    pairs = [(pair, target) for target, pairs in enumerate(cell.nodes, start=2) for pair in pairs]
    edges = [Edge(short(op, ops.get(op)), family_of(op), source + missing, target) for (op, source), target in pairs]
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


class _Plan:
    """Where the boxes, ports and lanes of one cell are; the line of states has height 0. ``columns`` is set later."""

    def __init__(self, kind: str, cell: Cell, ops: Settings) -> None:
        self.kind, self.edges, self.output = kind, route(cell, ops), len(cell.nodes) + 2
        self.names = dict(enumerate(state_names(cell), start=2 - cell.inputs))
        self.concat = [state + 2 - cell.inputs for state in cell.concat]
        nodes = range(2, self.output)
        ports = [max(len(self.ports(state, side)) for side in (1, -1)) for state in nodes]
        labels = [max((_inches(e.label) for e in self.edges if e.target == state), default=0.0) for state in nodes]
        self.widths = [0.56, *(max(_WIDTH, (count + 0.8) * _PORT) for count in ports), 0.46]
        self.gaps = [0.0, *(label + 2 * _PAD for label in labels), 0.55]
        self.top = max(self.height(max(edge.lane for edge in self.edges)) + 0.08, self.offset(2 - cell.inputs) + _HALF)
        self.bottom = min(self.height(min(edge.lane for edge in self.edges)) - 0.08, self.offset(1) - _HALF)
        self.fan = _FAN + 0.04 * (self.top - self.bottom) / _LANE
        self.columns: Sequence[float] = []

    def height(self, lane: int) -> float:
        """Of a lane above the line of states; the lanes below leave room for the concat track."""
        steps = (abs(lane) - 1) * _LANE
        return 0.0 if lane == 0 else _FIRST + steps if lane > 0 else -_FIRST - _TRACK + _HALF - steps

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
        return x, side * _HALF

    def end(self, state: int, direction: int) -> Point:
        """The middle of the left (−1) or right (1) side of a state's box."""
        column = max(state - 1, 0)
        return self.columns[column] + direction * self.widths[column] / 2, self.offset(state)

    def line(self, edge: Edge) -> "Path":
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

    def concat_line(self, state: int) -> "Path":
        """From a state to the output: straight from the last node, else by the track that all others share."""
        last, end = self.end(self.output - 1, 1), self.end(self.output, -1)
        if state == self.output - 1:
            return _line(last, end)
        start = self.port(state, None, -1)
        return _line(start, (start[0], -_TRACK), (last[0], -_TRACK), (end[0] - 0.15, 0), end)


def _line(*corners: Point) -> "Path":
    """A path through the corners: round where it turns at a right angle, a wave between corners that lie aslant."""
    from matplotlib.path import Path

    points, codes = [corners[0]], [Path.MOVETO]
    for last, here, following in zip(corners, corners[1:], [*corners[2:], None], strict=False):
        (left, low), (x, y) = last, here
        if x != left and y != low:
            points += [((left + x) / 2, low), ((left + x) / 2, y), here]
            codes += [Path.CURVE4] * 3
        elif following and (x == following[0] or y == following[1]):
            points += [_towards(here, last), here, _towards(here, following)]
            codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
        else:
            points, codes = [*points, here], [*codes, Path.LINETO]
    return Path(points, codes)


def _towards(start: Point, end: Point) -> Point:
    """The point a turn's radius away from the start, or halfway if that is nearer."""
    (x, y), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])
    share = min(_TURN / (abs(dx) + abs(dy)), 0.5)
    return x + share * dx, y + share * dy


def _inches(text: str) -> float:
    """The width of a text, without a canvas."""
    from matplotlib.textpath import TextPath

    font: Any = {"family": _STYLE["font.family"], "size": _FONT}
    return float(TextPath((0, 0), text.replace("$", "S"), prop=font).vertices[:, 0].max(initial=0.0)) / 72


def figure(genotype: Genotype) -> "Figure":
    """The cells, the normal one above, with a legend of the families of operations in them."""
    import matplotlib
    from matplotlib.figure import Figure

    plans = [_Plan(kind, cell, genotype.ops) for kind, cell in genotype.cells.items()]
    widths = [max(column) for column in zip_longest(*(plan.widths for plan in plans), fillvalue=0.0)]
    gaps = [max(column) for column in zip_longest(*(plan.gaps for plan in plans), fillvalue=0.0)]
    fan = max(plan.fan for plan in plans)
    columns = [_MARGIN + sum(widths[:i]) + widths[i] / 2 + sum(gaps[: i + 1]) + fan * (i > 0) for i in range(len(gaps))]
    families = [name for name in FAMILIES if any(edge.family == name for plan in plans for edge in plan.edges)]
    notes = _notes(genotype)
    width = max([columns[-1] + widths[-1] / 2, 4.0, *map(_inches, notes)]) + _MARGIN
    ncols = min(max(1, int(width / 1.7)), len(families) + 1)
    rows = -(-(len(families) + 1) // ncols)
    y = height = sum(plan.top - plan.bottom + _TITLE + _GAP for plan in plans) + (rows + len(notes)) * _ROW + _MARGIN
    with matplotlib.rc_context(_STYLE):
        result = Figure(figsize=(width, height), facecolor="white")
        for plan in plans:
            plan.columns, plan.widths, plan.gaps = columns, widths, gaps
            bounds = (plan.bottom - _GAP, plan.top + _TITLE)
            y -= bounds[1] - bounds[0]
            place = (0, y / height, 1, (bounds[1] - bounds[0]) / height)
            _draw_cell(result.add_axes(place, xlim=(0, width), ylim=bounds), plan)
        _draw_legend(result, families, notes, ncols)
    return result


def _notes(genotype: Genotype) -> list[str]:
    """The settings that are too long to stand on the edges, a line an operation."""
    settings = {op: {k: v for k, v in genotype.ops.get(op, {}).items() if len(k) > 1} for op in genotype.operations}
    return [f"{short(op)}: {', '.join(f'{k} {v}' for k, v in rest.items())}" for op, rest in settings.items() if rest]


def _draw_cell(axes: "Axes", plan: _Plan) -> None:
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, PathPatch

    axes.axis("off")
    axes.text(_MARGIN, plan.top + _TITLE - 0.1, TITLES[plan.kind], size=_FONT + 1.5, weight="bold", va="top")
    arrow: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 7}
    for state in plan.concat:
        axes.add_patch(FancyArrowPatch(path=plan.concat_line(state), color=_CONCAT, lw=0.9, zorder=1, **arrow))
    for index, edge in enumerate(plan.edges):
        line, colour, name = plan.line(edge), FAMILIES[edge.family][0], f"{plan.kind}/%s-{index}"
        between = edge.source > 1
        if between:  # over the lines from the inputs, with a white seam, so that no crossing looks like a junction
            axes.add_patch(PathPatch(line, fill=False, ec="white", lw=3.6, zorder=3))
        style: dict[str, Any] = {"color": colour, "lw": 1.2, "zorder": 2 + between, "gid": name % "edge", **arrow}
        axes.add_patch(FancyArrowPatch(path=line, **style))
        x, y = plan.end(edge.target, -1)[0] - plan.gaps[edge.target - 1] / 2, plan.height(edge.lane)
        style = {"color": colour, "zorder": 4, "gid": name % "label", "ha": "center", "va": "center_baseline"}
        axes.text(x, y, edge.label, parse_math=False, bbox={"fc": "white", "ec": "none", "pad": 2.0}, **style)
    for state, name in plan.names.items():
        fill = _INPUT if state < 2 else _OUTPUT if state == plan.output else _NODE
        (left, y), right = plan.end(state, -1), plan.end(state, 1)[0]
        style = {"boxstyle": "round,pad=0,rounding_size=0.07", "fc": fill, "ec": "#444444", "lw": 0.8, "zorder": 5}
        box = FancyBboxPatch((left, y - _HALF), right - left, 2 * _HALF, gid=f"{plan.kind}/{name}", **style)
        axes.add_patch(box)
        text = name if name.isdigit() else f"${name}$"
        axes.text((left + right) / 2, y, text, size=_FONT + 1, ha="center", va="center", zorder=6)


def _draw_legend(result: "Figure", families: Sequence[str], notes: Sequence[str], ncols: int) -> None:
    from matplotlib.lines import Line2D

    height = result.get_figheight()
    for row, note in enumerate(reversed(notes)):
        result.text(0.5, (_MARGIN + row * _ROW) / height, note, color="#555555", ha="center", parse_math=False)
    lines = [Line2D([], [], color=FAMILIES[name][0], lw=1.6, label=name) for name in families]
    lines.append(Line2D([], [], color=_CONCAT, lw=1.2, label="concatenation"))
    place: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, len(notes) * _ROW / height)}
    result.legend(handles=lines, ncols=ncols, frameon=False, handlelength=1.5, **place)


def draw(genotype: Genotype, target: str | PathLike[str] | IO[bytes], format: str) -> None:
    """Writes the figure; the same genotype gives the same bytes.

    Args:
        genotype: what to draw.
        target: a path, or a binary file open for writing.
        format: ``svg`` or ``png``.

    Raises:
        UsageError: another format.
    """
    if format not in ("svg", "png"):
        raise UsageError(f'unknown picture format "{format}": {nearest(format, ["svg", "png"])}')
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        metadata = {"Date": None} if format == "svg" else {}
        figure(genotype).savefig(target, format=format, dpi=200, metadata=metadata)
