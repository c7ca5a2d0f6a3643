"""nas retrain"""

from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli import common
from nas.settings import TRAIN_PRESETS, TrainSettings


@common.with_settings(TrainSettings)
def retrain(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Runs (path, name or last), genotypes or architectures.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help=f"Recipe: {', '.join(TRAIN_PRESETS)}.")] = None,
    seeds: common.Seeds = None,
    init: Annotated[str | None, typer.Option(help="Start from the trained weights of this run.")] = None,
    best: Annotated[int | None, typer.Option(min=1, help="The K best cells of each search of several seeds.")] = None,
    channels: Annotated[int | None, typer.Option(min=2, max=4096, help="Channels C, instead of its own.")] = None,
    cells: Annotated[int | None, typer.Option(min=1, max=200, help="Cells L, instead of its own.")] = None,
    settings_file: common.SettingsFile = None,
    resume: Annotated[str | None, typer.Option(help="Go on with an interrupted run.")] = None,
    ops: common.Ops = None,
    tensorboard: common.TensorBoard = False,
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
    """Train found cells' networks (or any architectures) and test each once: nas retrain RUN --seeds 0,1,2."""
    from nas.commands import retraining
    from nas.errors import UsageError
    from nas.run.folder import find, runs_root
    from nas.settings import resolve

    runs, url = on_cluster(runs, cluster, workers, storage)
    execution = common.execution(device, threads, data_root, cluster=cluster or "", workers=workers, storage=url)
    if resume:
        given = {
            "targets": targets or None,
            "preset": preset,
            "seeds": seeds,
            "init": init,
            "best": best,
            "channels": channels,
            "cells": cells,
            "settings_file": settings_file,
            "threads": threads,
            "tensorboard": tensorboard or None,
            "storage": storage,
        }
        run = common.resume("retrain", resume, {**values, **given}, runs, execution, ops)
    elif not targets:
        raise UsageError("nas retrain needs a run, a genotype or an architecture (or --resume RUN)")
    else:
        preset = preset or "paper"
        settings = resolve(TrainSettings, TRAIN_PRESETS, preset, common.read_settings(settings_file), values)
        if ops:
            from nas.plugins import register

            register(ops)
        networks = [
            retraining.Candidate(each.architecture.changed(channels=channels, cells=cells), each.source)
            for each in retraining.candidates(targets, runs, preset, best)
        ]
        run = retraining.retrain(
            networks,
            settings,
            preset=preset,
            seeds=common.parse_seeds(seeds),
            init=find(init, runs_root(runs)) if init else None,
            ops=ops,
            tensorboard=tensorboard,
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
    from nas.cluster.storage import is_url
    from nas.errors import UsageError

    if not cluster and (workers or storage):
        raise UsageError(f"--{'workers' if workers else 'storage'} needs --cluster local, or a cluster's address")
    if not storage or is_url(storage):
        return runs, storage or ""
    if runs:
        raise UsageError(f"--storage {storage} is the folder of run folders: --runs cannot be given with it")
    return Path(storage), ""


def tell(path: str, result: dict[str, Any]) -> None:
    """The result, for people."""
    if "networks" in result:
        common.print_networks(result)
    else:
        accuracy = f"{result['test_accuracy']:.2%}"
        print(f"test accuracy {accuracy}, {result['params']:,} parameters, {result['madds'] / 1e6:.1f}M MAdds")
    print(f"run  {path}")
