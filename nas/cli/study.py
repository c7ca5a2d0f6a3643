"""nas study"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import common
from nas.cli.tune import parse_knob
from nas.errors import UsageError
from nas.settings import LONG, RARE, WHAT, StudySettings

if TYPE_CHECKING:
    from nas.run.folder import Run

File = Annotated[Path | None, typer.Argument(metavar="STUDY.toml", help="A file of it all; options win over it.")]
Spaces = Annotated[list[str] | None, typer.Option(help="A search space; several are compared.", rich_help_panel=WHAT)]
Methods = Annotated[
    list[str] | None,
    typer.Option(help="A search method; each searches every space.", rich_help_panel=WHAT),
]
Seeds = Annotated[str | None, typer.Option(help="Of the searches (usual: 0,1,2).", rich_help_panel=WHAT)]
RetrainSeeds = Annotated[
    str | None, typer.Option(help="Of each cell's trainings, found or random (usual: 0).", rich_help_panel=WHAT)
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Another setting: search.epochs=20, retrain.batch=64, final.channels=16. May be given several times.",
        rich_help_panel=RARE,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Tell what it takes and what it can see, and do nothing.", rich_help_panel=LONG),
]
Deviation = Annotated[
    float,
    typer.Option(
        min=1e-6,
        help="Standard deviation of cells' test error, in points, to reckon with (usual: that of DARTS' searches).",
        rich_help_panel=WHAT,
    ),
]
OWN = ("space", "method", "seeds", "retrain_seeds", "search", "retrain", "final")
"""Settings that have no option, or one of another form."""
SCATTER = 0.2
"""Points: of eight DARTS searches on CIFAR-10 by the paper's recipe (Yang et al., ICLR 2020)."""


@common.with_settings(StudySettings, without=OWN)
def study(
    context: typer.Context,
    file: File = None,
    space: Spaces = None,
    method: Methods = None,
    seeds: Seeds = None,
    retrain_seeds: RetrainSeeds = None,
    changes: Changes = None,
    dry_run: DryRun = False,
    deviation: Deviation = SCATTER,
    resume: common.Resume = None,
    ops: common.Ops = None,
    name: common.Name = None,
    runs: common.Runs = None,
    data_root: common.DataRoot = None,
    device: common.Device = None,
    threads: common.Threads = None,
    backend: common.Backend = None,
    cluster: common.Cluster = None,
    storage: common.Storage = None,
    json: common.Json = False,
    **values: Any,
) -> None:
    """Hold searches against random cells of the same cost: nas study --space darts --space darts+sandglass."""
    from nas.cli.plan_output import print_plan
    from nas.cluster.storage import storage_of
    from nas.commands import planning, studying

    runs, url = storage_of(runs, cluster, None, storage)
    execution = common.execution(device, threads, data_root, cluster, None, url, backend=backend)
    if resume:
        run = common.resume(context, resume, runs, execution, ops)
    else:
        settings = settings_of(file, space, method, seeds, retrain_seeds, changes, values)
        if dry_run:
            print_plan(planning.plan(settings, deviation=deviation / 100, ops=ops, execution=execution), json)
            return
        run = studying.study(settings, ops=ops, name=name, runs=runs, execution=execution)
    common.print_result(run) if json else print_run(run)


def settings_of(
    file: Path | None,
    space: list[str] | None,
    method: list[str] | None,
    seeds: str | None,
    retrain_seeds: str | None,
    changes: list[str] | None,
    values: dict[str, Any],
) -> StudySettings:
    """The study of a file and options, which win over it.

    Raises:
        UsageError: a file that cannot be read, an unknown field, a value of the wrong type or out of range.
    """
    from nas.settings import make

    own = {
        **values,
        "space": space or None,
        "method": method or None,
        "seeds": common.parse_seeds(seeds),
        "retrain_seeds": common.parse_seeds(retrain_seeds, "--retrain-seeds"),
    }
    merged = common.read_settings(file, "") | {name: value for name, value in own.items() if value is not None}
    for text in changes or []:
        name, value = parse_knob(text)
        table, _, field = name.partition(".")
        if table not in ("search", "retrain", "final") or not field:
            raise UsageError(f'--set "{text}": it begins with search., retrain. or final., as in search.epochs=20')
        if not isinstance(merged.setdefault(table, {}), dict):
            raise UsageError(f"{file}: {table} must be a table of settings")
        merged[table] = {**merged[table], field: value}
    return make(StudySettings, merged, str(file or "settings"))


def print_run(run: "Run") -> None:
    """Prints the table, and what may be said of it."""
    common.print_outcome(run)
    print(f"run  {run.path}")
