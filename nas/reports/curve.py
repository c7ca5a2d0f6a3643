"""The frontier of a derivation: the best score at each cost, as a table and a picture."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.amounts import Cost
from nas.files import write


@dataclass(frozen=True)
class Mark:
    """A selection's cell on the picture."""

    name: str
    score: float
    madds: int


def write_curve(
    points: Mapping[float, Cost], marks: Sequence[Mark], limit: int | None, table: Path, picture: Path
) -> None:
    """Writes both files.

    Args:
        points: by their scores, the best first.
        marks: what was selected.
        limit: of multiply-adds.

    Raises:
        UsageError: a file cannot be written.
    """
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["log_strength", "madds", "params"])
    writer.writerows([f"{score:.9g}", cost.madds, cost.params] for score, cost in points.items())
    write(table, rows.getvalue())
    write(picture, draw(points, marks, limit))


def draw(points: Mapping[float, Cost], marks: Sequence[Mark], limit: int | None) -> bytes:
    """The picture, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    costs = [cost.madds / 1e6 for cost in points.values()]
    axes.step(
        costs[::-1], list(points)[::-1], ".-", where="post", color="0.5", linewidth=1, markersize=4, label="frontier"
    )
    if limit is not None:
        axes.axvline(limit / 1e6, color="0.3", linewidth=1, linestyle="--", zorder=0, label="limit")
    for index, mark in enumerate(marks):
        axes.plot(mark.madds / 1e6, mark.score, "oDs^"[index], markersize=9, fillstyle="none", label=mark.name)
    axes.set_xlabel("multiply-adds of the final network, millions")
    axes.set_ylabel("score: Σ log strength of the cell's edges")
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return content.getvalue()
