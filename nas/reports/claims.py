"""Published errors on CIFAR-10 and what came of repeating them, from claims.csv; one's own beside, on equal terms."""

import csv
from collections.abc import Sequence
from dataclasses import fields
from importlib import resources
from typing import TYPE_CHECKING

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from nas.errors import UsageError
from nas.reports.side_by_side import Entry
from nas.reports.statistics import deviation
from nas.settings import TrainSettings

if TYPE_CHECKING:
    from rich.table import Table

DARTS = "darts"
"""The terms of DARTS' retraining: the recipe ``paper``, 36 channels and 20 cells, all of CIFAR-10."""
NETWORK = "36 × 20"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A published test error in per cent, and what others came to by the same method; None where nothing is printed.

    Args:
        deviation, n: as printed; over what differs from paper to paper.
        rerun_to: the other end, where reruns are a range.
        terms: "darts": see :data:`DARTS`; else what was not the same.
        where: who says so.
    """

    method: str
    error: float | None
    deviation: float | None
    n: int | None
    rerun: float | None
    rerun_to: float | None
    rerun_deviation: float | None
    rerun_n: int | None
    terms: str
    where: str
    remark: str

    @property
    def last(self) -> float:
        """What it is placed by: the rerun where there is one."""
        value = self.error if self.rerun is None else self.rerun
        assert value is not None, "a row has one of them"
        return value


def claims() -> list[Claim]:
    """All rows, from claims.csv beside this file."""
    text = (resources.files("nas.reports") / "claims.csv").read_text(encoding="utf-8")
    words = {"method", "terms", "where", "remark"}
    rows = [
        {name: value if name in words else value or None for name, value in row.items()}
        for row in csv.DictReader(text.splitlines())
    ]
    return TypeAdapter(list[Claim]).validate_python(rows)


def check_terms(entry: Entry) -> None:
    """Raises UsageError where a result was not had on the claims' terms; the line names all that differs."""
    if reason := other_terms(entry):
        raise UsageError(reason)


def other_terms(entry: Entry) -> str:
    """What keeps a result from standing among the claims; empty: nothing does."""
    if not entry.fingerprint:
        return f"{entry.name} has no fingerprint: its terms are not known"
    if not isinstance(entry.settings, TrainSettings):
        return f"{entry.name} is no training: claims are of retrained cells"
    wanted = TrainSettings()
    names = [field.name for field in fields(TrainSettings) if field.name != "seed"]
    unequal = [
        f"--{name.replace('_', '-')} {value} (not {getattr(wanted, name)})"
        for name in names
        if (value := getattr(entry.settings, name)) != getattr(wanted, name)
    ]
    unequal += ["accuracy on held-out images"] if entry.score != "test" else []
    unequal += [f"network {entry.network} (not {NETWORK})"] if entry.network != NETWORK else []
    unequal += ["data that are not the official files"] if not entry.fingerprint.official else []
    unequal += ["weights that were trained before"] if entry.fingerprint.init else []
    return f"{entry.name} cannot stand among the claims, as it has other terms: {', '.join(unequal)}" if unequal else ""


HEADS = ("error %", "n", "rerun %", "n", "method", "terms", "where", "remark")
Row = tuple[str, ...]


def rows(entries: Sequence[Entry]) -> list[Row]:
    """Claims in the order of what was last measured, the entries among them; below, those on other terms."""
    placed = [(claim.last, row_of(claim)) for claim in claims() if claim.terms == DARTS]
    placed += [(100 * (1 - entry.mean), own_row(entry)) for entry in entries]
    other = [row_of(claim) for claim in claims() if claim.terms != DARTS]
    return [row for _, row in sorted(placed, key=lambda pair: pair[0])] + other


def table(entries: Sequence[Entry]) -> "Table":
    """:func:`rows` as a table, the entries' in bold."""
    from rich.table import Table

    shown = Table(*HEADS, box=None)
    for row in rows(entries):
        shown.add_row(*row, style="bold" if row[-1] == OWN else None)
    return shown


OWN = "here"
"""The remark of one's own row."""


def row_of(claim: Claim) -> Row:
    """A claim's row."""
    rerun = number(claim.rerun, claim.rerun_deviation)
    rerun += f" to {claim.rerun_to:g}" if claim.rerun_to else ""
    counts = ["" if n is None else str(n) for n in (claim.n, claim.rerun_n)]
    head = (number(claim.error, claim.deviation), counts[0], rerun, counts[1])
    return (*head, claim.method, claim.terms, claim.where, claim.remark)


def own_row(entry: Entry) -> Row:
    """One's own result's row."""
    spread = deviation(entry.accuracies)
    error = number(100 * (1 - entry.mean), None if spread is None else 100 * spread)
    return ("", "", error, str(len(entry.accuracies)), entry.name, DARTS, entry.over, OWN)


def number(value: float | None, spread: float | None) -> str:
    """2.63 ± 0.06"""
    return "" if value is None else f"{value:.2f}" + ("" if spread is None else f" ± {spread:.2f}")
