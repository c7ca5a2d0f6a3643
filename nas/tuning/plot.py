"""The front as a picture: accuracy against multiply-adds."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.files import write


def plot(trials: Sequence[Mapping[str, Any]], found: Mapping[str, Any], path: Path) -> None:
    """Draws all trials, the front, the budgets, published settings as crosses and random's best as diamonds.

    Raises:
        UsageError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for limit in found["budgets"]:
        axes.axvline(limit / 1e6, color="0.8", linewidth=1, zorder=0)
    complete = [trial for trial in trials if trial["state"] == "complete"]
    for index, space in enumerate(dict.fromkeys(trial["space"] for trial in complete)):
        colour = f"C{index}"
        tuned = [one for one in complete if one["space"] == space and one["sampler"] != "random"]
        control = [one for one in found["best"] if one["space"] == space and one["sampler"] == "random"]
        crosses = [one for one in found["published"] if one["name"].startswith(f"{space}-")]
        axes.scatter(*points(tuned), s=14, color=colour, label=f"{space}, tuned")
        axes.scatter(
            *points(control), s=60, marker="D", facecolors="none", color=colour, label=f"{space}, random's best"
        )
        axes.scatter(*points(crosses), s=70, marker="x", color=colour, label=f"{space}, published setting")
    axes.plot(*points(found["front"]), color="0.3", linewidth=1, zorder=1, label="front")
    axes.set_xlabel("multiply-adds at the training input, millions (grey lines: budgets)")
    axes.set_ylabel("accuracy on held-out images, %")
    axes.grid(axis="y", color="0.93")
    axes.set_axisbelow(True)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write(path, picture.getvalue())


def points(entries: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """(millions of multiply-adds, percent) of trials."""
    return [entry["madds"] / 1e6 for entry in entries], [100 * entry["accuracy"] for entry in entries]
