"""A table, once: as text for a terminal of any width, Markdown, CSV, LaTeX and HTML."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

Form = Callable[..., str]
"""Writes a value, or the members of a tuple."""
TEXT: Form = str
SHARE: Form = "{:.2%}".format
RANGE: Form = "{:.2%} to {:.2%}".format
COUNT: Form = "{:,}".format
HOURS: Form = "{:.3g}".format


def millions(amount: float) -> str:
    """Of multiply-adds."""
    return f"{amount / 1e6:.1f}M"


@dataclass(frozen=True)
class Table:
    """Values in rows; a column that says nothing is left out.

    Args:
        title: above it; empty: none.
        columns: heads, with how their values are written.
        values: a row each; None: nothing is known.
        lead: so many columns name a row.
    """

    title: str
    columns: Mapping[str, Form]
    values: Sequence[Sequence[Any]]
    lead: int = 1

    @classmethod
    def of(cls, title: str, columns: Mapping[str, tuple[str, Form]], rows: Iterable[object], lead: int = 1) -> "Table":
        """A row an object; the columns by their heads, each of an attribute and its form."""
        forms = {head: form for head, (_, form) in columns.items()}
        return cls(title, forms, [[getattr(row, name) for name, _ in columns.values()] for row in rows], lead)

    @property
    def shown(self) -> list[int]:
        """The columns that say something."""
        every = range(len(self.columns))
        return [
            column for column in every if not self.values or any(row[column] not in (None, "") for row in self.values)
        ]

    @property
    def heads(self) -> list[str]:
        """Of the columns shown."""
        return [list(self.columns)[column] for column in self.shown]

    @property
    def rows(self) -> list[list[str]]:
        """The values shown, as they are written."""
        forms = list(self.columns.values())
        return [[_written(row[column], forms[column]) for column in self.shown] for row in self.values]

    @property
    def numeric(self) -> list[bool]:
        """Of the columns shown, whether they hold numbers, which stand to the right."""
        return [
            all(re.match(r"[\d+−-]|$", cell) for cell in column[1:])
            for column in zip(self.heads, *self.rows, strict=True)
        ]

    def text(self, width: int) -> str:
        """For a terminal of so many columns: what does not fit goes on below, beside what names the rows."""
        from rich.cells import cell_len
        from rich.table import Table as Grid

        from nas.terminal import console

        lines, wide = [self.heads, *self.rows], io.StringIO()
        widths = [max(map(cell_len, column)) + 2 for column in zip(*lines, strict=True)]
        blocks = self._blocks(widths, width + 2)
        for block in blocks:
            total = sum(widths[column] for column in block)
            words = not self.numeric[block[-1]] and any(" " in row[block[-1]] for row in self.rows)
            folds = total > width + 2 and words
            grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=None)
            for column in block:
                wrap = folds and column == block[-1]
                grid.add_column(lines[0][column], justify="right" if self.numeric[column] else "left", no_wrap=not wrap)
            for row in lines[1:]:
                grid.add_row(*(row[column] for column in block))
            wide.write("\n" if block is not blocks[0] else "")
            console(file=wide, width=width if folds else total).print(grid)
        body = "\n".join(line.rstrip() for line in wide.getvalue().splitlines())
        return f"{self.title}\n{body}" if self.title else body

    def _blocks(self, widths: Sequence[int], room: int) -> list[list[int]]:
        """The columns that stand beside one another."""
        lead = list(range(min(self.lead, len(widths))))
        blocks = [lead]
        for column in range(len(lead), len(widths)):
            if sum(widths[each] for each in (*blocks[-1], column)) > room and blocks[-1] != lead:
                blocks.append(lead)
            blocks[-1] = [*blocks[-1], column]
        return blocks

    def markdown(self) -> str:
        """As Markdown."""
        lines = [self.heads, ["---"] * len(self.heads), *self.rows]
        body = [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]
        return "\n".join([*([f"**{self.title}**", ""] if self.title else []), *body])

    def csv(self) -> str:
        """The values themselves, unrounded; a range in two columns."""
        forms = list(self.columns.values())
        pairs = {column for column in self.shown if forms[column] is RANGE}
        ends = [tuple(f"{head}, {end}" for end in ("low", "high")) for head in self.columns]
        out = io.StringIO()
        lines = csv.writer(out, lineterminator="\n")
        for row, both in ((list(self.columns), ends), *((row, row) for row in self.values)):
            cells = [
                (both[each] or ("", "")) if each in pairs else [_plain(row[each], forms[each])] for each in self.shown
            ]
            lines.writerow(chain.from_iterable(cells))
        return out.getvalue().rstrip("\n")

    def latex(self) -> str:
        """As a tabular with the rules of the package booktabs."""
        sides = "".join("r" if number else "l" for number in self.numeric)
        head, *rows = [" & ".join(cell.translate(LATEX) for cell in line) + r" \\" for line in (self.heads, *self.rows)]
        title = [f"% {self.title}"] if self.title else []
        begin = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", head, r"\midrule"]
        return "\n".join([*title, *begin, *rows, r"\bottomrule", r"\end{tabular}"])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from markupsafe import Markup

        def line(cells: Sequence[str], tag: str) -> Markup:
            return Markup("<tr>{}</tr>").format(
                Markup("").join(Markup(f"<{tag}>{{}}</{tag}>").format(cell) for cell in cells)
            )

        body = Markup("").join(line(row, "td") for row in self.rows)
        caption = Markup("<caption>{}</caption>").format(self.title) if self.title else ""
        return str(Markup("<table>{}{}{}</table>").format(caption, line(self.heads, "th"), body))


def _plain(value: Any, form: Form) -> Any:
    return form(*value) if isinstance(value, tuple) else value


def _written(value: Any, form: Form) -> str:
    if value is None or value == "":
        return ""
    return form(*value) if isinstance(value, tuple) else form(value)


LATEX = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "×": r"$\times$",
        "±": r"$\pm$",
        "−": "$-$",
        "Σ": r"$\Sigma$",
    }
)
FORMS: dict[str, Callable[[Table], str]] = {"markdown": Table.markdown, "csv": Table.csv, "latex": Table.latex}
"""What a table is written as for other programs."""
