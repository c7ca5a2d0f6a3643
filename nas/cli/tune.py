"""nas tune"""

import json as json_format
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import common
from nas.settings import TrainSettings, TuneSettings

if TYPE_CHECKING:
    from nas.run.folder import Run

Spaces = Annotated[list[str] | None, typer.Option(help="A macro space (mobilenext, hbonet, …); several are compared.")]
BudgetOption = Annotated[list[str] | None, typer.Option(help="Multiply-adds, such as 20M; may be given several times.")]
Found = Annotated[str | None, typer.Option(help="Tune the found cell of this run (or genotype file) instead.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Fix a knob: expansion=6. May be given several times.")]
Only = Annotated[list[str] | None, typer.Option("--tune", help="Leave this knob free, and no other but those named.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Trials at once (usual: 1; ray: what the cluster holds).")]
Cluster = Annotated[str | None, typer.Option(help="With --engine ray: local, or the address of a Ray cluster.")]
Gpus = Annotated[float | None, typer.Option(min=0, max=8, help="With --engine ray: share of a GPU a trial takes.")]


@common.with_settings(TuneSettings)
@common.with_settings(TrainSettings)
def tune(
    space: Spaces = None,
    budget: BudgetOption = None,
    genotype: Found = None,
    set_: Set = None,
    only: Only = None,
    seeds: common.Seeds = None,
    preset: Annotated[str | None, typer.Option(help="Recipe of each training: paper or quick.")] = None,
    engine: Annotated[str | None, typer.Option(help="optuna (this machine) or ray (one or many).")] = None,
    workers: Workers = None,
    cluster: Cluster = None,
    gpus: Gpus = None,
    settings_file: common.SettingsFile = None,
    resume: Annotated[str | None, typer.Option(help="Go on with an interrupted run.")] = None,
    runs: common.Runs = None,
    data_root: common.DataRoot = None,
    device: common.Device = None,
    threads: common.Threads = None,
    json: common.Json = False,
    **values: Any,
) -> None:
    """Tune a family under MAdd budgets: nas tune --space mobilenext --budget 20M --trials 60."""
    from dataclasses import fields

    from nas.cli.tune_output import tell
    from nas.commands import carry, tuning
    from nas.settings import TRAIN_PRESETS, make, resolve

    execution = common.execution(device, threads, data_root)
    if resume:
        names = ("space", "budget", "genotype", "set", "tune", "seeds", "preset", "engine", "workers", "gpus")
        given = (space, budget, genotype, set_, only, seeds, preset, engine, workers, gpus)
        others = {**values, **dict(zip(names, given, strict=True)), "settings": settings_file, "threads": threads}
        run = common.to_resume("tune", resume, others, runs)
        if cluster and not run.finished:
            move(run, cluster)
        carry.resume(run, execution)
    else:
        own = [field.name for field in fields(TuneSettings)]
        settings = {name: value for name, value in values.items() if name not in own}
        knobs = {name: values[name] for name in own if values[name] is not None}
        run = tuning.tune(
            make(TuneSettings, knobs),
            resolve(TrainSettings, TRAIN_PRESETS, preset or "paper", common.read_settings(settings_file), settings),
            spaces=space or [],
            genotype=genotype,
            budgets=budget or [],
            fixed=dict(parse_set(text) for text in set_ or []),
            only=only or [],
            seeds=common.parse_seeds(seeds),
            engine={"name": engine or "optuna", "workers": workers, "cluster": cluster, "gpus": gpus},
            runs=runs,
            execution=execution,
        )
    common.print_json({"run": str(run.path), **run.result}) if json else tell(run.path, run.result)


def move(run: "Run", cluster: str) -> None:
    """Has an unfinished run go on on another Ray cluster."""
    engine = {**run.told["engine"], "name": "ray", "cluster": cluster}
    run.write("settings.json", {**run.told, "engine": engine})


def parse_set(text: str) -> tuple[str, Any]:
    """``expansion=6`` as a name and a value: a number, true or false, or text.

    Raises:
        UsageError: not of that form.
    """
    from nas.errors import UsageError

    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise UsageError(f'--set "{text}": it must be a knob and a value, such as expansion=6')
    try:
        return name, json_format.loads(value)
    except json_format.JSONDecodeError:
        return name, value
