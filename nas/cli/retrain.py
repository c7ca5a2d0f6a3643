"""nas retrain"""

from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli import common
from nas.settings import TrainSettings


@common.with_settings(TrainSettings)
def retrain(
    target: Annotated[str | None, typer.Argument(help="A run (path, name or last), genotype or architecture.")] = None,
    preset: Annotated[str | None, typer.Option(help="Recipe: paper or quick.")] = None,
    seeds: common.Seeds = None,
    channels: Annotated[int | None, typer.Option(min=2, max=4096, help="Channels C, instead of its own.")] = None,
    cells: Annotated[int | None, typer.Option(min=1, max=200, help="Cells L, instead of its own.")] = None,
    settings_file: common.SettingsFile = None,
    resume: Annotated[str | None, typer.Option(help="Go on with an interrupted run.")] = None,
    ops: common.Ops = None,
    runs: common.Runs = None,
    data_root: common.DataRoot = None,
    device: common.Device = None,
    threads: common.Threads = None,
    cluster: Annotated[str | None, typer.Option(help="Train on a Ray cluster: local, or an address.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Cluster workers that share each training.")] = None,
    storage: Annotated[str | None, typer.Option(help="Where a cluster keeps runs: a shared folder or a URL.")] = None,
    json: common.Json = False,
    **values: Any,
) -> None:
    """Train a found cell's network (or any architecture) from scratch and test it once."""
    from nas import api
    from nas.errors import UsageError
    from nas.settings import TRAIN_PRESETS, resolve

    runs, url = on_cluster(runs, cluster, workers, storage)
    execution = common.execution(device, threads, data_root, cluster=cluster or "", workers=workers, storage=url)
    if resume:
        names = ("target", "preset", "seeds", "channels", "cells", "settings_file", "threads", "storage")
        given = (target, preset, seeds, channels, cells, settings_file, threads, storage)
        run = common.resume(resume, {**values, **dict(zip(names, given, strict=True))}, runs, execution, ops)
    elif target is None:
        raise UsageError("nas retrain needs a run, a genotype or an architecture (or --resume RUN)")
    else:
        preset = preset or "paper"
        settings = resolve(TrainSettings, TRAIN_PRESETS, preset, common.read_settings(settings_file), values)
        if ops:
            from nas.plugins import register

            register(ops)
        architecture = api.architecture_of(target, runs, preset).changed(channels=channels, cells=cells)
        chosen = common.parse_seeds(seeds)
        run = api.retrain(
            architecture,
            settings,
            source=target,
            preset=preset,
            seeds=chosen,
            ops=ops,
            runs=runs,
            execution=execution,
        )
    common.print_json({"run": str(run.path), **run.result}) if json else tell(str(run.path), run.result)


def on_cluster(
    runs: Path | None, cluster: str | None, workers: int | None, storage: str | None
) -> tuple[Path | None, str]:
    """(folder of run folders, URL of the object store or nothing): ``--storage`` is one or the other.

    Raises:
        UsageError: options that only a cluster can honour, or two folders.
    """
    from nas.errors import UsageError
    from nas.train.storage import is_url

    if not cluster and (workers or storage):
        raise UsageError(f"--{'workers' if workers else 'storage'} needs --cluster local, or a cluster's address")
    if not storage or is_url(storage):
        return runs, storage or ""
    if runs:
        raise UsageError(f"--storage {storage} is the folder of run folders: --runs cannot be given with it")
    return Path(storage), ""


def tell(path: str, result: dict[str, Any]) -> None:
    """The result, for people."""
    accuracy = f"{result['test_accuracy']:.2%}"
    if result.get("n", 1) > 1:
        accuracy += (
            f" ± {result['test_accuracy_deviation']:.2%} (deviation over {result['n']} {result['deviation_is_over']})"
        )
    print(f"test accuracy {accuracy}, {result['params']:,} parameters, {result['madds'] / 1e6:.1f}M MAdds")
    print(f"run  {path}")
