"""A study on the page: its rows, and every network's accuracy against its cost, random cells as a cloud."""

from collections.abc import Sequence

from nas.pages.charts import Axis, Chart, Series
from nas.pages.records import Record
from nas.pages.trials import MADDS
from nas.reports.studies import StudyDocument, StudyRow, arms_of
from nas.run import names
from nas.run.documents import read


def rows_of(record: Record) -> list[StudyRow]:
    """A study's rows so far; none of other runs."""
    path = record.run.path / names.STUDY
    return list(read(path, StudyDocument).rows) if path.is_file() else []


def cloud(rows: Sequence[StudyRow]) -> list[Chart]:
    """Accuracy against multiply-adds of all networks that were trained, controls hollow; no chart without any."""
    series = []
    for place, (arm, called) in enumerate(arms_of(rows).items()):
        for role, title in (("retrain", "searched"), ("control", "random")):
            own = [row for row in rows if (row.space, row.method) == arm and row.role == role]
            points = [(row.madds / 1e6, row.accuracy) for row in own if row.madds and row.accuracy is not None]
            notes = [f"{row.cell}, seed {row.seed}" for row in own if row.madds and row.accuracy is not None]
            hollow = role == "control"
            series.append(Series(f"{called}, {title}", points, place, line=False, hollow=hollow, notes=notes))
    chart = Chart("Searched cells among random ones", Axis(MADDS), Axis("test accuracy", "{:.1%}"), series)
    return [chart] if any(one.points for one in series) else []
