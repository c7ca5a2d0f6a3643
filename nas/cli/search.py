"""nas search"""

from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli import common
from nas.settings import SearchSettings


@common.with_settings(SearchSettings)
def search(
    preset: Annotated[str | None, typer.Option(help="paper or quick (two CPU cores, minutes).")] = None,
    seeds: common.Seeds = None,
    final_channels: Annotated[int | None, typer.Option(min=2, help="Channels of the network to retrain.")] = None,
    final_cells: Annotated[int | None, typer.Option(min=1, help="Cells of the network to retrain.")] = None,
    settings_file: common.SettingsFile = None,
    resume: Annotated[str | None, typer.Option(help="Go on with an interrupted run.")] = None,
    ops: common.Ops = None,
    tensorboard: common.TensorBoard = False,
    runs: common.Runs = None,
    data_root: common.DataRoot = None,
    device: common.Device = None,
    threads: common.Threads = None,
    json: common.Json = False,
    **values: Any,
) -> None:
    """Search a cell by gradient: nas search --space darts+sandglass."""
    from nas.commands import searching
    from nas.settings import resolve_search

    execution = common.execution(device, threads, data_root)
    if resume:
        names = ("preset", "seeds", "final_channels", "final_cells", "settings_file", "threads", "tensorboard")
        given = (preset, seeds, final_channels, final_cells, settings_file, threads, tensorboard or None)
        others = {**values, **dict(zip(names, given, strict=True))}
        run = common.resume("search", resume, others, runs, execution, ops)
    else:
        preset = preset or "paper"
        settings = resolve_search(preset, common.read_settings(settings_file), values)
        final = searching.Final(final_channels, final_cells)
        chosen = common.parse_seeds(seeds)
        run = searching.search(
            settings,
            preset=preset,
            seeds=chosen,
            final=final,
            ops=ops,
            tensorboard=tensorboard,
            runs=runs,
            execution=execution,
        )
    common.print_json({"run": str(run.path), **run.result}) if json else tell(run.path, run.result)


def tell(path: Path, result: dict[str, Any]) -> None:
    """The result, for people."""
    for entry in result.get("ranking", []):
        accuracy = f"{entry['valid_accuracy']:.1%}"
        print(
            f"seed {entry['seed']}: {accuracy} held-out accuracy after a short training, {entry['params']:,} parameters"
        )
    if "params" in result:
        print(
            f"supernet {result['valid_accuracy']:.1%} on held-out images; the cell's network: "
            f"{result['params']:,} parameters, {result['madds'] / 1e6:.1f}M MAdds"
        )
    print(f"run      {path}\npicture  {path / 'cells.svg'}\nretrain  nas retrain {path}")
