"""The frontier of a derivation: the best score at each cost, as a table and a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.amounts import Cost
from nas.files import write
from nas.pages.charts import Axis, Chart, Series
from nas.pages.figure import drawn
from nas.tables import TEXT, Table


@dataclass(frozen=True)
class Mark:
    """A selection's cell on the picture."""

    name: str
    score: float
    madds: int


def write_frontier(
    points: Mapping[float, Cost], marks: Sequence[Mark], limit: int | None, table: Path, picture: Path
) -> None:
    """Writes both files.

    Args:
        points: by their scores, the best first.
        marks: what was selected.
        limit: of multiply-adds.

    Raises:
        UsageError: a file cannot be written.
    """
    rows = [(f"{score:.9g}", cost.madds, cost.params) for score, cost in points.items()]
    write(table, Table("", dict.fromkeys(("log_strength", "madds", "params"), TEXT), rows).csv() + "\n")
    series = [Series("frontier", sorted((cost.madds / 1e6, score) for score, cost in points.items()), 4)]
    series += [Series(one.name, [(one.madds / 1e6, one.score)], place, hollow=True) for place, one in enumerate(marks)]
    cost = Axis("multiply-adds of the final network, millions", rules=[] if limit is None else [limit / 1e6])
    chart = Chart("Score against cost (vertical line: limit)", cost, Axis("Σ log strength of the cell's edges"), series)
    write(picture, drawn([chart], "png"))
