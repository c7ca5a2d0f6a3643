"""A cell as light SVG inside an HTML page: real text, colours by CSS classes, so that it follows light and dark.

Classes: ``family-0``, … (places in ``FAMILIES``), ``concat``, ``state``, ``gap`` (behind a label).
"""

from html import escape

from nas.cells.genotype import Genotype
from nas.cells.graph import FAMILIES
from nas.cells.layout import FONT, HALF, MARGIN, Line, Plan, Point, align, inches, notes_of

SCALE = 100
"""Units of the drawing in an inch."""
HEAD = 0.08
"""Length of an arrow's head, in inches."""


def svg_of_cell(genotype: Genotype, kind: str) -> str:
    """The drawing of one cell, an ``<svg>`` element without ids; its label says in words what is drawn."""
    plan = Plan(genotype, kind)
    width, height = align([plan]) + MARGIN, plan.top - plan.bottom + 2 * MARGIN
    drawing = _Drawing(plan, plan.top + MARGIN)
    box = f"0 0 {width * SCALE:.0f} {height * SCALE:.0f}"
    size = f'viewBox="{box}" width="{width * SCALE:.0f}" height="{height * SCALE:.0f}"'
    label = escape(describe(genotype, kind), quote=True)
    return f'<svg class="cell" role="img" aria-label="{label}" {size}>{"".join(drawing.parts())}</svg>'


def describe(genotype: Genotype, kind: str) -> str:
    """A cell in words."""
    plan = Plan(genotype, kind)
    edges = [f"{edge.label} from {plan.names[edge.source]} to {plan.names[edge.target]}" for edge in plan.edges]
    return "; ".join([f"{plan.title}: {', '.join(edges)}", *notes_of(genotype)]).replace("{", "").replace("}", "")


class _Drawing:
    """The parts of one cell; ``top`` is the height of the drawing's upper side."""

    def __init__(self, plan: Plan, top: float) -> None:
        self.plan, self.top = plan, top

    def parts(self) -> list[str]:
        """In the order in which they cover one another; edges from nodes lie over those from inputs."""
        plan = self.plan
        concats = [self.arrow(plan.concat_line(state), "concat") for state in plan.concat]
        order = sorted(range(len(plan.edges)), key=lambda index: plan.edges[index].source > 1)
        edges = [self.edge(index) for index in order]
        return [*concats, *edges, *(self.label(index) for index in order), *map(self.state, plan.names)]

    def at(self, point: Point) -> str:
        """A point in the drawing's units."""
        return f"{point[0] * SCALE:.1f} {(self.top - point[1]) * SCALE:.1f}"

    def family(self, index: int) -> str:
        """The class of an edge."""
        return f"family-{list(FAMILIES).index(self.plan.edges[index].family)}"

    def edge(self, index: int) -> str:
        """An edge, with a seam, so that no crossing looks like a junction."""
        line = self.plan.line(self.plan.edges[index])
        return f'<path class="seam" d="{self.path(line)}"/>{self.arrow(line, self.family(index))}'

    def path(self, line: Line) -> str:
        """A line as SVG's path data."""
        return "".join(f"{command}{' '.join(map(self.at, points))}" for command, points in line)

    def arrow(self, line: Line, name: str) -> str:
        """A line with its head."""
        (u, v), (x, y) = [point for _, points in line for point in points][-2:]
        length = ((x - u) ** 2 + (y - v) ** 2) ** 0.5 or 1.0
        dx, dy = HEAD * (x - u) / length, HEAD * (y - v) / length
        corners = [(x, y), (x - dx - dy / 2, y - dy + dx / 2), (x - dx + dy / 2, y - dy - dx / 2)]
        head = "L".join(map(self.at, corners))
        return f'<g class="{name}"><path d="{self.path(line)}"/><path class="head" d="M{head}Z"/></g>'

    def label(self, index: int) -> str:
        """The operation's name on its edge."""
        plan, edge = self.plan, self.plan.edges[index]
        x = plan.end(edge.target, -1)[0] - plan.gaps[edge.target - 1] / 2
        wide, high = inches(edge.label) + 0.08, FONT / 72 + 0.06
        corner = self.at((x - wide / 2, plan.height(edge.lane) + high / 2)).split()
        size = f'width="{wide * SCALE:.1f}" height="{high * SCALE:.1f}"'
        return f'<rect class="gap" x="{corner[0]}" y="{corner[1]}" {size}/>' + self.text(
            (x, plan.height(edge.lane)), escape(edge.label), self.family(index)
        )

    def state(self, state: int) -> str:
        """The box of a state, with its name."""
        plan = self.plan
        (left, y), right = plan.end(state, -1), plan.end(state, 1)[0]
        corner = self.at((left, y + HALF)).split()
        size = f'width="{(right - left) * SCALE:.1f}" height="{2 * HALF * SCALE:.0f}" rx="7"'
        name, _, index = plan.names[state].partition("_")
        below = f'<tspan class="index" dy="3">{index[1:-1]}</tspan>' if index else ""
        role = "input" if state < 2 else "output" if state == plan.output else "node"
        box = f'<rect class="{role}" x="{corner[0]}" y="{corner[1]}" {size}/>'
        return box + self.text(((left + right) / 2, y), name + below, "state")

    def text(self, point: Point, content: str, name: str) -> str:
        """Text around a point."""
        x, y = self.at(point).split()
        return f'<text class="{name}" x="{x}" y="{y}" dy="0.35em">{content}</text>'
