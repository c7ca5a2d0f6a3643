"""nas derive"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import common
from nas.cli.search import FinalCells, FinalChannels
from nas.errors import UsageError
from nas.settings import DeriveSettings

if TYPE_CHECKING:
    from nas.run.folder import Run

Target = Annotated[str | None, typer.Argument(metavar="RUN", help="A search: path, name or last.")]


@common.with_settings(DeriveSettings, whose="usual")
def derive(
    context: typer.Context,
    target: Target = None,
    final_channels: FinalChannels = None,
    final_cells: FinalCells = None,
    resume: common.Resume = None,
    ops: common.Ops = None,
    name: common.Name = None,
    runs: common.Runs = None,
    data_root: common.DataRoot = None,
    device: common.Device = None,
    threads: common.Threads = None,
    json: common.Json = False,
    **values: Any,
) -> None:
    """Derive cells of a search by several selections: nas derive RUN --select strongest,budget --max-madds 500M."""
    from nas.commands import deriving
    from nas.run.folder import find, runs_root
    from nas.settings import make

    execution = common.execution(device, threads, data_root)
    if resume:
        run = common.resume(context, resume, runs, execution, ops)
    elif target is None:
        raise UsageError("nas derive needs a search (or --resume RUN)")
    else:
        run = deriving.derive(
            find(target, runs_root(runs)),
            make(DeriveSettings, {name: value for name, value in values.items() if value is not None}),
            final_channels=final_channels,
            final_cells=final_cells,
            ops=ops,
            name=name,
            runs=runs,
            execution=execution,
        )
    common.print_result(run) if json else print_run(run)


def print_run(run: "Run") -> None:
    """Prints the result for people."""
    from nas.run.hints import on
    from nas.run.names import CURVE
    from nas.run.results import DeriveResult

    common.print_outcome(run)
    print(f"run      {run.path}")
    if (run.path / CURVE).is_file():
        print(f"curve    {run.path / CURVE}")
    for cell in run.result(DeriveResult).cells:
        print(f"retrain  {on(run, 'retrain', run.path / f'genotype-{cell.select}.json')}")
