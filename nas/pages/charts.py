"""Charts as SVG made here: they need no script, follow the page's colours, and every point says its values when pointed
at. Series differ in colour, dashes and shape of mark; under each chart its numbers are a table.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 440.0, 270.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 14.0, 12.0, 42.0
COLOURS = 6
MARKED = 60
"""Up to so many points of a line are marked."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Some points.

    Args:
        name: in the legend and the table.
        points: (x, y).
        colour: its place among the colours of series, taken modulo their number.
        line: joined by a line; else marks alone.
        dashed: with a dashed line.
        hollow: with hollow marks.
        notes: what each point says beside its values.
    """

    name: str
    points: Sequence[Point]
    colour: int = 0
    line: bool = True
    dashed: bool = False
    hollow: bool = False
    notes: Sequence[str] = ()

    @property
    def style(self) -> str:
        """The classes of its parts."""
        return f"series-{self.colour % COLOURS}{' dashed' * self.dashed}{' hollow' * self.hollow}"


@dataclass(frozen=True)
class Axis:
    """An axis: what it shows, how its numbers are written (``{:.0%}``), rules across it, and whether they are whole."""

    title: str
    form: str = "{:.4g}"
    rules: Sequence[float] = ()
    whole: bool = False

    def exact(self, value: float) -> str:
        """A value with more digits than the ticks need."""
        return self.form.replace(".0%", ".2%").format(value)

    def labels(self, ticks: Sequence[float]) -> list[str]:
        """Ticks as they are written: of percentages with as many digits as the ticks have."""
        if not (form := re.fullmatch(r"\{:\.(\d)%\}", self.form)):
            return [self.form.format(tick) for tick in ticks]
        fewest = int(form[1])
        digits = next((n for n in range(fewest, 4) if all(abs(round(tick, n + 2) - tick) < 1e-9 for tick in ticks)), 4)
        return [f"{tick:.{digits}%}" for tick in ticks]

    def span(self, values: Sequence[float]) -> list[float]:
        """Ticks from just below the least to just above the greatest value."""
        from matplotlib.ticker import MaxNLocator

        low, high = min(values), max(values)
        if low == high:
            margin = abs(low) * 0.1 or 1.0
            low, high = low - margin, high + margin
        locator = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10], integer=self.whole)
        return [float(tick) for tick in locator.tick_values(low, high)]


@dataclass(frozen=True)
class Chart:
    """Series in one frame.

    Args:
        title: also its alternative text.
        replay: whether a replay of epochs marks its place in it.
    """

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    replay: bool = False

    def __html__(self) -> str:
        """The figure, with legend and table."""
        shown = [one for one in map(finite, self.series) if one.points]
        if not shown:
            return ""
        legend = Markup("").join(map(swatch, shown)) if len(shown) > 1 else Markup("")
        return Markup(
            '<figure class="chart"><figcaption>{}</figcaption>{}<ul class="legend">{}</ul>{}</figure>'
        ).format(self.title, self.drawing(shown), legend, self.table(shown))

    def drawing(self, shown: Sequence[Series]) -> Markup:
        """The SVG alone."""
        across = self.x.span([x for one in shown for x, _ in one.points] + list(self.x.rules))
        up = self.y.span([y for one in shown for _, y in one.points])
        place = Place(across, up)
        parts = [*self.frame(place), *(Markup("").join(marks(one, place, self)) for one in shown)]
        if self.replay:
            line = '<line class="cursor" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
            parts.append(Markup(line).format(place.x(max(x for one in shown for x, _ in one.points)), TOP, place.floor))
        values = f"{self.y.title} against {self.x.title}"
        scale = Markup('data-left="{:.2f}" data-step="{:.4f}"').format(place.x(0), place.x(1) - place.x(0))
        return Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}" {}>{}</svg>').format(
            WIDTH, HEIGHT, f"{self.title}: {values}", scale, Markup("").join(parts)
        )

    def frame(self, place: "Place") -> list[Markup]:
        """Rules, ticks and titles."""
        parts = []
        for tick, said in zip(place.up, self.y.labels(place.up), strict=True):
            parts.append(
                Markup('<path class="grid" d="M{:.1f} {:.1f}H{:.1f}"/>').format(LEFT, place.y(tick), WIDTH - RIGHT)
            )
            parts.append(text(LEFT - 6, place.y(tick) + 4, said, "end"))
        for tick, said in zip(place.across, self.x.labels(place.across), strict=True):
            parts.append(text(place.x(tick), place.floor + 16, said, "middle"))
        for rule in self.x.rules:
            parts.append(Markup('<path class="rule" d="M{:.1f} {}V{}"/>').format(place.x(rule), TOP, place.floor))
        parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, self.x.title, "middle", "axis"))
        turned = Markup(
            '<text class="axis" text-anchor="middle" transform="translate(12 {:.0f}) rotate(-90)">{}</text>'
        )
        return [*parts, turned.format((TOP + place.floor) / 2, self.y.title)]

    def table(self, shown: Sequence[Series]) -> Markup:
        """The numbers, folded away."""
        head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in self.columns(shown))
        rows = Markup("").join(
            Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row))
            for row in self.rows(shown)
        )
        return Markup(
            '<details><summary>Numbers</summary><div class="scroll" tabindex="0" role="region" aria-label="{}">'
            "<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div></details>"
        ).format(f"Numbers of: {self.title}", head, rows)

    def columns(self, shown: Sequence[Series]) -> list[str]:
        """The table's heads."""
        if all(one.line for one in shown):
            return [self.x.title, *(one.name for one in shown)]
        return ["series", self.x.title, self.y.title, "note"]

    def rows(self, shown: Sequence[Series]) -> list[list[str]]:
        """Of lines a row an x, of marks a row a point."""
        x, y = self.x.form.format, self.y.exact
        if all(one.line for one in shown):
            columns = [dict(one.points) for one in shown]
            return [
                [x(at), *(y(column[at]) if at in column else "" for column in columns)]
                for at in sorted({at for column in columns for at in column})
            ]
        return [
            [one.name, x(at), y(value), one.notes[index] if one.notes else ""]
            for one in shown
            for index, (at, value) in enumerate(one.points)
        ]


