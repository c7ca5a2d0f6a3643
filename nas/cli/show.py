"""nas show"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import common

if TYPE_CHECKING:
    from nas.run import Run

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
    """Show a cell as text, picture or graph file; of a tuning run its tables."""
    if to is None and out is None and (found := tuned(target, runs)):
        from nas.cli.tune_output import tell

        tell(found.path, found.result)
        return
    from nas.api import genotype_of
    from nas.cells.genotype import to_text
    from nas.errors import UsageError, nearest

    if to is None and out is not None:
        to = out.suffix[1:]
    if to is not None and to not in PICTURES + TEXTS:
        raise UsageError(f'--to "{to}": {nearest(to, [*PICTURES, *TEXTS])}')
    genotype = genotype_of(target, runs)
    if to is None:
        for kind, cell in genotype.cells.items():
            for node, pairs in enumerate(cell.nodes):
                print(f"{kind:6}  {node}  {', '.join(f'{name}({state})' for name, state in pairs)}")
        if all(len(pairs) == 2 for cell in genotype.cells.values() for pairs in cell.nodes):
            print(to_text(genotype))
        return
    if to in PICTURES:
        from nas.cells.draw import draw

        out = out or Path(f"{Path(target).stem}.{to}")
        try:
            draw(genotype, out, to)
        except OSError as error:
            raise UsageError(f"cannot write {out}: {error.strerror or error}") from None
        print(out)
        return
    from nas.cells.graph import write_graph
    from nas.files import write

    text = write_graph(genotype, to)
    write(out, text) if out else print(text)


def tuned(target: str, runs: Path | None) -> "Run | None":
    """The finished tuning run of that name, if it is one."""
    from nas.errors import UsageError
    from nas.run import find, runs_root

    if Path(target).is_file():
        return None
    run = find(target, runs_root(runs))
    if run.told["command"] != "tune":
        return None
    if not run.finished:
        raise UsageError(f"run {run.path} is not finished: nas tune --resume {run.path}")
    return run
