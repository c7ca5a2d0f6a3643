"""A tuning on the page: its front, its trials, and what each knob did."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import TypeAdapter, field_validator
from pydantic.dataclasses import dataclass

from nas.files import read_text
from nas.knobs import Value
from nas.pages.charts import Axis, Chart, Series, best_so_far
from nas.pages.records import Record
from nas.tuning.report import TABLE
from nas.tuning.results import TuneResult

MADDS = "multiply-adds, millions"
ACCURACY = Axis("accuracy on held-out images", "{:.0%}")


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A line of trials.csv: a draw, trained to its end, stopped or rejected."""

    study: str
    space: str
    sampler: str
    trial: int
    state: str
    accuracy: float | None
    madds: int | None
    latency_ms: float | None
    values: dict[str, Value]

    @field_validator("accuracy", "madds", "latency_ms", mode="before")
    @classmethod
    def _empty(cls, given: Any) -> Any:
        return given or None

    @field_validator("values", mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        return json.loads(given or "{}") if isinstance(given, str) else given


def draws_of(record: Record) -> list[Draw]:
    """All draws of a finished tuning that were trained."""
    text = read_text(record.run.path / TABLE)
    draws = TypeAdapter(list[Draw]).validate_python(list(csv.DictReader(io.StringIO(text))))
    return [draw for draw in draws if draw.accuracy is not None and draw.madds is not None]


def charts_of_tuning(record: Record) -> list[Chart]:
    """The front, the best so far of each study, and each knob against the accuracy; before the end the trials alone."""
    if not record.run.finished:
        return [so_far(record)]
    result, draws = record.run.result(TuneResult), draws_of(record)
    return [front(result, draws), *latencies(draws), *progress_of_studies(draws), *knobs(draws)]


def so_far(record: Record) -> Chart:
    """The trials that are trained, of a tuning that goes on."""
    trained = [(child.name, child.figures) for child in record.children]
    known = [(name, of.madds / 1e6, of.valid_accuracy) for name, of in trained if of.madds and of.valid_accuracy]
    points, notes = [(x, y) for _, x, y in known], [name for name, _, _ in known]
    return Chart("Trials so far", Axis(MADDS), ACCURACY, [Series("trained", points, line=False, notes=notes)])


def front(result: TuneResult, draws: Sequence[Draw]) -> Chart:
    """Accuracy against multiply-adds: tuned trials, random ones hollow, published settings, and the front."""
    members = [(trial.madds / 1e6, trial.accuracy) for trial in result.front]
    series = [Series("front", members, 4), *clouds(draws, lambda draw: (draw.madds or 0) / 1e6)]
    published = [(one.madds / 1e6, one.accuracy) for one in result.published]
    series.append(Series("published settings", published, 5, line=False, notes=[one.name for one in result.published]))
    rules = [budget / 1e6 for budget in result.budgets]
    return Chart("Front: accuracy against cost (vertical lines: budgets)", Axis(MADDS, rules=rules), ACCURACY, series)


def latencies(draws: Sequence[Draw]) -> list[Chart]:
    """Accuracy against latency, where that was an objective."""
    series = clouds([draw for draw in draws if draw.latency_ms], lambda draw: draw.latency_ms or 0.0)
    return [Chart("Accuracy against latency", Axis("milliseconds an image"), ACCURACY, series)] if series else []


def clouds(draws: Sequence[Draw], x: Callable[[Draw], float]) -> list[Series]:
    """Trials as marks, a colour a space, random ones hollow."""
    spaces, series = list(dict.fromkeys(draw.space for draw in draws)), []
    for space, sampler in dict.fromkeys((draw.space, draw.sampler) for draw in draws):
        own = [draw for draw in draws if (draw.space, draw.sampler) == (space, sampler)]
        points, notes = [(x(draw), draw.accuracy or 0.0) for draw in own], [f"trial {draw.trial}" for draw in own]
        name, hollow = f"{space}, {sampler}", sampler == "random"
        series.append(Series(name, points, spaces.index(space), line=False, hollow=hollow, notes=notes))
    return series


def progress_of_studies(draws: Sequence[Draw]) -> list[Chart]:
    """The best accuracy so far against the trial, a line a study."""
    series = []
    for place, study in enumerate(dict.fromkeys(draw.study for draw in draws)):
        own = [(float(draw.trial), draw.accuracy or 0.0) for draw in draws if draw.study == study]
        series.append(Series(study, best_so_far(own), place, dashed=study.endswith("-random")))
    return [Chart("Best so far", Axis("trial", whole=True), ACCURACY, series)] if series else []


def knobs(draws: Sequence[Draw]) -> list[Chart]:
    """A chart a numeric knob of each space, if it took more than one value."""
    charts = []
    for space in dict.fromkeys(draw.space for draw in draws):
        own = [draw for draw in draws if draw.space == space]
        for knob in dict.fromkeys(name for draw in own for name in draw.values):
            points = [
                (number(draw.values[knob]), draw.accuracy or 0.0)
                for draw in own
                if knob in draw.values and number(draw.values[knob]) is not None
            ]
            known = [(x, y) for x, y in points if x is not None]
            if len({x for x, _ in known}) > 1:
                charts.append(Chart(f"{space}: {knob}", Axis(knob), ACCURACY, [Series("trials", known, 0, line=False)]))
    return charts


def number(value: Value) -> float | None:
    """A knob's value as a place on an axis: fractions too; None for names and lists."""
    if isinstance(value, str):
        over, _, under = value.partition("/")
        return int(over) / int(under or 1) if over.isdigit() and (under or "1").isdigit() else None
    return None if isinstance(value, list) else float(value)
