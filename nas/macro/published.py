"""The papers' own figures for their networks, and why some of them differ from what the networks cost."""

import csv
import json
from dataclasses import dataclass
from importlib import resources

from nas.knobs import Value


@dataclass(frozen=True)
class Published:
    """A row of a paper's table.

    Args:
        network, settings: which of our networks it is.
        resolution: height and width in pixels.
        params, madds: as printed, in millions; None where the table has none.
        where: paper and table.
        remark: why the figure differs from the network's true cost, or how it is to be read.
    """

    network: str
    settings: dict[str, Value]
    resolution: int
    params: float | None
    madds: float | None
    where: str
    remark: str


def published() -> list[Published]:
    """All published rows, from published.csv beside this file."""
    text = (resources.files("nas.macro") / "published.csv").read_text(encoding="utf-8")
    return [_row(row) for row in csv.DictReader(text.splitlines())]


def _row(row: dict[str, str]) -> Published:
    pairs = (item.split("=") for item in row["settings"].split())
    return Published(
        network=row["network"],
        settings={name: _value(text) for name, text in pairs},
        resolution=int(row["resolution"]),
        params=float(row["params_M"]) if row["params_M"] else None,
        madds=float(row["madds_M"]) if row["madds_M"] else None,
        where=row["where"],
        remark=row["remark"],
    )


def _value(text: str) -> Value:
    try:
        value: Value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value
