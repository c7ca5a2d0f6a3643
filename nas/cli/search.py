"""nas search"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import common
from nas.presets import SEARCH_PRESETS
from nas.settings import LONG, RARE, SearchSettings

if TYPE_CHECKING:
    from nas.run.folder import Run

FinalChannels = Annotated[
    int | None, typer.Option(min=2, help="Channels of the network to retrain.", rich_help_panel=RARE)
]
FinalCells = Annotated[int | None, typer.Option(min=1, help="Cells of the network to retrain.", rich_help_panel=RARE)]
Preset = Annotated[
    str | None,
    typer.Option(
        help="paper or quick (two CPU cores, minutes).",
        rich_help_panel=LONG,
        autocompletion=lambda: list(SEARCH_PRESETS),
    ),
]


@common.with_settings(SearchSettings, whose="paper", quick=SEARCH_PRESETS["quick"])
def search(
    context: typer.Context,
    preset: Preset = None,
    seeds: common.Seeds = None,
    final_channels: FinalChannels = None,
    final_cells: FinalCells = None,
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
    """Search a cell by gradient: nas search --space darts+sandglass."""
    from nas.cluster.storage import storage_of
    from nas.commands import searching
    from nas.presets import resolve_search

    runs, url = storage_of(runs, cluster, workers, storage)
    execution = common.execution(device, threads, data_root, cluster, workers, url, backend)
    if resume:
        run = common.resume(context, resume, runs, execution, ops)
    else:
        preset = preset or "paper"
        run = searching.search(
            resolve_search(preset, common.read_settings(settings_file), values),
            preset=preset,
            seeds=common.parse_seeds(seeds),
            final_channels=final_channels,
            final_cells=final_cells,
            ops=ops,
            tensorboard=tensorboard,
            name=name,
            runs=runs,
            execution=execution,
        )
    common.print_result(run) if json else print_run(run)


def print_run(run: "Run") -> None:
    """Prints the result for people."""
    from nas.bilevel import sentinel
    from nas.commands import chance
    from nas.run.hints import on
    from nas.run.names import PICTURE
    from nas.run.results import SearchRanking, SearchResult
    from nas.run.spec import SearchSpec

    if run.spec(SearchSpec).seeds:
        for rank in run.result(SearchRanking).ranking:
            accuracy = f"{rank.valid_accuracy:.1%} held-out accuracy after a short training"
            print(f"seed {rank.seed}: {accuracy}, {rank.params:,} parameters")
    else:
        result = run.result(SearchResult)
        print(
            f"supernet {result.valid_accuracy:.1%} on held-out images; the cell's network: "
            f"{result.params:,} parameters, {result.madds / 1e6:.1f}M MAdds"
        )
        for alarm in result.alarms:
            print(sentinel.sentence(alarm))
        if result.chance:
            print(chance.sentence(result.chance))
    print(f"run      {run.path}\npicture  {run.path / PICTURE}\nretrain  {on(run, 'retrain', run.path)}")
