"""The campaign's frame: its minutes shared among its tests, its seed, the table of what was tried.

    make campaign MINUTES=30 [SEED=N] [TABLE=FILE.md|FILE.json] [ONLY='test_kills[search darts]:17']

With ``ONLY='test_kills[tune]'`` one test has all the minutes. A test of the campaign bears
``@pytest.mark.campaign("class", share=1)`` and calls ``tries.repeat(attempt)``.
"""

import json
import os
import platform
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import pytest

from tests.campaign.tries import Tries
from tests.campaign.undisturbed import Undisturbed

MINUTES = float(os.environ.get("CAMPAIGN_MINUTES") or 5)
SEED = int(os.environ.setdefault("CAMPAIGN_SEED", "") or SystemRandom().randrange(10**6))
os.environ["CAMPAIGN_SEED"] = str(SEED)  # xdist's workers have the same
ONLY, _, NUMBER = (os.environ.get("CAMPAIGN_ONLY") or "").partition(":")
TABLE = os.environ.get("CAMPAIGN_TABLE") or ""
PROPERTY = "campaign"
LEAST = 20.0
"""Seconds that a test is worth beginning for: a short campaign makes some of them, drawn by its seed."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if ONLY:
        items[:] = [item for item in items if item.name == ONLY]
        return
    tests = [item for item in items if _mark(item)]
    left, total = _seconds(), sum(map(_share, tests))
    for item in Random(SEED).sample(tests, len(tests)):
        left -= max(LEAST, _seconds() * _share(item) / total)
        if left < 0:
            items.remove(item)


@pytest.fixture
def tries(request: pytest.FixtureRequest) -> Iterator[Tries]:
    """The tries of this test, in its share of the campaign's minutes."""
    total = sum(_share(item) for item in request.session.items if _mark(item))
    seconds = _seconds() * _share(request.node) / total
    made = Tries(request.node.name, SEED, seconds, int(NUMBER) if NUMBER else None)
    yield made
    row = {
        "class": _mark(request.node).args[0],
        "test": made.name,
        "tries": made.count,
        "inputs": made.inputs,
        "failures": len(made.failures),
        "seconds": round(time.monotonic() - made.began, 1),
        "again": made.failures,
    }
    request.node.user_properties.append((PROPERTY, row))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """What the commands come to where nothing disturbs them."""
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"))


def _mark(item: Any) -> Any:
    return item.get_closest_marker("campaign")


def _share(item: Any) -> float:
    return float(_mark(item).kwargs.get("share", 1))


def _seconds() -> float:
    """Of all workers together."""
    return 60 * MINUTES * int(os.environ.get("PYTEST_XDIST_WORKER_COUNT") or 1)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = chain.from_iterable(terminalreporter.stats.values())
    every = [report for report in reports if getattr(report, "when", "") == "teardown"]
    rows = [row for each in every for name, row in each.user_properties if name == PROPERTY]
    if rows and "PYTEST_XDIST_WORKER" not in os.environ:
        lines = table_of(rows)
        terminalreporter.write_sep("=", f"campaign, seed {SEED}")
        terminalreporter.write_line("\n".join(lines))
        if TABLE:
            write(Path(TABLE), rows, lines)


def table_of(rows: list[dict[str, Any]]) -> list[str]:
    """The table in Markdown: a row a test, and their sum."""
    rows = sorted(rows, key=lambda row: (row["class"], row["test"]))
    total = {name: sum(row[name] for row in rows) for name in ("tries", "inputs", "failures", "seconds")}
    lines = ["| class | test | tries | inputs | failures | hours |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    for row in [*rows, {"class": "all", "test": "", **total}]:
        figures = f"{row['tries']} | {row['inputs']} | {row['failures']} | {row['seconds'] / 3600:.2f}"
        lines.append(f"| {row['class']} | {row['test']} | {figures} |")
    return lines + [f"    {line}" for row in rows for line in row["again"]]


def write(path: Path, rows: list[dict[str, Any]], lines: list[str]) -> None:
    """Writes the table, as Markdown or (.json) as data."""
    about = f"seed {SEED}, {MINUTES:g} minutes, {datetime.now(UTC):%Y-%m-%d}, {platform.platform()}"
    if path.suffix == ".json":
        path.write_text(json.dumps({"about": about, "seed": SEED, "rows": rows}, indent=1) + "\n")
    else:
        path.write_text("\n".join([f"# Campaign ({about})", "", *lines, ""]))
