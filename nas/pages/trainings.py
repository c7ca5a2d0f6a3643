"""A study on the page: its rows, and every network's accuracy against its cost, random cells as a cloud."""

from collections.abc import Sequence

from nas.pages.charts import Axis, Chart, Series
from nas.pages.records import Record
from nas.pages.trials import MADDS
from nas.reports.studies import StudyDocument, StudyRow
from nas.run import names
from nas.run.documents import read


def rows_of(record: Record) -> list[StudyRow]:
    """A study's rows so far; none of other runs."""
    path = record.run.path / names.STUDY
    return list(read(path, StudyDocument).rows) if path.is_file() else []


def cloud(rows: Sequence[StudyRow]) -> list[Chart]:
    """Accuracy against multiply-adds of all networks that were trained, controls hollow; no chart without any."""
    series, several = [], len({row.method for row in rows}) > 1
    for place, (space, method) in enumerate(dict.fromkeys((row.space, row.method) for row in rows)):
        arm = f"{space} by {method}" if several else space
        for role, title in (("retrain", "searched"), ("control", "random")):
            own = [row for row in rows if (row.space, row.method, row.role) == (space, method, role)]
            points = [(row.madds / 1e6, row.accuracy) for row in own if row.madds and row.accuracy is not None]
            notes = [f"{row.cell}, seed {row.seed}" for row in own if row.madds and row.accuracy is not None]
            series.append(Series(f"{arm}, {title}", points, place, line=False, hollow=role == "control", notes=notes))
    chart = Chart("Searched cells among random ones", Axis(MADDS), Axis("test accuracy", "{:.1%}"), series)
    return [chart] if any(one.points for one in series) else []
