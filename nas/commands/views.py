"""What the API's functions return: a run and what it came to, which show themselves in a notebook."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from nas.cells.draw import draw
from nas.cells.genotype import Genotype
from nas.commands.found_cell import read_genotype
from nas.costs.count import Cost
from nas.costs.tables import tables_of
from nas.files import write
from nas.pages import figure
from nas.pages.outcomes import outcome_of
from nas.run import names
from nas.run.folder import Run
from nas.tables import Table

Result = TypeVar("Result")


@dataclass(frozen=True)
class Picture:
    """An SVG; a notebook shows it."""

    svg: bytes

    def _repr_html_(self) -> str:
        return f'<img src="data:image/svg+xml;base64,{base64.b64encode(self.svg).decode()}">'


@dataclass(frozen=True)
class View(Generic[Result]):
    """A finished run.

    Args:
        run: its folder.
        result: what it came to; a dataclass of ``nas.run.results``, ``nas.tuning.results`` or ``nas.reports``.
    """

    run: Run
    result: Result

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.run.path

    @property
    def tables(self) -> Sequence[Table]:
        """What the command prints."""
        return outcome_of(self.run).tables

    @property
    def genotype(self) -> Genotype | None:
        """The cell that was found; None: there is none, or there are several."""
        return read_genotype(self.run) if (self.path / names.GENOTYPE).is_file() else None

    @property
    def picture(self) -> Picture | None:
        """Its cells."""
        if self.genotype is None:
            return None
        file = io.BytesIO()
        draw(self.genotype, file, "svg")
        return Picture(file.getvalue())

    def figure(self, what: str, out: str | Path | None = None) -> Picture:
        """Curves, alphas over the epochs, or madds: accuracy against them.

        Args:
            out: a .pdf, .svg or .png to write too.

        Raises:
            UsageError: an unknown figure or format, or nothing to draw.
        """
        if out is not None:
            write(Path(out), figure.draw(what, [self.run], Path(out).suffix[1:]))
        return Picture(figure.draw(what, [self.run], "svg"))

    def __str__(self) -> str:
        outcome = outcome_of(self.run)
        parts = [outcome.about, *(table.text(100) for table in outcome.tables), *outcome.notes, f"run  {self.path}"]
        return "\n".join(filter(None, parts))

    def _repr_html_(self) -> str:
        from markupsafe import escape

        outcome = outcome_of(self.run)
        said = [f"<p>{escape(note)}</p>" for note in (*outcome.notes, f"run {self.path}")]
        picture = [self.picture._repr_html_()] if self.picture else []
        return "".join([*picture, *(table._repr_html_() for table in outcome.tables), *said])


@dataclass(frozen=True)
class Costs:
    """What networks cost, by their names; ``inputs`` are (channels, height, width)."""

    costs: dict[str, Cost]
    inputs: dict[str, tuple[int, int, int]]

    @property
    def tables(self) -> list[Table]:
        """Each network's stages; of several also all of them side by side."""
        return tables_of(self.costs, self.inputs)

    def __str__(self) -> str:
        return "\n\n".join(table.text(100) for table in self.tables)

    def _repr_html_(self) -> str:
        return "".join(table._repr_html_() for table in self.tables)
