"""What the ways of gpu_search.py came to: a document and a table."""

from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Column, Table

from nas import files
from nas.run.documents import as_json
from nas.run.environment import environment

EPOCHS, STEPS = 50, 50 * 390
"""Of the paper's search."""


@dataclass(frozen=True)
class Figures:
    """What came out: seconds, bytes and numbers of kernels; None: not measured. ``search`` is of all 50 epochs."""

    first: float | None = None
    step: float | None = None
    kernels: int | None = None
    peak: int | None = None
    epoch: float | None = None
    search: float | None = None
    error: str = ""

    @property
    def final(self) -> bool:
        """Whether there is nothing to go on with: it was not out of time."""
        return not self.error.startswith(TimeoutError.__name__)


def table(found: dict[str, Figures]) -> Table:
    """A line a way; "times" is against the textbook's eager step of the same space, batch and precision."""
    heads = ("first s", "step ms", "times", "kernels", "GiB", "epoch s", f"{EPOCHS} epochs min")
    out = Table("", *(Column(head, justify="right") for head in heads), Column("error", max_width=60), box=None)
    for name, each in found.items():
        textbook = found.get(" ".join([*name.split()[:3], "textbook", "eager"]), Figures()).step
        whole = each.search or (each.step * STEPS if each.step and " 64 " in name else None)
        cells = (
            shown(each.first, ".1f"),
            shown(each.step, ".2f", 1e3),
            shown(textbook / each.step if textbook and each.step else None, ".1f"),
            shown(each.kernels, ",.0f"),
            shown(each.peak, ".2f", 2**-30),
            shown(each.epoch, ".1f"),
            shown(whole, ".1f", 1 / 60),
        )
        out.add_row(name, *cells, each.error)
    return out


def shown(value: float | None, form: str, scale: float = 1.0) -> str:
    """A number in a unit; nothing where it was not measured."""
    return "" if value is None else f"{value * scale:{form}}"


def read(path: Path) -> dict[str, Figures]:
    """The figures that are there, by way."""
    ways = files.read_json(path)["ways"] if path.is_file() else {}
    return {name: Figures(**figures) for name, figures in ways.items()}


def save(path: Path, found: dict[str, Figures]) -> None:
    """Writes them, with what they were measured on."""
    ways = {name: asdict(figures) for name, figures in found.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, {"ways": ways, "environment": as_json(environment())})
