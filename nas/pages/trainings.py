"""A study on the page: its rows, and every network's accuracy against its cost, random cells as a cloud."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.files import read_text
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


@dataclass(frozen=True)
class Block:
    """A part of a Markdown text: rows of a table, or a paragraph."""

    rows: list[list[str]]
    text: str


def table_of(record: Record) -> list[Block]:
    """The study's own table with its verdict, if it is there yet."""
    path = record.run.path / names.TABLE
    blocks: list[Block] = []
    for line in read_text(path).splitlines() if path.is_file() else []:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            blocks += [Block([], line.lstrip("#- "))] if line.strip() else []
        elif not blocks or not blocks[-1].rows:
            blocks.append(Block([cells], ""))
        elif any(cell.strip(":-") for cell in cells):
            blocks[-1].rows.append(cells)
    return blocks


def cloud(rows: Sequence[StudyRow]) -> list[Chart]:
    """Accuracy against multiply-adds of all networks that were trained, controls hollow; no chart without any."""
    series = []
    for place, space in enumerate(dict.fromkeys(row.space for row in rows)):
        for role, title in (("retrain", "searched"), ("control", "random")):
            own = [row for row in rows if (row.space, row.role) == (space, role)]
            points = [(row.madds / 1e6, row.accuracy) for row in own if row.madds and row.accuracy is not None]
            notes = [f"seed {row.seed}" for row in own if row.madds and row.accuracy is not None]
            series.append(Series(f"{space}, {title}", points, place, line=False, hollow=role == "control", notes=notes))
    chart = Chart("Searched cells among random ones", Axis(MADDS), Axis("test accuracy", "{:.1%}"), series)
    return [chart] if any(one.points for one in series) else []
