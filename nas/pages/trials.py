"""A tuning on the page: its front, its trials, and what each knob did."""

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError, field_validator
from pydantic.dataclasses import dataclass

from nas.amounts import fraction, short
from nas.errors import UsageError, first_of
from nas.files import parse_json, read_text
from nas.knobs import Value
from nas.pages.charts import Axis, Chart, Series, best_so_far
from nas.pages.records import Record
from nas.tuning.front import CONTROL, Judged, pareto
from nas.tuning.report import TABLE
from nas.tuning.results import TuneResult

MADDS = "multiply-adds, millions"
ACCURACY = Axis("accuracy on held-out images", "{:.0%}")


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A line of trials.csv: a draw that was trained."""

    study: str
    space: str
    sampler: str
    trial: int
    accuracy: float
    madds: int
    budget: int
    latency_ms: float | None = None
    values: dict[str, Value]

    @field_validator("latency_ms", mode="before")
    @classmethod
    def _empty(cls, given: Any) -> Any:
        return given or None

    @property
    def control(self) -> bool:
        """Whether it was drawn at random."""
        return self.sampler == CONTROL

    @field_validator("values", mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        return parse_json(given or "{}", "values") if isinstance(given, str) else given


def draws_of(record: Record) -> list[Draw]:
    """All draws of a finished tuning that were trained.

    Raises:
        UsageError: their table is damaged.
    """
    path = record.run.path / TABLE
    try:
        rows = csv.DictReader(io.StringIO(read_text(path)))
        return TypeAdapter(list[Draw]).validate_python([row for row in rows if row["accuracy"] and row["madds"]])
    except ValidationError as error:
        raise UsageError(f"{path}: {first_of(error)}") from None
    except (csv.Error, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no table of trials: {type(error).__name__}: {error}") from None


def charts_of_tuning(record: Record) -> list[Chart]:
    """What it came to, and each knob against the accuracy; before the end the trials alone."""
    if not record.run.finished:
        return [so_far(record)]
    draws = draws_of(record)
    return [*outcome(record.run.result(TuneResult), draws), *knobs(draws)]


def outcome(result: TuneResult, draws: Sequence[Draw]) -> list[Chart]:
    """The front, accuracy against latency, and the trials under each budget."""
    return [front(result, draws), *latencies(draws), *(course(draws, budget) for budget in result.budgets)]


def so_far(record: Record) -> Chart:
    """The trials that are trained, of a tuning that goes on."""
    trained = [(child.name, child.figures) for child in record.children]
    known = [(name, of.madds / 1e6, of.valid_accuracy) for name, of in trained if of.madds and of.valid_accuracy]
    points, notes = [(x, y) for _, x, y in known], [name for name, _, _ in known]
    return Chart("Trials so far", Axis(MADDS), ACCURACY, [Series("trained", points, line=False, notes=notes)])


def front(result: TuneResult, draws: Sequence[Draw]) -> Chart:
    """Accuracy against multiply-adds: tuned trials, random ones hollow, published settings, and the fronts."""
    chance = pareto(draw for draw in draws if draw.control)
    series = [Series("front", [millions(trial) for trial in result.front], 4)]
    series += [Series("front of random trials", [millions(draw) for draw in chance], 4, dashed=True)] if chance else []
    series += clouds(draws, lambda draw: draw.madds / 1e6)
    published, names = [millions(one) for one in result.published], [one.name for one in result.published]
    series.append(Series("published settings", published, 5, line=False, notes=names))
    elsewhere = any(trial.budget_madds != trial.madds for trial in result.best)  # at another resolution than trained
    rules = [] if elsewhere else [budget / 1e6 for budget in result.budgets]
    about = " (vertical lines: budgets)" if rules else ""
    return Chart(f"Front: accuracy against cost{about}", Axis(MADDS, rules=rules), ACCURACY, series)


def millions(one: Judged) -> tuple[float, float]:
    """A point of the front's chart."""
    return one.madds / 1e6, one.accuracy


def latencies(draws: Sequence[Draw]) -> list[Chart]:
    """Accuracy against latency, where that was an objective."""
    series = clouds([draw for draw in draws if draw.latency_ms], lambda draw: draw.latency_ms or 0.0)
    return [Chart("Accuracy against latency", Axis("milliseconds an image"), ACCURACY, series)] if series else []


def course(draws: Sequence[Draw], budget: int) -> Chart:
    """Trials under a budget, one after the other, and the best so far of each study."""
    own = [draw for draw in draws if draw.budget == budget]
    series = clouds(own, lambda draw: float(draw.trial))
    for place, study in enumerate(dict.fromkeys(draw.study for draw in own)):
        members = [draw for draw in own if draw.study == study]
        best = best_so_far([(float(draw.trial), draw.accuracy) for draw in members])
        series.append(Series(f"{study}, best so far", best, place, dashed=members[0].control))
    return Chart(f"Budget {short(budget)}: best so far", Axis("trial", whole=True), ACCURACY, series)


def clouds(draws: Sequence[Draw], x: Callable[[Draw], float]) -> list[Series]:
    """Trials as marks, a colour a space, random ones hollow."""
    spaces, series = list(dict.fromkeys(draw.space for draw in draws)), []
    for space, sampler in dict.fromkeys((draw.space, draw.sampler) for draw in draws):
        own = [draw for draw in draws if (draw.space, draw.sampler) == (space, sampler)]
        points, notes = [(x(draw), draw.accuracy) for draw in own], [f"trial {draw.trial}" for draw in own]
        place, hollow = spaces.index(space), sampler == CONTROL
        series.append(Series(f"{space}, {sampler}", points, place, line=False, hollow=hollow, notes=notes))
    return series


def knobs(draws: Sequence[Draw]) -> list[Chart]:
    """A chart a numeric knob of each space, if it took more than one value."""
    charts = []
    for space in dict.fromkeys(draw.space for draw in draws):
        own = [draw for draw in draws if draw.space == space]
        for knob in dict.fromkeys(name for draw in own for name in draw.values):
            points = [
                (number(draw.values[knob]), draw.accuracy)
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
        try:
            return float(fraction(value))
        except (ValueError, OverflowError):
            return None
    return None if isinstance(value, list) else float(value)
