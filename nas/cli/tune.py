"""nas tune"""

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import common
from nas.cli.common import WHERE
from nas.presets import TRAIN_PRESETS
from nas.settings import LONG, RARE, WHAT, TrainSettings, TuneSettings

if TYPE_CHECKING:
    from nas.knobs import Value

Spaces = Annotated[
    list[str] | None,
    typer.Option(help="A macro space (mobilenext, hbonet, …); several are compared.", rich_help_panel=WHAT),
]
Budgets = Annotated[
    list[str] | None,
    typer.Option(help="Multiply-adds, such as 20M; may be given several times.", rich_help_panel=WHAT),
]
Genotype = Annotated[
    str | None,
    typer.Option(help="Tune the cell of this run (or genotype file) instead.", rich_help_panel=WHAT),
]
Fixed = Annotated[
    list[str] | None,
    typer.Option("--set", help="Fix a knob: expansion=6. May be given several times.", rich_help_panel=WHAT),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--tune", help="Leave this knob free, and no other but those named.", rich_help_panel=WHAT),
]
Preset = Annotated[str | None, typer.Option(help="Recipe of each training: paper or quick.", rich_help_panel=LONG)]
Table = Annotated[
    Path | None,
    typer.Option(help="Latency by this table of a device (nas latency import).", rich_help_panel=WHAT),
]
Parallel = Annotated[
    int | None,
    typer.Option(min=1, help="Trials at once (usual: 1; on a cluster all it holds).", rich_help_panel=WHERE),
]
Gpus = Annotated[
    float | None,
    typer.Option(min=0, max=8, help="With --cluster: share of a GPU that a trial takes.", rich_help_panel=RARE),
]


@common.with_settings(TuneSettings)
@common.with_settings(TrainSettings, whose="paper", quick=TRAIN_PRESETS["quick"])
def tune(
    context: typer.Context,
    space: Spaces = None,
    budget: Budgets = None,
    genotype: Genotype = None,
    fixed: Fixed = None,
    only: Only = None,
    seeds: common.Seeds = None,
    latency_table: Table = None,
    preset: Preset = None,
    settings_file: common.SettingsFile = None,
    resume: common.Resume = None,
    name: common.Name = None,
    runs: common.Runs = None,
    data_root: common.DataRoot = None,
    device: common.Device = None,
    threads: common.Threads = None,
    backend: common.Backend = None,
    parallel: Parallel = None,
    cluster: common.Cluster = None,
    gpus: Gpus = None,
    json: common.Json = False,
    **values: Any,
) -> None:
    """Tune a family under MAdd budgets: nas tune --space mobilenext --budget 20M --trials 60."""
    from dataclasses import fields

    from nas.cli.tune_output import print_run
    from nas.commands import tuning
    from nas.presets import resolve
    from nas.settings import make

    execution = common.execution(device, threads, data_root, cluster, backend=backend)
    if resume:
        run = common.resume(context, resume, runs, execution, None)
    else:
        own = {field.name: value for field in fields(TuneSettings) if (value := values.pop(field.name)) is not None}
        run = tuning.tune(
            make(TuneSettings, own),
            resolve(TrainSettings, TRAIN_PRESETS, preset or "paper", common.read_settings(settings_file), values),
            spaces=space or [],
            genotype=genotype,
            budgets=budget or [],
            preset=preset or "paper",
            fixed=dict(parse_knob(text) for text in fixed or []),
            only=only or [],
            seeds=common.parse_seeds(seeds),
            latency_table=latency_table,
            parallel=parallel,
            gpus=gpus,
            name=name,
            runs=runs,
            execution=execution,
        )
    common.print_result(run) if json else print_run(run)


def parse_knob(text: str) -> "tuple[str, Value]":
    """``expansion=6`` as a name and a value: a number, true or false, whole numbers in brackets, or text.

    Raises:
        UsageError: not of that form.
    """
    from nas.errors import UsageError

    name, _, written = text.partition("=")
    try:
        value = json_format.loads(written)
    except (ValueError, RecursionError):  # no JSON, more digits than Python reads, too many brackets
        value = written
    numbers = value if isinstance(value, list) else [0]
    if (
        not name
        or not isinstance(value, str | int | float | list)
        or value == ""
        or not all(type(n) is int for n in numbers)
    ):
        raise UsageError(f'--set "{text}": it must be a knob and a value, such as expansion=6')
    return name, value
