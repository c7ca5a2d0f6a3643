"""The sheet that is filled on a device: one line a model, with what was measured of it."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from nas.errors import UsageError
from nas.files import read_text
from nas.latency.table import LatencyTable, Timing, fit
from nas.run.documents import parse

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Line:
    """A model to measure, and what was measured; numbers are read from text.

    Args:
        model: its file's name without ending, which says of how many it is one: operation-07-of-62, network-03-of-24.
        what: an operation's signature, or a network's settings; empty: all are the published ones.
        parts: of a network, its operations' numbers with spaces between; empty: it is an operation.
        mean_ms, deviation_ms, count: of one image.
        device, soc, runtime, threads: where; lines after the first may leave it empty.
    """

    model: Annotated[str, Field(pattern=r"^(operation|network)-\d+-of-\d+$")]
    what: str = ""
    parts: Annotated[str, Field(pattern=r"^[\d ]*$")] = ""
    mean_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    deviation_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    count: Count = 1
    device: str | None = None
    soc: str | None = None
    runtime: str | None = None
    threads: Count | None = None

    @property
    def number(self) -> int:
        """Which of its kind it is, from 1."""
        return int(self.model.split("-")[1])


def model_name(kind: str, number: int, total: int) -> str:
    """The name of a model's file."""
    return f"{kind}-{number:0{len(str(total))}}-of-{total}"


def text(lines: Iterable[Line]) -> str:
    """The sheet as CSV."""
    written = io.StringIO()
    writer = csv.DictWriter(written, [field.name for field in fields(Line)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({field.name: getattr(line, field.name) for field in fields(Line)} for line in lines)
    return written.getvalue()


def read(path: Path) -> list[Line]:
    """The lines of a sheet.

    Raises:
        UsageError: it is none; the message names line (from 0) and column.
    """
    rows = csv.DictReader(io.StringIO(read_text(path).removeprefix("\ufeff")))  # as spreadsheets begin a file
    return parse(
        json.dumps([{name: value for name, value in row.items() if value} for row in rows]), list[Line], str(path)
    )


def table(lines: Sequence[Line], where: str) -> LatencyTable:
    """The table of a filled sheet.

    Args:
        where: it lies, for messages.

    Raises:
        UsageError: operations of the space are missing or not measured, too few whole networks, several devices.
    """
    operations = {line.number: line for line in lines if not line.parts}
    timings = {
        number: Timing(one.mean_ms, one.deviation_ms, one.count) for number, one in operations.items() if one.mean_ms
    }
    total = int(next(iter(operations.values())).model.rpartition("-")[2]) if operations else 1
    if absent := set(range(1, total + 1)) - set(timings):
        name = model_name("operation", min(absent), total)
        raise UsageError(
            f"{where} does not cover its space: {len(absent)} of {total} operations are not measured, such as {name}"
        )
    networks = [line for line in lines if line.parts and line.mean_ms]
    sums = [sum(timings[int(part)].mean_ms for part in line.parts.split()) for line in networks]
    return LatencyTable(
        device=_one("device", lines, where),
        soc=_one("soc", lines, where),
        runtime=_one("runtime", lines, where),
        threads=_one("threads", lines, where),
        operations={operations[number].what: timing for number, timing in timings.items()},
        fit=fit(sums, [line.mean_ms or 0.0 for line in networks]),
    )


def _one(column: str, lines: Sequence[Line], where: str) -> Any:
    """The one value of a column that says where was measured."""
    values = {getattr(line, column) for line in lines} - {None}
    if len(values) != 1:
        raise UsageError(
            f"{where}: {column}: a table is of one, here are {', '.join(sorted(map(str, values))) or 'none'}"
        )
    return values.pop()
