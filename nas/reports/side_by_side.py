"""Results of any kind in one table; they are ranked on equal terms alone, and what differs is named."""

import statistics
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import combinations

from pydantic.dataclasses import dataclass

from nas.reports.comparison import verdict
from nas.reports.ledger import Ledger
from nas.reports.statistics import compare, deviation, holm, interval
from nas.run.documents import DOCUMENT
from nas.run.fingerprint import TERMS, Fingerprint
from nas.settings import SearchSettings, TrainSettings
from nas.tables import COUNT, HOURS, RANGE, SHARE, TEXT, Form, Table, millions

NAMED_APART = {"data": "data", "precision": "precision", "image_size": "resolution"}
"""Settings that a term of their own names where they differ."""

SHOWN = (*TERMS, "code", "device", "threads")
"""What is shown of a fingerprint."""


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Entry:
    """A result as it stands in the table.

    Args:
        name: of its run, and of which result in it.
        score: what its accuracies (fractions) are of.
        over: what n counts.
        network: its size or family.
        params, madds: None where its networks differ in them.
        settings: of the search or trainings, with the first one's seed.
        fingerprint: None: not known.
    """

    name: str
    score: str
    over: str
    accuracies: tuple[float, ...]
    network: str
    params: int | None
    madds: int | None
    seconds: float
    settings: TrainSettings | SearchSettings
    fingerprint: Fingerprint | None

    @property
    def mean(self) -> float:
        """Of its accuracies."""
        return statistics.fmean(self.accuracies)


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class SideBySide:
    """Several results.

    Args:
        entries: best first where they are ranked, else as they were named.
        unlike: a line for each term in which they differ.
        verdicts: what may be said of each two, where they are alike.
        ledger: of all that was run for them.
    """

    entries: tuple[Entry, ...]
    ranked: bool
    unlike: tuple[str, ...]
    verdicts: tuple[str, ...]
    ledger: Ledger

    def __str__(self) -> str:
        return "\n".join([table(self).text(100), *self.unlike, *self.verdicts])

    def _repr_html_(self) -> str:
        return table(self)._repr_html_()


def side_by_side(entries: Sequence[Entry], spent: Ledger, *, unlike: bool = False) -> SideBySide:
    """The results, ranked if they are alike.

    Args:
        spent: on all of them.
        unlike: rank them all the same; nothing is said of their differences.
    """
    lines = differences(entries)
    ranked = unlike or not lines
    order = sorted(entries, key=lambda entry: -entry.mean) if ranked else entries
    verdicts = () if lines else tuple(verdicts_of(order))
    return SideBySide(entries=tuple(order), ranked=ranked, unlike=tuple(lines), verdicts=verdicts, ledger=spent)


def differences(entries: Sequence[Entry]) -> list[str]:
    """The terms in which results differ, each with its values; a result without a fingerprint is a line too."""
    lines = [f"{entry.name} has no fingerprint: its terms are not known" for entry in entries if not entry.fingerprint]
    lines += unequal("accuracy", [(entry.name, entry.score) for entry in entries])
    known = [entry for entry in entries if entry.fingerprint]
    for term in TERMS:
        own = unequal(term, [(entry.name, getattr(entry.fingerprint, term) or "none") for entry in known])
        alike = len({type(entry.settings) for entry in known}) == 1
        lines += settings_of(known) if own and term == "recipe" and alike else own
    return lines


def settings_of(entries: Sequence[Entry]) -> list[str]:
    """The settings in which results of one kind differ, but for what is named apart."""
    lines = []
    for name in [field.name for field in fields(entries[0].settings)]:
        term = NAMED_APART.get(name)
        named = term and len({getattr(entry.fingerprint, term) for entry in entries}) > 1
        if name != "seed" and not named:
            option = f"--{name.replace('_', '-')}"
            lines += unequal(option, [(entry.name, getattr(entry.settings, name)) for entry in entries])
    return lines


def unequal(what: str, values: Sequence[tuple[str, object]]) -> list[str]:
    """A line that says which results have which value; none where all have the same."""
    owners: dict[object, list[str]] = {}
    for owner, value in values:
        owners.setdefault(value, []).append(owner)
    shares = "; ".join(f"{value} ({', '.join(names)})" for value, names in owners.items())
    return [f"{what}: {shares}"] if len(owners) > 1 else []


def verdicts_of(entries: Sequence[Entry]) -> list[str]:
    """A sentence for each two results, the better one first; p by Holm's correction where there are several."""
    pairs = list(combinations(entries, 2))
    tests = [compare(better.accuracies, other.accuracies) for better, other in pairs]
    known = [test.p for test in tests if test.p is not None]
    corrected = iter(holm(known))
    lines = [
        verdict(better.name, other.name, test if test.p is None else replace(test, p=next(corrected)))
        for (better, other), test in zip(pairs, tests, strict=True)
    ]
    return [*lines, f"{len(known)} comparisons: p is Holm's"] if len(known) > 1 else lines


COLUMNS: dict[str, Form] = {
    "#": TEXT,
    "result": TEXT,
    "accuracy": SHARE,
    "of": TEXT,
    "deviation": SHARE,
    "95 % interval": RANGE,
    "n": TEXT,
    "over": TEXT,
    "network": TEXT,
    "params": COUNT,
    "MAdds": millions,
    "hours": HOURS,
}


def table(result: SideBySide) -> Table:
    """A row a result, the numbers their ranks if they are ranked; of the fingerprints what is not the same for all."""
    own = [name for name in SHOWN if len({term(entry, name) for entry in result.entries}) > 1]
    rows = [
        (
            number,
            entry.name,
            entry.mean,
            entry.score,
            deviation(entry.accuracies),
            interval(entry.accuracies),
            len(entry.accuracies),
            entry.over,
            entry.network,
            entry.params,
            entry.madds,
            entry.seconds / 3600,
            *(term(entry, name) for name in own),
        )
        for number, entry in enumerate(result.entries, 1)
    ]
    return Table("", {**COLUMNS, **dict.fromkeys(own, TEXT)}, rows)


def common_terms(entries: Sequence[Entry]) -> str:
    """What the table leaves out: the terms that are the same for all."""
    values = {name: {term(entry, name) for entry in entries} for name in SHOWN}
    return ", ".join(f"{name} {own.pop()}" for name, own in values.items() if len(own) == 1 and own != {""})


def term(entry: Entry, name: str) -> str:
    """A fingerprint's field as text; ``init`` is empty in most."""
    return str(getattr(entry.fingerprint, name)) if entry.fingerprint else "unknown"
