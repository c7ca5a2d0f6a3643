"""Published claims: one's own result stands among them on their terms alone."""

import re
from dataclasses import replace

import pytest

from nas.errors import UsageError
from nas.reports.claims import DARTS, check_terms, claims, table
from nas.reports.side_by_side import Entry
from nas.run.fingerprint import Fingerprint
from nas.settings import SearchSettings, TrainSettings

OWN = Entry(
    name="mine",
    score="test",
    over="trainings",
    accuracies=(0.9729, 0.9731),
    network="36 × 20",
    params=1,
    madds=1,
    seconds=1.0,
    settings=TrainSettings(seed=3),
    fingerprint=Fingerprint(
        data="d",
        classes=10,
        split="s",
        recipe="r",
        resolution=32,
        precision="fp32",
        official=True,
        code="c",
        device="cpu",
        threads=1,
    ),
)


def lines(*entries: Entry) -> list[str]:
    return table(entries).text(10_000).splitlines()[1:]  # below the title


def test_every_row_has_a_source_and_a_figure() -> None:
    rows = claims()
    assert len(rows) > 20 and all(row.where and row.method and row.terms and 2 < row.last < 20 for row in rows)
    pairs = {row.method: (row.error, row.rerun, row.rerun_n) for row in rows}
    assert pairs["PR-DARTS"] == (2.32, 2.64, 8) and pairs["TE-NAS"] == (2.63, 2.83, None)


def test_own_result_in_its_place() -> None:
    check_terms(OWN)
    rows = lines(OWN)
    place = next(number for number, line in enumerate(rows) if "mine" in line)
    assert "2.70 ± 0.01" in rows[place] and "here" in rows[place]
    measured = [row.last for row in claims() if row.terms == DARTS]
    assert place == 1 + sum(value <= 2.70 for value in measured)  # after the head
    assert len(lines()) == len(rows) - 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"settings": TrainSettings(epochs=4, limit=100)}, ["--epochs 4 (not 600)", "--limit 100 (not None)"]),
        ({"settings": TrainSettings(data="digits")}, ["--data digits (not cifar10)"]),
        ({"settings": TrainSettings(precision="bf16")}, ["--precision bf16"]),
        ({"settings": SearchSettings()}, ["no training"]),
        ({"score": "held-out"}, ["held-out"]),
        ({"network": "12 × 4"}, ["network 12 × 4 (not 36 × 20)"]),
        ({"fingerprint": None}, ["no fingerprint"]),
        ({"fingerprint": replace(OWN.fingerprint, official=False)}, ["not the official files"]),  # type: ignore[type-var]
        ({"fingerprint": replace(OWN.fingerprint, init="i")}, ["trained before"]),  # type: ignore[type-var]
    ],
)
def test_other_terms_are_refused_by_name(change: dict[str, object], named: list[str]) -> None:
    with pytest.raises(UsageError, match=".*".join(map(re.escape, named))):
        check_terms(replace(OWN, **change))  # type: ignore[arg-type]
