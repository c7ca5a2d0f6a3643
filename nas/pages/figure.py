"""A page's charts as a figure for a paper, by matplotlib: PDF with its fonts, SVG with text as text, or PNG."""

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nas.cells.draw import STYLE, save
from nas.errors import UsageError, nearest
from nas.pages.charts import Axis, Chart, Series, finite
from nas.pages.curves import EPOCH
from nas.pages.page import overlay
from nas.pages.records import Record, record_of
from nas.pages.replay import HeatMap, replay_of
from nas.pages.trainings import cloud, rows_of
from nas.pages.trials import MADDS, charts_of_tuning
from nas.run.folder import Run

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

COLOURS = ("#0b62a8", "#c2410c", "#00754a", "#9d3a86", "#59616b", "#7a5a00", "#1d2126", "#b8860b", "#2aa198")
MARKS = "osD^PvX<>"
FEW = 4
"""More charts than these stand four in a row."""


def draw(what: str, runs: Sequence[Run], format: str) -> bytes:
    """A figure of runs, as a file.

    Args:
        what: a key of :data:`FIGURES`.
        format: ``pdf``, ``svg`` or ``png``.

    Raises:
        UsageError: an unknown figure or format; the runs have nothing to draw.
    """
    if what not in FIGURES:
        raise UsageError(f'--figure "{what}": {nearest(what, list(FIGURES))}')
    charts = FIGURES[what]([record_of(run) for run in runs])
    shown = [chart for chart in charts if any(finite(one).points for one in chart.series)]
    if not shown:
        raise UsageError(f"--figure {what}: {', '.join(str(run.path) for run in runs)}: nothing of that is logged")
    return drawn(shown, format)


def of_alphas(records: Sequence[Record]) -> list[Chart]:
    """The mixing weights of each edge over the epochs of searches."""
    replays = [replay_of(leaf, "") for record in records for leaf in record.leaves if leaf.searches]
    return [chart for replay in replays if replay for one in replay.maps for chart in of_edges(one)]


def of_edges(weights: HeatMap) -> list[Chart]:
    """A chart an edge, a line an operation."""
    charts = []
    for row, edge in enumerate(weights.edges):
        series = []
        for column, name in enumerate(weights.operations):
            course = enumerate((epoch[row][column] for epoch in weights.weights), 1)
            points = [(float(epoch), weight) for epoch, weight in course if weight is not None]
            series.append(Series(name, points, column, dashed=column >= len(COLOURS)))
        charts.append(Chart(f"{weights.title}, {edge}", EPOCH, Axis("mixing weight"), series))
    return charts


def of_madds(records: Sequence[Record]) -> list[Chart]:
    """Accuracy against multiply-adds: of studies and tunings their own charts, of trainings one together."""
    charts, series = [], []
    for place, record in enumerate(records):
        if record.spec.command == "tune":
            charts += charts_of_tuning(record)[:1]
        elif own := cloud(rows_of(record)):
            charts += own
        else:
            trained = [leaf.figures for leaf in record.leaves if leaf.spec.command not in ("search", "derive")]
            judged = {"test": [(one.madds, one.test_accuracy) for one in trained]}
            judged["held-out"] = [(one.madds, one.valid_accuracy) for one in trained if one.test_accuracy is None]
            for what, figures in judged.items():
                points = [(madds / 1e6, accuracy) for madds, accuracy in figures if madds and accuracy is not None]
                series += [Series(f"{record.name}, {what}", points, place, line=False)] if points else []
    return [*charts, Chart("Accuracy against cost", Axis(MADDS), Axis("accuracy", "{:.1%}"), series)]


FIGURES: dict[str, Callable[[Sequence[Record]], list[Chart]]] = {
    "curves": lambda records: [chart for group in overlay(records) for chart in group.charts],
    "alphas": of_alphas,
    "madds": of_madds,
}
"""What can be drawn of runs."""


def drawn(charts: Sequence[Chart], format: str) -> bytes:
    """The charts beside one another, as a file, with one legend below."""
    import matplotlib
    from matplotlib.figure import Figure

    across = min(len(charts), 2 if len(charts) <= FEW else 4)
    down = -(-len(charts) // across)
    file = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(
            figsize=(5.5, 3.6) if len(charts) == 1 else (3.4 * min(across, 3.2), 2.3 * down + 0.5), layout="constrained"
        )
        legend: dict[str, Artist] = {}
        alike = len({chart.y.title for chart in charts}) == 1
        for place, chart in enumerate(charts, 1):
            axes = figure.add_subplot(down, across, place, sharey=figure.axes[0] if alike and figure.axes else None)
            _draw(axes, chart)
            handles, names = axes.get_legend_handles_labels()
            legend |= dict(zip(names, handles, strict=True)) if len(names) > 1 else {}
        columns = max(1, int(figure.get_figwidth() / (0.5 + 0.065 * max(map(len, legend), default=1))))
        if legend:
            handles = list(legend.values())
            figure.legend(handles, list(legend), loc="outside lower center", ncols=columns, frameon=False)
        save(figure, file, format)
    return file.getvalue()


def _draw(axes: "Axes", chart: Chart) -> None:
    """One chart."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for one in map(finite, chart.series):
        if one.points:
            colour = COLOURS[one.colour % len(COLOURS)]
            mark = MARKS[one.colour % len(MARKS)] if not one.line or len(one.points) < 2 else ""
            style: dict[str, Any] = {"linestyle": ("--" if one.dashed else "-") if one.line else "", "marker": mark}
            style |= {"color": colour, "markerfacecolor": "none" if one.hollow else colour}
            axes.plot(*zip(*one.points, strict=True), markersize=4, linewidth=1.1, label=one.name, **style)
    for rule in chart.x.rules:
        axes.axvline(rule, color="0.75", lw=0.8, zorder=0)
    axes.set_title(chart.title, fontsize="medium", loc="left")
    axes.set_xlabel(chart.x.title)
    axes.set_ylabel(chart.y.title)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=chart.x.whole, min_n_ticks=1))
    low, high = axes.get_ylim()
    form = chart.y.form if high - low > 0.05 else chart.y.form.replace(".0%", ".2%")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: form.format(value)))
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
