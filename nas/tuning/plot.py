"""A tuning as a picture: accuracy against cost, and the course of the studies under each budget."""

import io
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from nas.amounts import short
from nas.files import write
from nas.run import names
from nas.tuning.front import front
from nas.tuning.results import TrialResult, TuneResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CONTROL = "random"
ACCURACY = "accuracy on held-out images, %"
X = Callable[[TrialResult], float]


def plot(trials: Sequence[TrialResult], result: TuneResult, folder: Path) -> None:
    """Draws all trials, random ones hollow, as PNG and as SVG whose text is text.

    The first panel has accuracy against multiply-adds with the front, random's dashed, and published settings as
    crosses; the second, where latency was an objective, the same against that; then a panel a budget, trial by trial.

    Raises:
        UsageError: a file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    timed = [trial for trial in trials if trial.latency_ms]
    rows = ceil((1 + bool(timed) + len(result.budgets)) / 2)
    figure = Figure(figsize=(10, 4 * rows), layout="constrained")
    panels = iter(figure.subplots(rows, 2, squeeze=False).flat)
    _madds(next(panels), trials, result)
    if timed:
        _clouds(axes := next(panels), timed, lambda trial: trial.latency_ms or 0.0)
        axes.set(xlabel="latency, ms", ylabel=ACCURACY)
    for budget in result.budgets:
        _course(next(panels), [trial for trial in trials if trial.budget == budget], budget)
    for axes in panels:
        axes.remove()
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    for name, form in ((names.FRONT, "png"), (names.FRONT_SVG, "svg")):
        picture = io.BytesIO()
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "nas"}):
            figure.savefig(picture, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None)
        write(folder / name, picture.getvalue())


def _madds(axes: "Axes", trials: Sequence[TrialResult], result: TuneResult) -> None:
    """Accuracy against multiply-adds, with budgets and published settings."""
    for budget in result.budgets:
        axes.axvline(budget / 1e6, color="0.8", linewidth=1, zorder=0)
    colours = _clouds(axes, trials, lambda trial: trial.madds / 1e6)
    for space, colour in colours.items():
        if crosses := [one for one in result.published if one.name.startswith(f"{space}-")]:
            points = [one.madds / 1e6 for one in crosses], [100 * one.accuracy for one in crosses]
            axes.scatter(*points, s=70, marker="x", color=colour, label=f"{space}, published setting")
    for chance in (False, True):
        members = front(trial for trial in trials if (trial.sampler == CONTROL) == chance)
        style, label = ("--", "front of random trials") if chance else ("-", "front")
        xs, ys = [trial.madds / 1e6 for trial in members], [100 * trial.accuracy for trial in members]
        axes.step(xs, ys, style, where="post", color="0.3", linewidth=1, zorder=1, label=label)
    axes.set(xlabel="multiply-adds at the training input, millions (grey: budgets)", ylabel=ACCURACY)


def _clouds(axes: "Axes", trials: Iterable[TrialResult], x: X) -> dict[str, str]:
    """Trials as dots, random ones as rings; the colours of their spaces."""
    groups: dict[tuple[str, bool], list[TrialResult]] = {}
    for trial in trials:
        groups.setdefault((trial.space, trial.sampler == CONTROL), []).append(trial)
    colours = {space: f"C{index}" for index, space in enumerate(dict.fromkeys(space for space, _ in groups))}
    for (space, chance), own in groups.items():
        points = [x(trial) for trial in own], [100 * trial.accuracy for trial in own]
        label = f"{space}, {CONTROL if chance else 'tuned'}"
        axes.scatter(
            *points, s=20, edgecolors=colours[space], facecolors="none" if chance else colours[space], label=label
        )
    axes.grid(axis="y", color="0.93")
    axes.set_axisbelow(True)
    return colours


def _course(axes: "Axes", trials: Sequence[TrialResult], budget: int) -> None:
    """Accuracy of the trials under one budget, one after the other, and the best so far of each study."""
    from matplotlib.ticker import MaxNLocator

    colours = _clouds(axes, trials, lambda trial: float(trial.trial))
    for study in dict.fromkeys(trial.study for trial in trials):
        own = sorted((trial for trial in trials if trial.study == study), key=lambda trial: trial.trial)
        best = list(accumulate((100 * trial.accuracy for trial in own), max))
        style = "--" if own[0].sampler == CONTROL else "-"
        axes.step([trial.trial for trial in own], best, style, where="post", color=colours[own[0].space], linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(title=f"budget {short(budget)}: best so far", xlabel="trial", ylabel=ACCURACY)
