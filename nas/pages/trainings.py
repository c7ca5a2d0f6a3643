"""A study on the page: its rows, and every network's accuracy against its cost, random cells as a cloud."""

from collections.abc import Sequence
from typing import Literal

from pydantic.dataclasses import dataclass

from nas.files import read_text
from nas.pages.charts import Axis, Chart, Series
from nas.pages.records import Record
from nas.pages.trials import MADDS
from nas.run.documents import DOCUMENT, read

DOCUMENT_NAME, TABLE = "study.json", "table.md"


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class StudyRow:
    """A training of a study: a search, the training of its cell, or of a random cell beside it."""

    role: Literal["search", "retrain", "control"]
    seed: int
    space: str
    method: str = ""
    genotype: str = ""
    params: int | None = None
    madds: int | None = None
    accuracy: float | None = None
    seconds: float | None = None
    status: str = ""


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class StudyRows:
    """A study's document, as far as the page shows it."""

    format: Literal["nas/study/1"]
    rows: tuple[StudyRow, ...]


def rows_of(record: Record) -> list[StudyRow]:
    """A study's rows so far; none of other runs."""
    path = record.run.path / DOCUMENT_NAME
    return list(read(path, StudyRows).rows) if path.is_file() else []


@dataclass(frozen=True)
class Block:
    """A part of a Markdown text: rows of a table, or a paragraph."""

    rows: list[list[str]]
    text: str


def table_of(record: Record) -> list[Block]:
    """The study's own table with its verdict, if it is there yet."""
    path = record.run.path / TABLE
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
