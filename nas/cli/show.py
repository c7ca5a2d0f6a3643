"""nas show"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import common
from nas.errors import UsageError, nearest
from nas.tables import FORMS

if TYPE_CHECKING:
    from nas.cells.genotype import Genotype

PICTURES = ("svg", "png", "pdf")
TEXTS = ("dot", "graphml", "json")


def show(
    target: Annotated[
        str, typer.Argument(metavar="RUN|GENOTYPE", help="A run (path, name or last) or a genotype file.")
    ],
    to: Annotated[
        str | None,
        typer.Option(
            help="A cell: svg, pdf, png, dot, graphml, json (node-link); a run's tables: markdown, csv, latex."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write (default: beside you); - for stdout (text).")] = None,
    figure: Annotated[
        str | None,
        typer.Option(help="Draw curves, alphas (over the epochs) or madds (accuracy against them): pdf, svg or png."),
    ] = None,
    ops: common.Ops = None,
    runs: common.Runs = None,
    other: Annotated[str | None, typer.Argument(metavar="[RUN|GENOTYPE]", help="With --diff: a second one.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show two cells with what differs.")] = False,
) -> None:
    """Show a cell as text, picture or graph file; of a tuning, a study, or trainings of seeds or cells the tables."""
    if diff != (other is not None):
        raise UsageError("nas show --diff A B takes two runs or genotypes; without --diff there is one")
    to = out.suffix[1:] if to is None and out is not None else to
    if diff:
        check_difference(figure, to)
    if str(out) == "-" and (figure or to in PICTURES):
        raise UsageError("--out -: a picture goes into a file")
    if figure:
        common.draw_figure(figure, [target], runs, to, out)
        return
    if not diff and (to is None or to in FORMS) and print_tables(target, runs, to, out):
        return
    if to is not None and to not in PICTURES + TEXTS:
        raise UsageError(f'--to "{to}": {nearest(to, [*PICTURES, *TEXTS, *FORMS])}')
    from nas.commands.targets import genotype_of

    genotype, beside = genotype_of(target, runs, ops), genotype_of(other, runs, ops) if other else None
    pair = (Path(target).stem, Path(other).stem) if other else ("", "")
    name = "-".join(filter(None, pair)) or Path(target).stem
    file = out or Path(f"{name.replace(':', '-')}.{to}")
    if to is None:
        print_difference(genotype, beside, pair) if beside else print_cells(genotype)
    elif to in PICTURES:
        draw_cells(genotype, file, to, beside, pair)
    else:
        from nas.cells.graph import write_graph
        from nas.files import write

        text = write_graph(genotype, to)
        if str(out) == "-":
            print(text)
        else:
            write(file, text)
            print(file)


def check_difference(figure: str | None, to: str | None) -> None:
    """Refuses what a difference of two cells cannot be shown as."""
    if figure:
        raise UsageError("--figure draws one run; nas compare A B --figure curves draws several")
    if to is not None and to not in PICTURES:
        raise UsageError(f"--to {to}: a difference is drawn as {' or '.join(PICTURES)}")


def print_tables(target: str, runs: Path | None, to: str | None, out: Path | None) -> bool:
    """Whether the target is a run with tables, which are then printed; of one search or training only if asked for.

    Raises:
        UsageError: a study or tuning that goes on; tables of what has none.
    """
    from nas.files import write
    from nas.pages.outcomes import outcome_of
    from nas.run.folder import find, runs_root
    from nas.run.hints import unfinished
    from nas.run.spec import Spec

    run = None if Path(target).is_file() else find(target, runs_root(runs))
    if run is None or not run.finished:
        if run and run.command in ("study", "tune"):
            raise UsageError(unfinished(run))
        return False
    tables = outcome_of(run).tables
    if to:
        text = common.written(tables, to)
        write(out, text + "\n") if out and out != Path("-") else print(text)
    elif run.command in PRINTERS:
        import_module(f"nas.cli.{PRINTERS[run.command]}").print_run(run)
    elif run.command == "retrain" and run.spec(Spec).seeds:
        common.print_outcome(run)
    else:
        return False
    return True


PRINTERS = {"tune": "tune_output", "derive": "derive", "study": "study"}
"""What prints the runs of a command that come to more than one cell."""


def print_cells(genotype: "Genotype") -> None:
    """Prints a line a node, its states by name, and the text form where the cell has one."""
    from nas.cells.genotype import to_text

    for kind, cell in genotype.cells.items():
        states = names_of(genotype, kind)
        for node, pairs in enumerate(cell.nodes):
            sources = " + ".join(f"{name}({states[state]})" for name, state in pairs)
            print(f"{kind:6}  {states[node + cell.inputs]} = {sources or 'nothing'}")
    in_pairs = all(len(pairs) == 2 for cell in genotype.cells.values() for pairs in cell.nodes)
    if in_pairs or genotype.skeleton == "nasbench201":
        print(to_text(genotype))


def names_of(genotype: "Genotype", kind: str) -> list[str]:
    """The states of a cell as text has them: ``c_k-2``, ``c_k-1``, ``node 0``, …."""
    from nas.cells.graph import state_names

    plain = [name.replace("{", "").replace("}", "") for name in state_names(genotype.cells[kind])]
    return [f"node {name}" if name.isdigit() else name for name in plain]


def print_difference(genotype: "Genotype", other: "Genotype", pair: tuple[str, str]) -> None:
    """Prints a line an edge: − where the first has it alone, + where the second does."""
    from nas.cells.difference import edges_of, shared_edges

    print(f"−  {pair[0]}\n+  {pair[1]}")
    first, second = shared_edges(genotype, other), shared_edges(other, genotype)
    for kind in dict.fromkeys([*first, *second]):
        sides = [(one, flags[kind]) for one, flags in ((genotype, first), (other, second)) if kind in flags]
        rows = [
            (*edge, " " if shared else "−+"[one is other])
            for one, flags in sides
            for edge, shared in zip(edges_of(one, kind), flags, strict=True)
            if not shared or one is genotype
        ]
        common = sum(first.get(kind, []))
        print(f"{kind}: {common} edge{'s' * (common != 1)} in both")
        states = names_of(sides[0][0], kind)
        for node, state, operation, settings, sign in sorted(rows, key=lambda row: (row[0], "−+ ".index(row[4]), row)):
            print(f"{sign}  node {node}  {operation}({states[state]})  {settings}".rstrip())


def draw_cells(
    genotype: "Genotype", out: Path, to: str, other: "Genotype | None" = None, pair: tuple[str, str] = ("", "")
) -> None:
    """Draws the picture, in a file whose name is printed."""
    from nas.cells.draw import draw

    try:
        draw(genotype, out, to, other, pair)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror or error}") from None
    print(out)
