"""The front as a picture: accuracy against multiply-adds."""

import io
from collections.abc import Sequence
from pathlib import Path

from nas.files import write
from nas.tuning.results import PublishedResult, TrialResult, TuneResult


def plot(trials: Sequence[TrialResult], result: TuneResult, path: Path) -> None:
    """Draws all trials, the front, the budgets, published settings as crosses and random's best as diamonds.

    Raises:
        UsageError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for budget in result.budgets:
        axes.axvline(budget / 1e6, color="0.8", linewidth=1, zorder=0)
    for index, space in enumerate(dict.fromkeys(trial.space for trial in trials)):
        own = [one for one in trials if one.space == space and one.sampler != "random"]
        control = [one for one in result.best if one.space == space and one.sampler == "random"]
        crosses = [one for one in result.published if one.name.startswith(f"{space}-")]
        colour = f"C{index}"
        axes.scatter(*_points(own), s=14, color=colour, label=f"{space}, tuned")
        axes.scatter(
            *_points(control), s=60, marker="D", facecolors="none", color=colour, label=f"{space}, random's best"
        )
        axes.scatter(*_points(crosses), s=70, marker="x", color=colour, label=f"{space}, published setting")
    axes.plot(*_points(result.front), color="0.3", linewidth=1, zorder=1, label="front")
    axes.set_xlabel("multiply-adds at the training input, millions (grey lines: budgets)")
    axes.set_ylabel("accuracy on held-out images, %")
    axes.grid(axis="y", color="0.93")
    axes.set_axisbelow(True)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write(path, picture.getvalue())


def _points(entries: Sequence[TrialResult | PublishedResult]) -> tuple[list[float], list[float]]:
    """(millions of multiply-adds, percent) of trainings."""
    return [entry.madds / 1e6 for entry in entries], [100 * entry.accuracy for entry in entries]
