"""nas retrain"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import common
from nas.errors import UsageError
from nas.presets import TRAIN_PRESETS
from nas.settings import LONG, RARE, WHAT, TrainSettings

if TYPE_CHECKING:
    from nas.run.folder import Run

Targets = Annotated[list[str] | None, typer.Argument(help="Runs (path, name or last), genotypes or architectures.")]
Preset = Annotated[
    str | None,
    typer.Option(
        help=f"Recipe (usual: the run's): {', '.join(TRAIN_PRESETS)}.",
        rich_help_panel=LONG,
        autocompletion=lambda: list(TRAIN_PRESETS),
    ),
]
Init = Annotated[
    str | None,
    typer.Option(
        help="Start from the weights of a run, of torchvision:mobilenet_v2, or of a file.", rich_help_panel=RARE
    ),
]
Best = Annotated[
    int | None,
    typer.Option(min=1, help="The K best cells of each search of several seeds.", rich_help_panel=WHAT),
]
Channels = Annotated[
    int | None, typer.Option(min=2, max=4096, help="Channels C, instead of its own.", rich_help_panel=LONG)
]
Cells = Annotated[int | None, typer.Option(min=1, max=200, help="Cells L, instead of its own.", rich_help_panel=LONG)]


@common.with_settings(TrainSettings, whose="paper", quick=TRAIN_PRESETS["quick"])
def retrain(
    context: typer.Context,
    targets: Targets = None,
    preset: Preset = None,
    seeds: common.Seeds = None,
    init: Init = None,
    best: Best = None,
    channels: Channels = None,
    cells: Cells = None,
    settings_file: common.SettingsFile = None,
    resume: common.Resume = None,
    ops: common.Ops = None,
    tensorboard: common.TensorBoard = False,
    name: common.Name = None,
    runs: common.Runs = None,
    data_root: common.DataRoot = None,
    device: common.Device = None,
    threads: common.Threads = None,
    backend: common.Backend = None,
    cluster: common.Cluster = None,
    workers: common.Workers = None,
    storage: common.Storage = None,
    json: common.Json = False,
    **values: Any,
) -> None:
    """Train found cells' networks (or any architectures) and test each once: nas retrain RUN --seeds 0,1,2."""
    from nas.cluster.storage import storage_of
    from nas.commands import retraining
    from nas.commands.inheritance import train
    from nas.commands.pretrained import pretrained

    runs, url = storage_of(runs, cluster, workers, storage)
    execution = common.execution(device, threads, data_root, cluster, workers, url, backend=backend)
    if resume:
        run = common.resume(context, resume, runs, execution, ops)
    else:
        if not targets and not init:
            raise UsageError("nas retrain needs a run, a genotype or an architecture (or --init, or --resume RUN)")
        start = pretrained(init, runs, ops) if init else None
        networks = retraining.targets_of(targets or [], runs, preset, best, channels=channels, cells=cells, ops=ops)
        run = train(
            networks,
            common.read_settings(settings_file) | {name: one for name, one in values.items() if one is not None},
            preset,
            seeds=common.parse_seeds(seeds),
            init=start,
            ops=ops,
            tensorboard=tensorboard,
            name=name,
            runs=runs,
            execution=execution,
        )
    common.print_result(run) if json else print_run(run)


def print_run(run: "Run") -> None:
    """Prints the result for people."""
    from nas.run.results import TrainResult
    from nas.run.spec import TrainSpec

    if run.spec(TrainSpec).seeds:
        common.print_outcome(run)
    else:
        result = run.result(TrainResult)
        accuracy = f"{result.test_accuracy:.2%}"
        print(f"test accuracy {accuracy}, {result.params:,} parameters, {result.madds / 1e6:.1f}M MAdds")
    print(f"run  {run.path}")
