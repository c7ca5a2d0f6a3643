"""The report of one or several runs: one HTML file that holds all it needs and loads nothing.

Drawings are SVG made in Python, so that all but the replay is there without a script, and no library is needed: of
Observable Plot and d3 (0.49 MB) a page of six kinds of chart would use little.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nas.architecture import read_architecture
from nas.bilevel.sentinel import sentence
from nas.cells.genotype import Genotype
from nas.cells.graph import FAMILIES
from nas.files import write
from nas.pages.charts import Chart
from nas.pages.checklist import checklist
from nas.pages.curves import curves
from nas.pages.outcomes import Outcome, outcome_of
from nas.pages.records import Record, record_of, walk
from nas.pages.repetition import repetition
from nas.pages.replay import Replay, drawings_of, families_of, replay_of
from nas.pages.stages import Progress, Stage, duration, progress, stages
from nas.pages.trainings import cloud, rows_of
from nas.pages.trials import charts_of_tuning
from nas.reports.claims import other_terms
from nas.reports.claims import table as claims
from nas.reports.side_by_side import Entry
from nas.run import names
from nas.run.folder import Run
from nas.run.results import Alarm, SearchResult
from nas.run.spec import DeriveSpec
from nas.tables import TEXT, Table

MOST_CURVES = 12
"""So many searches, and trainings, are drawn over one another; a study may have more."""


@dataclass(frozen=True)
class Subject:
    """One run on the page."""

    record: Record
    ident: str
    summary: str
    progress: Progress
    figures: Sequence[tuple[str, str]]
    stages: Sequence[Stage]
    outcome: Outcome
    charts: Sequence[Chart]
    replays: Sequence[Replay]
    families: Sequence[str]
    drawings: Sequence[tuple[str, Markup]]
    commands: Sequence[str]
    settings: Sequence[tuple[str, str]]


def write_page(runs: Sequence[Run], path: Path, entries: Sequence[Entry] = ()) -> None:
    """Writes the report of these runs.

    Args:
        entries: what their trainings came to, to be held against published claims.

    Raises:
        UsageError: a run folder is damaged; the file cannot be written.
    """
    write(path, render([record_of(run) for run in runs], entries))


def render(records: Sequence[Record], entries: Sequence[Entry] = ()) -> str:
    """The page's text."""
    environment = Environment(
        loader=PackageLoader("nas.pages", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "inline": inline}
    subjects = [subject(record, f"r{number}") for number, record in enumerate(records)]
    return environment.get_template("page.html").render(
        subjects=subjects,
        groups=overlay(records),
        items=checklist(records),
        published=published(entries),
        elsewhere=[reason for entry in entries if (reason := other_terms(entry))],
        families=FAMILIES,
        places={name: place for place, name in enumerate(FAMILIES)},
        style=Markup(own_text("page.css")),
        script=Markup(own_text("page.js")),
    )


def own_text(name: str) -> str:
    """A file of this package."""
    return resources.files("nas.pages").joinpath(name).read_text(encoding="utf-8")


def inline(data: object) -> Markup:
    """JSON that may stand in a script element whatever it holds."""
    text = json.dumps(data, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


@dataclass(frozen=True)
class Group:
    """Runs whose curves are drawn over one another; ``left_out`` counts those that are too many."""

    title: str
    charts: Sequence[Chart]
    left_out: int


def published(entries: Sequence[Entry]) -> Table | None:
    """Published errors and what came of repeating them, with those entries among them that stand on equal terms."""
    return claims([entry for entry in entries if not other_terms(entry)]) if entries else None


def overlay(records: Sequence[Record]) -> list[Group]:
    """The curves of all searches and of all trainings: of those inside of a run in its place; of no trials."""
    every = [
        Record(leaf.run, f"{record.name}/{leaf.name}") if len(records) > 1 and leaf is not record else leaf
        for record in records
        for leaf in record.leaves
    ]
    groups = []
    for command, title in (("search", "Searches"), ("retrain", "Trainings")):
        runs = [leaf for leaf in every if leaf.log and leaf.spec.command == command]
        replay = command == "search" and len(runs) == 1
        groups.append(Group(title, curves(runs[:MOST_CURVES], replay), max(0, len(runs) - MOST_CURVES)))
    return [group for group in groups if group.charts]


def subject(record: Record, ident: str) -> Subject:
    """All that the page says of a run alone."""
    genotype = cell_of(record)
    searches = [leaf for leaf in record.leaves if leaf.searches]
    replays = [replay_of(leaf, f"{ident}-{number}") for number, leaf in enumerate(searches)]
    return Subject(
        record=record,
        ident=ident,
        summary=summary(record),
        progress=progress(record),
        figures=figures(record),
        stages=stages(record),
        outcome=outcome(record),
        charts=charts(record),
        replays=[replay for replay in replays if replay],
        families=families_of(genotype.operations) if genotype else [],
        drawings=drawings_of(genotype) if genotype else [],
        commands=repetition(record),
        settings=list(walk(record.settings)),
    )


def figures(record: Record) -> list[tuple[str, str]]:
    """The main figures, of a run that goes on those of its last epoch."""
    last = record.log[-1] if record.log else None
    known, result = record.figures, []
    valid = known.valid_accuracy if known.valid_accuracy is not None else last and last.valid_accuracy
    for title, value, form in (
        ("test accuracy", known.test_accuracy, "{:.2%}"),
        ("held-out accuracy", valid, "{:.2%}"),
        ("parameters", known.params, "{:,}"),
        ("multiply-adds", None if known.madds is None else known.madds / 1e6, "{:.1f}M"),
    ):
        result += [(title, form.format(value))] if value is not None else []
    return [*result, ("time in epochs", duration(sum(leaf.seconds for leaf in record.leaves)))]


def outcome(record: Record) -> Outcome:
    """What the run came to, as its command prints it; of one search or training its figures say all but the notes."""
    whole = outcome_of(record.run)
    several = bool(record.spec.seeds) or record.spec.command not in ("search", "retrain")
    said = [f"{leaf.name}: {sentence(alarm)}" for leaf in searches(record) for alarm in alarms_of(leaf)]
    notes = [*said, *whole.notes] if several else said or whole.notes
    return Outcome([*(whole.tables if several else ()), chances(record)], notes, whole.about)


def alarms_of(search: Record) -> tuple[Alarm, ...]:
    """What a search's sentinel has seen."""
    return search.run.result(SearchResult).alarms


def searches(record: Record) -> list[Record]:
    """The finished searches of a run."""
    return [leaf for leaf in record.leaves if leaf.spec.command == "search" and leaf.run.finished]


def chances(record: Record) -> Table:
    """The cells among random ones of their space."""
    rows = []
    for leaf in searches(record):
        if chance := leaf.run.result(SearchResult).chance:
            marks = chance.percentiles
            rows.append((leaf.name, chance.cells, marks.params, marks.madds, marks.naswot, marks.synflow))
    percentiles = dict.fromkeys(("parameters", "multiply-adds", "NASWOT", "SynFlow"), "{:.0f}".format)
    columns = {"search": TEXT, "random cells": TEXT, **percentiles}
    return Table("Percentiles of the untrained cell among random ones: signs of a collapse, no rank", columns, rows)


def charts(record: Record) -> list[Chart]:
    """Accuracy against cost of a tuning or a study, with what else a tuning shows."""
    if record.spec.command == "tune":
        return charts_of_tuning(record)
    return cloud(rows_of(record))


def cell_of(record: Record) -> Genotype | None:
    """The cell of a run's network; None: it has none yet, or it is a macro network."""
    path = record.run.path / names.ARCHITECTURE
    return read_architecture(path, known=False).genotype if path.is_file() else None


def summary(record: Record) -> str:
    """What the run is about, in one line."""
    derived = record.spec.command == "derive"
    settings = record.run.spec(DeriveSpec).search if derived else record.spec.settings
    seeds = record.spec.seeds or [settings.seed or 0]
    parts = [
        settings.space,
        f"data {settings.data}" if settings.data else "",
        f"method {settings.method}" if settings.method else "",
        f"preset {record.spec.preset}" if record.spec.preset else "",
        f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}",
    ]
    return ", ".join(filter(None, parts))
