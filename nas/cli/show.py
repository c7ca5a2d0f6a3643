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
    out: Annotated[Path | None, typer.Option(help="File to write (default: beside you, or stdout for text).")] = None,
    runs: common.Runs = None,
) -> None:
    """Show a cell as text, picture or graph file; of a tuning, a study, or trainings of seeds or cells the tables."""
    if to is None and out is None and print_tables(target, runs):
        return
    if to is None and out is not None:
        to = out.suffix[1:]
    if to is not None and to not in PICTURES + TEXTS:
        raise UsageError(f'--to "{to}": {nearest(to, [*PICTURES, *TEXTS])}')
    from nas.commands.targets import genotype_of

    genotype = genotype_of(target, runs)
    if to is None:
        print_cells(genotype)
    elif to in PICTURES:
        draw_cells(genotype, out or Path(f"{Path(target).stem}.{to}"), to)
    else:
        from nas.cells.graph import write_graph
        from nas.files import write

        text = write_graph(genotype, to)
        write(out, text) if out else print(text)


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


def draw_cells(genotype: "Genotype", out: Path, to: str) -> None:
    """Draws the picture, in a file whose name is printed."""
    from nas.cells.draw import draw

    try:
        draw(genotype, out, to)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror or error}") from None
    print(out)
