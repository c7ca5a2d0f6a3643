"""Draws the cells of a genotype, or of two beside one another, as a figure for a paper, with matplotlib alone."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import IO, TYPE_CHECKING, Any

from nas.cells.difference import shared_edges
from nas.cells.genotype import Genotype
from nas.cells.graph import FAMILIES
from nas.cells.layout import FAMILY, FONT, HALF, MARGIN, Line, Plan, align, inches, notes_of
from nas.errors import UsageError, nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path

_CONCAT, _SHARED, _INPUT, _NODE, _OUTPUT = "#B4B4B4", "#8A8A8A", "#E9F2DF", "#E6EEF8", "#FBF1D6"
_TITLE, _GAP, _ROW = 0.4, 0.22, 0.21  # inches: over a cell; under a cell; a row of the legend
STYLE: dict[Any, Any] = {
    "font.family": [FAMILY, "sans-serif"],
    "font.sans-serif": [FAMILY, "Verdana", "Arial"],
    "font.size": FONT,
    "mathtext.fontset": "dejavusans",
    "text.usetex": False,
    "savefig.bbox": "standard",
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,  # TrueType, as publishers ask
    "svg.hashsalt": "nas",
}


DATED: dict[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
"""Formats of pictures, and what would differ from one writing to the next."""


def figure(genotype: Genotype, other: Genotype | None = None, names: Sequence[str] = ("", "")) -> "Figure":
    """The cells, the normal one above, with a legend of the families of operations in them.

    Args:
        other: whose cells are drawn under those of the same kind; what both have is grey.
        names: of the two.
    """
    import matplotlib
    from matplotlib.figure import Figure

    plans = _plans(genotype, other, names)
    right = align(list(plans.values()))
    shown = {edge.family for plan in plans.values() for edge in plan.edges if not edge.shared}
    lines = {family: colour for family, (colour, _) in FAMILIES.items() if family in shown}
    lines |= {"in both": _SHARED} if other else {}
    notes = list(dict.fromkeys([*notes_of(genotype), *(notes_of(other) if other else [])]))
    width = max([right, 4.0, *map(inches, notes)]) + MARGIN
    ncols = min(max(1, int(width / 1.7)), len(lines) + 1)
    rows = -(-(len(lines) + 1) // ncols)
    y = height = sum(plan.top - plan.bottom + _TITLE + _GAP for plan in plans.values())
    y = height = height + (rows + len(notes)) * _ROW + MARGIN
    with matplotlib.rc_context(STYLE):
        result = Figure(figsize=(width, height), facecolor="white")
        for name, plan in plans.items():
            bounds = (plan.bottom - _GAP, plan.top + _TITLE)
            y -= bounds[1] - bounds[0]
            place = (0, y / height, 1, (bounds[1] - bounds[0]) / height)
            _draw_cell(result.add_axes(place, xlim=(0, width), ylim=bounds), plan, name)
        _draw_legend(result, lines, notes, ncols)
    return result


def _plans(genotype: Genotype, other: Genotype | None, names: Sequence[str]) -> dict[str, Plan]:
    """The plans of all cells from top to bottom, by what the ids of their parts begin with."""
    if other is None:
        return {kind: Plan(genotype, kind) for kind in genotype.cells}
    plans = {}
    for kind in dict.fromkeys([*genotype.cells, *other.cells]):
        for number, (one, beside) in enumerate(((genotype, other), (other, genotype))):
            if kind in one.cells:
                plans[f"{kind}/{number}"] = Plan(one, kind, shared_edges(one, beside)[kind], names[number])
    return plans


def _path(line: Line) -> "Path":
    from matplotlib.path import Path

    codes = {"M": Path.MOVETO, "L": Path.LINETO, "Q": Path.CURVE3, "C": Path.CURVE4}
    points = [(codes[command], point) for command, points in line for point in points]
    return Path([point for _, point in points], [code for code, _ in points])


def _draw_cell(axes: "Axes", plan: Plan, name: str) -> None:
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, PathPatch

    axes.axis("off")
    axes.text(MARGIN, plan.top + _TITLE - 0.1, plan.title, size=FONT + 1.5, weight="bold", va="top")
    arrow: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 7}
    for state in plan.concat:
        axes.add_patch(FancyArrowPatch(path=_path(plan.concat_line(state)), color=_CONCAT, lw=0.9, zorder=1, **arrow))
    for index, edge in enumerate(plan.edges):
        line, colour = _path(plan.line(edge)), _SHARED if edge.shared else FAMILIES[edge.family][0]
        between = edge.source > 1
        if between:  # over the lines from the inputs, with a white seam, so that no crossing looks like a junction
            axes.add_patch(PathPatch(line, fill=False, ec="white", lw=3.6, zorder=3))
        style: dict[str, Any] = {
            "color": colour,
            "lw": 0.9 if edge.shared else 1.2,
            "zorder": 2 + between,
            "gid": f"{name}/edge-{index}",
            **arrow,
        }
        axes.add_patch(FancyArrowPatch(path=line, **style))
        x, y = plan.end(edge.target, -1)[0] - plan.gaps[edge.target - 1] / 2, plan.height(edge.lane)
        style = {"color": colour, "zorder": 4, "gid": f"{name}/label-{index}", "ha": "center", "va": "center_baseline"}
        axes.text(x, y, edge.label, parse_math=False, bbox={"fc": "white", "ec": "none", "pad": 2.0}, **style)
    for state, title in plan.names.items():
        fill = _INPUT if state < 2 else _OUTPUT if state == plan.output else _NODE
        (left, y), right = plan.end(state, -1), plan.end(state, 1)[0]
        style = {"boxstyle": "round,pad=0,rounding_size=0.07", "fc": fill, "ec": "#444444", "lw": 0.8, "zorder": 5}
        box = FancyBboxPatch((left, y - HALF), right - left, 2 * HALF, gid=f"{name}/{title}", **style)
        axes.add_patch(box)
        text = title if title.isdigit() else f"${title}$"
        axes.text((left + right) / 2, y, text, size=FONT + 1, ha="center", va="center", zorder=6)


def _draw_legend(result: "Figure", families: Mapping[str, str], notes: Sequence[str], ncols: int) -> None:
    from matplotlib.lines import Line2D

    height = result.get_figheight()
    for row, note in enumerate(reversed(notes)):
        result.text(0.5, (MARGIN + row * _ROW) / height, note, color="#555555", ha="center", parse_math=False)
    lines = [Line2D([], [], color=colour, lw=1.6, label=name) for name, colour in families.items()]
    lines.append(Line2D([], [], color=_CONCAT, lw=1.2, label="concatenation"))
    place: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, len(notes) * _ROW / height)}
    result.legend(handles=lines, ncols=ncols, frameon=False, handlelength=1.5, **place)


def draw(
    genotype: Genotype,
    target: str | PathLike[str] | IO[bytes],
    format: str,
    other: Genotype | None = None,
    names: Sequence[str] = ("", ""),
) -> None:
    """Writes the figure; the same genotype gives the same bytes.

    Args:
        genotype: what to draw.
        target: a path, or a binary file open for writing.
        format: ``svg``, ``pdf`` or ``png``.
        other, names: as of :func:`figure`.

    Raises:
        UsageError: another format.
    """
    import matplotlib

    with matplotlib.rc_context(STYLE):
        save(figure(genotype, other, names), target, format)


def save(figure: "Figure", target: str | PathLike[str] | IO[bytes], format: str) -> None:
    """Writes any figure in the same style, without dates.

    Raises:
        UsageError: an unknown format.
    """
    import matplotlib

    if format not in DATED:
        raise UsageError(f'unknown picture format "{format}": {nearest(format, list(DATED))}')
    with matplotlib.rc_context(STYLE):
        figure.savefig(target, format=format, dpi=200, metadata=DATED[format])
