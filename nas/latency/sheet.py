"""The sheet that is filled on a device: one line a model, with what was measured of it."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from nas.errors import UsageError
from nas.files import read_text
from nas.latency.table import LatencyTable, Timing, fit


@dataclass(frozen=True)
class Line:
    """A model to measure, and what was measured.

    Args:
        model: its file's name without ending: operation-007-of-062, network-03-of-24.
        what: an operation's signature, or a network's settings.
        parts: of a network, its operations' numbers with spaces between.
        mean_ms, deviation_ms, count: of one image; empty: not measured.
        device, soc, runtime, threads: where.
    """

    model: str
    what: str
    parts: str = ""
    mean_ms: str = ""
    deviation_ms: str = ""
    count: str = ""
    device: str = ""
    soc: str = ""
    runtime: str = ""
    threads: str = ""


COLUMNS = [field.name for field in fields(Line)]
PLACE = ("device", "soc", "runtime", "threads")


def model_name(kind: str, index: int, total: int) -> str:
    """The name of a model's file, which says of how many it is one."""
    width = len(str(total))
    return f"{kind}-{index + 1:0{width}}-of-{total}"


def text(lines: Iterable[Line]) -> str:
    """The sheet as CSV."""
    written = io.StringIO()
    writer = csv.DictWriter(written, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(vars(line) for line in lines)
    return written.getvalue()


def read(path: Path) -> list[Line]:
    """The lines of a sheet.

    Raises:
        UsageError: it is none.
    """
    rows = csv.DictReader(io.StringIO(read_text(path)))
    if absent := sorted(set(COLUMNS) - set(rows.fieldnames or ())):
        raise UsageError(f"{path}: there is no column {absent[0]}; nas latency export writes such tables")
    return [Line(**{name: (row[name] or "").strip() for name in COLUMNS}) for row in rows]


def table(lines: Sequence[Line], where: str) -> LatencyTable:
    """The table of a filled sheet.

    Args:
        where: it lies, for messages.

    Raises:
        UsageError: operations of the space are missing or not measured, too few whole networks, several devices.
    """
    operations = {line.model: line for line in lines if line.model.startswith("operation-")}
    networks = [line for line in lines if line.model.startswith("network-") and line.mean_ms]
    _check_cover(operations, where)
    timings = {name: timing(line, where) for name, line in operations.items()}
    measured = [timing(line, where).mean_ms for line in networks]
    names = list(operations)
    by_number = {_number(name): timings[name].mean_ms for name in names}
    sums = [sum(by_number[int(part)] for part in line.parts.split()) for line in networks]
    place = {key: _one(key, lines, where) for key in PLACE}
    if not place["threads"].isdecimal():
        raise UsageError(f"{where}: threads = {place['threads']!r}: it must be a whole number")
    return LatencyTable(
        device=place["device"],
        soc=place["soc"],
        runtime=place["runtime"],
        threads=int(place["threads"]),
        operations={operations[name].what: timings[name] for name in names},
        fit=fit(sums, measured),
    )


def _number(model: str) -> int:
    match = re.fullmatch(r"operation-0*(\d+)-of-(\d+)", model)
    if not match:
        raise UsageError(f'model "{model}": it must be a name such as operation-07-of-62')
    return int(match[1])


def _check_cover(operations: dict[str, Line], where: str) -> None:
    """Raises UsageError where the operations are not all of the space's, each measured."""
    if not operations:
        raise UsageError(f"{where}: no operation is in it")
    total = int(next(iter(operations)).rpartition("-")[2])
    absent = set(range(1, total + 1)) - {_number(name) for name, line in operations.items() if line.mean_ms}
    if absent:
        raise UsageError(
            f"{where} does not cover its space: {len(absent)} of {total} operations are not measured, "
            f"such as {model_name('operation', min(absent) - 1, total)}"
        )


def timing(line: Line, where: str) -> Timing:
    """What was measured of a model.

    Raises:
        UsageError: no positive number of milliseconds.
    """
    try:
        measured = Timing(float(line.mean_ms), float(line.deviation_ms or 0), int(line.count or 1))
    except ValueError as error:
        raise UsageError(f"{where}: {line.model}: {error}") from None
    if not 0 < measured.mean_ms < float("inf"):
        raise UsageError(f"{where}: {line.model}: mean_ms = {line.mean_ms}: it must be above 0")
    return measured


def _one(key: str, lines: Sequence[Line], where: str) -> str:
    """The one value of a column that says where was measured; lines may leave it empty."""
    values = sorted({getattr(line, key) for line in lines} - {""})
    if len(values) != 1:
        raise UsageError(f"{where}: {key}: a table is of one, here are {', '.join(values) or 'none'}")
    return str(values[0])