@dataclass(frozen=True)
class Place:
    """Where values are in the frame: from the first to the last tick."""

    across: Sequence[float]
    up: Sequence[float]
    floor = HEIGHT - BOTTOM

    def x(self, value: float) -> float:
        """From the left."""
        return LEFT + (value - self.across[0]) / (self.across[-1] - self.across[0]) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """From above."""
        return self.floor - (value - self.up[0]) / (self.up[-1] - self.up[0]) * (self.floor - TOP)


SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
    "M-3.6 -3.6h7.2v7.2h-7.2Z",
    "M0 -5L5 0L0 5L-5 0Z",
    "M0 -5L4.6 3.6H-4.6Z",
    "M-4.5 -1.5h3v-3h3v3h3v3h-3v3h-3v-3h-3Z",
    "M0 5L4.6 -3.6H-4.6Z",
)
"""Of marks, around the origin: a shape for each colour."""


def marks(series: Series, place: Place, chart: Chart) -> list[Markup]:
    """The line of a series and its marks, each with its values."""
    parts = []
    if series.line:
        line = "L".join(f"{place.x(x):.1f} {place.y(y):.1f}" for x, y in series.points)
        parts.append(Markup('<path class="line {}" d="M{}"/>').format(series.style, line))
    if series.line and len(series.points) > MARKED:
        return parts
    mark = Markup('<path class="mark {}" d="{}" transform="translate({:.1f} {:.1f}){}"><title>{}</title></path>')
    size = " scale(0.6)" if series.line else ""
    for index, (x, y) in enumerate(series.points):
        note = f" ({series.notes[index]})" if series.notes else ""
        said = f"{series.name}{note}: {chart.x.title} {chart.x.form.format(x)}, {chart.y.exact(y)}"
        shape = SHAPES[series.colour % COLOURS]
        parts.append(mark.format(series.style, shape, place.x(x), place.y(y), size, said))
    return parts


def swatch(series: Series) -> Markup:
    """A series in the legend."""
    line = Markup('<path class="line {}" d="M0 7H26"/>').format(series.style) if series.line else ""
    mark = Markup('<path class="mark {}" d="{}" transform="translate(13 7){}"/>')
    drawn = mark.format(series.style, SHAPES[series.colour % COLOURS], " scale(0.7)" if series.line else "")
    return Markup('<li><svg class="swatch" viewBox="0 0 26 14" aria-hidden="true">{}{}</svg>{}</li>').format(
        line, drawn, series.name
    )


def text(x: float, y: float, content: str, anchor: str, name: str = "tick") -> Markup:
    """A text in a drawing."""
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        name, x, y, anchor, content
    )


def finite(series: Series) -> Series:
    """The series without points that are no finite numbers."""
    kept = [index for index, point in enumerate(series.points) if all(map(math.isfinite, point))]
    if len(kept) == len(series.points):
        return series
    notes = [series.notes[index] for index in kept] if series.notes else ()
    points = [series.points[index] for index in kept]
    return Series(series.name, points, series.colour, series.line, series.dashed, series.hollow, notes)


def best_so_far(points: Sequence[Point]) -> list[Point]:
    """Steps of the running maximum."""
    best: list[Point] = []
    for x, y in points:
        best.append((x, max(y, best[-1][1]) if best else y))
    return best
