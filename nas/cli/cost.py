"""nas cost"""

from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli import common
from nas.errors import UsageError
from nas.macro.settings import MacroSettings
from nas.settings import RARE, WHAT

Target = Annotated[str | None, typer.Argument(metavar="RUN|ARCHITECTURE|GENOTYPE", help="A run or a file of one.")]
Space = Annotated[
    str | None,
    typer.Option(help="A macro network or space: mobilenext, hbonet, asymmnet, …", rich_help_panel=WHAT),
]
Resolution = Annotated[
    str | None, typer.Option(help="Side in pixels, or HEIGHTxWIDTH (macro: 224).", rich_help_panel=WHAT)
]
Classes = Annotated[int | None, typer.Option(min=2, help="Number of classes (macro: 1000).", rich_help_panel=WHAT)]
Stem = Annotated[
    str | None,
    typer.Option(help="imagenet, or cifar for small images (macro: imagenet).", rich_help_panel=WHAT),
]
List = Annotated[
    bool,
    typer.Option("--list", help="The papers' published rows beside their true costs.", rich_help_panel=WHAT),
]
Timed = Annotated[
    bool, typer.Option("--latency", help="Measure milliseconds on this machine as well.", rich_help_panel=WHAT)
]
Table = Annotated[
    Path | None,
    typer.Option("--latency-table", help="Predict milliseconds by this table of a device.", rich_help_panel=WHAT),
]
Batch = Annotated[int, typer.Option(min=1, help="Images at once, for --latency.", rich_help_panel=RARE)]
Save = Annotated[Path | None, typer.Option(help="Write the architecture to this file.", rich_help_panel=WHAT)]


@common.with_settings(MacroSettings, without=("steps",), whose="published")
def cost(
    target: Target = None,
    space: Space = None,
    resolution: Resolution = None,
    classes: Classes = None,
    stem: Stem = None,
    list_: List = False,
    latency: Timed = False,
    latency_table: Table = None,
    batch: Batch = 1,
    threads: common.Threads = None,
    save: Save = None,
    ops: common.Ops = None,
    runs: common.Runs = None,
    to: common.To = None,
    json: common.Json = False,
    **settings: Any,
) -> None:
    """Count what a network costs: parameters, multiply-adds, memory; --identity 1,1/2 compares several."""
    from nas.cli import cost_output as output
    from nas.commands import counting
    from nas.latency.table import LatencyTable
    from nas.run.documents import read

    given = {name: value for name, value in settings.items() if value is not None}
    if list_:
        if target or space or given:
            raise UsageError("--list prints the papers' rows alone: name no network beside it")
        output.print_published(json, to)
        return
    if to and (latency or latency_table):
        raise UsageError(f"--to {to} writes costs without milliseconds: leave out --latency, or take --json")
    shape = _shape(resolution)
    if target is not None and space is not None:
        raise UsageError(f"cost of what? {target} and --space {space} are both named")
    if target is None and space is None:
        raise UsageError("cost of what? name a run or file, or a network with --space, or ask for --list")
    if target is not None:
        if given or stem or classes:
            name = next(iter(given), "stem" if stem else "classes")
            raise UsageError(f"--{name}: it belongs to --space; {target} has its own")
        networks = {target: counting.network_of(target, runs, shape, ops)}
    else:
        where = (shape or counting.RESOLUTION, classes or counting.CLASSES, stem or counting.STEM)
        networks = counting.networks_of_space(space or "", given, *where)
    if save is not None:
        counting.save(save, networks)
    costs = {name: counting.cost_of(network) for name, network in networks.items()}
    timed = output.latencies(networks, batch, threads) if latency else {}
    predicting = read(latency_table, LatencyTable) if latency_table else None
    output.print_costs(networks, costs, timed, predicting, json, to)


def _shape(resolution: str | None) -> tuple[int, int] | None:
    """(Height, width) of ``192`` or ``160x192``."""
    if resolution is None:
        return None
    sides = resolution.lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(side.isdecimal() and 8 <= int(side) <= 4096 for side in sides):
        raise UsageError(f'--resolution "{resolution}": it must be a side from 8 to 4096 pixels, or HEIGHTxWIDTH')
    return int(sides[0]), int(sides[-1])
