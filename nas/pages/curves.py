"""Curves of losses, accuracies and of what a search shows of itself, several runs over one another."""

from collections.abc import Callable, Sequence

from nas.pages.charts import Axis, Chart, Series
from nas.pages.records import Record
from nas.run.log import Epoch

EPOCH = Axis("epoch", whole=True)
SHARE = "{:.0%}"
SIGNS: dict[str, Axis] = {
    "entropy": Axis("entropy of an edge, nats"),
    "skip_share": Axis("share of skips in the cell", SHARE),
    "margin": Axis("best − second best strength"),
    "alignment": Axis("alignment of the cells' gradients"),
    "eigenvalue": Axis("largest eigenvalue of the Hessian"),
}
"""What a search's log may hold, by the name of its field."""


def curves(records: Sequence[Record], replay: bool) -> list[Chart]:
    """The charts that these runs' logs have something for.

    Args:
        replay: whether the runs are one search, whose replay marks its place.
    """
    charts = [
        Chart("Loss", EPOCH, Axis("cross-entropy"), pairs(records, "loss"), replay),
        Chart("Accuracy", EPOCH, Axis("accuracy", SHARE), pairs(records, "accuracy"), replay),
    ]
    for field, axis in SIGNS.items():
        series = [series_of(record, place, field) for place, record in enumerate(records)]
        charts.append(Chart(field.replace("_", " ").capitalize(), EPOCH, axis, series, replay))
    return [chart for chart in charts if any(series.points for series in chart.series)]


def pairs(records: Sequence[Record], what: str) -> list[Series]:
    """Of each run the curve on training images, dashed, and that on held-out ones."""
    several = len(records) > 1
    return [
        series_of(record, place if several else dashed, f"{part}_{what}", title, dashed, named=several)
        for place, record in enumerate(records)
        for part, title, dashed in (("train", "training", True), ("valid", "held-out", False))
    ]


def series_of(
    record: Record, colour: int, field: str, title: str = "", dashed: bool = False, named: bool = True
) -> Series:
    """A field of a run's log against the epoch, counted from 1."""
    value: Callable[[Epoch], float | None] = lambda entry: getattr(entry, field, None)  # noqa: E731
    points = [(float(entry.epoch + 1), float(y)) for entry in record.log if (y := value(entry)) is not None]
    return Series(" ".join([record.name] * named + [title] * bool(title)), points, colour, dashed=dashed)
