"""nas show"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import common
from nas.errors import UsageError, nearest

if TYPE_CHECKING:
    from nas.cells.genotype import Genotype

PICTURES = ("svg", "png")
TEXTS = ("dot", "graphml", "json")


def show(
    target: Annotated[
        str, typer.Argument(metavar="RUN|GENOTYPE", help="A run (path, name or last) or a genotype file.")
    ],
    to: Annotated[str | None, typer.Option(help="svg, png, dot, graphml or json (node-link).")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write (default: beside you); - for stdout.")] = None,
    runs: common.Runs = None,
    other: Annotated[str | None, typer.Argument(metavar="[RUN|GENOTYPE]", help="With --diff: a second one.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show two cells with what differs.")] = False,
) -> None:
    """Show a cell as text, picture or graph file; of a tuning, a study, or trainings of seeds or cells the tables."""
    if diff != (other is not None):
        raise UsageError("nas show --diff A B takes two runs or genotypes; without --diff there is one")
    if not diff and to is None and out is None and print_tables(target, runs):
        return
    if to is None and out is not None:
        to = out.suffix[1:]
    if to is not None and to not in PICTURES + TEXTS:
        raise UsageError(f'--to "{to}": {nearest(to, [*PICTURES, *TEXTS])}')
    from nas.commands.targets import genotype_of

    genotype, beside = genotype_of(target, runs), genotype_of(other, runs) if other else None
    pair = (Path(target).stem, Path(other).stem) if other else ("", "")
    file = out or Path(f"{'-'.join(filter(None, pair)) or Path(target).stem}.{to}")
    if to is None:
        print_difference(genotype, beside, pair) if beside else print_cells(genotype)
    elif to in PICTURES:
        draw_cells(genotype, file, to, beside, pair)
    elif beside:
        raise UsageError(f"--to {to}: a difference is drawn as {' or '.join(PICTURES)}")
    else:
        from nas.cells.graph import write_graph
        from nas.files import write

        text = write_graph(genotype, to)
        if str(out) == "-":
            print(text)
        else:
            write(file, text)
            print(file)


def print_tables(target: str, runs: Path | None) -> bool:
    """Whether the target is a tuning or several trainings, whose tables are then printed."""
    from nas.run.folder import find, runs_root
    from nas.run.spec import Spec

    if Path(target).is_file():
        return False
    run = find(target, runs_root(runs))
    spec = run.spec(Spec)
    if spec.command in ("study", "tune") and not run.finished:
        raise UsageError(f"run {run.path} is not finished: nas {spec.command} --resume {run.path}")
    if spec.command == "tune":
        from nas.cli.tune_output import print_run

        print_run(run)
        return True
    if spec.command == "derive" and run.finished:
        from nas.cli.derive import print_run as print_derivation

        print_derivation(run)
        return True
    if spec.command == "study":
        from nas.cli.study import print_run as print_study

        print_study(run)
        return True
    if spec.command == "retrain" and spec.seeds and run.finished:
        from nas.reports.comparison import Comparison

        common.print_comparison(run.result(Comparison))
        return True
    return False


def print_cells(genotype: "Genotype") -> None:
    """Prints a line a node, and the text form where the cell has one."""
    from nas.cells.genotype import to_text

    for kind, cell in genotype.cells.items():
        for node, pairs in enumerate(cell.nodes):
            print(f"{kind:6}  {node}  {', '.join(f'{name}({state})' for name, state in pairs)}")
    in_pairs = all(len(pairs) == 2 for cell in genotype.cells.values() for pairs in cell.nodes)
    if in_pairs or genotype.skeleton == "nasbench201":
        print(to_text(genotype))


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
        for node, state, operation, settings, sign in sorted(rows, key=lambda row: (row[0], "−+ ".index(row[4]), row)):
            print(f"{sign}  {node}  {operation}({state})  {settings}".rstrip())


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
