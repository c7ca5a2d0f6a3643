"""nas cost"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import common
from nas.macro.settings import MacroSettings

if TYPE_CHECKING:
    from nas.architecture import Architecture

Target = Annotated[str | None, typer.Argument(metavar="RUN|ARCHITECTURE|GENOTYPE", help="A run or a file of one.")]
Space = Annotated[str | None, typer.Option(help="A macro network or space: mobilenext, hbonet, asymmnet, …")]
Resolution = Annotated[str | None, typer.Option(help="Side in pixels, or HEIGHTxWIDTH (macro: 224).")]
Classes = Annotated[int | None, typer.Option(min=2, help="Number of classes (macro: 1000).")]
Stem = Annotated[str | None, typer.Option(help="imagenet, or cifar for small images (macro: imagenet).")]
List = Annotated[bool, typer.Option("--list", help="The papers' published rows beside their true costs.")]
Timed = Annotated[bool, typer.Option("--latency", help="Measure milliseconds on this machine as well.")]
Batch = Annotated[int, typer.Option(min=1, help="Images at once, for --latency.")]
Save = Annotated[Path | None, typer.Option(help="Write the architecture to this file.")]


@common.with_settings(MacroSettings, without=("steps",))
def cost(
    target: Target = None,
    space: Space = None,
    resolution: Resolution = None,
    classes: Classes = None,
    stem: Stem = None,
    list_: List = False,
    latency: Timed = False,
    batch: Batch = 1,
    threads: common.Threads = None,
    save: Save = None,
    runs: common.Runs = None,
    json: common.Json = False,
    **settings: Any,
) -> None:
    """Count what a network costs: parameters, multiply-adds, memory; --identity 1,1/2 compares several."""
    from nas.cli import cost_output as output
    from nas.errors import UsageError

    given = {name: value for name, value in settings.items() if value is not None}
    if list_:
        output.print_published(json)
        return
    shape = _shape(resolution)
    if (target is None) == (space is None):
        raise UsageError("cost of what? name a run or file, or a network with --space, or ask for --list")
    if target is not None:
        if given or stem or classes:
            name = next(iter(given), "stem" if stem else "classes")
            raise UsageError(f"--{name}: it belongs to --space; {target} has its own")
        networks = {target: _of_target(target, runs, shape)}
    else:
        assert space is not None
        networks = _of_space(space, given, shape or (224, 224), classes or 1000, stem or "imagenet")
    if save is not None:
        _save(save, networks)
    costs = {name: _count(network, resolution) for name, network in networks.items()}
    timed = output.latencies(networks, batch, threads) if latency else {}
    output.print_costs(networks, costs, timed, json)


def _shape(resolution: str | None) -> tuple[int, int] | None:
    from nas.errors import UsageError

    if resolution is None:
        return None
    sides = resolution.lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(side.isdecimal() and 8 <= int(side) <= 4096 for side in sides):
        raise UsageError(f'--resolution "{resolution}": it must be a side from 8 to 4096 pixels, or HEIGHTxWIDTH')
    return int(sides[0]), int(sides[-1])


def _of_target(target: str, runs: Path | None, shape: tuple[int, int] | None) -> "Architecture":
    from dataclasses import replace

    from nas.commands.targets import architecture_of

    architecture = architecture_of(target, runs)
    return replace(architecture, input=(architecture.input[0], *shape)) if shape else architecture


def _of_space(
    space: str, given: dict[str, Any], shape: tuple[int, int], classes: int, stem: str
) -> "dict[str, Architecture]":
    from nas.architecture import from_json
    from nas.macro.families import FAMILIES
    from nas.macro.networks import document
    from nas.macro.space import load

    fixed: dict[str, Any] = {}
    network = space
    if space not in FAMILIES:
        found = load(space)
        network, fixed = found.network, dict(found.settings)
    networks = {}
    for identity in str(given.get("identity", "1")).split(","):
        settings = {**fixed, **given, **({"identity": identity} if "identity" in given else {})}
        made = document(network, settings, input=(3, *shape), classes=classes, stem=stem)
        networks[_name(space, settings)] = from_json(made)
    return networks


def _name(space: str, settings: dict[str, Any]) -> str:
    return " ".join([space, *(f"{name}={value}" for name, value in settings.items())])


def _save(path: Path, networks: "dict[str, Architecture]") -> None:
    from nas.errors import UsageError
    from nas.files import write_json

    if len(networks) > 1:
        raise UsageError(f"--save {path}: one file holds one network, but {len(networks)} are asked for")
    write_json(path, next(iter(networks.values())).document())


def _count(architecture: "Architecture", resolution: str | None) -> Any:
    from nas.costs.count import count
    from nas.errors import UsageError

    try:
        return count(architecture.build_meta(), architecture.input)
    except ValueError as error:
        raise UsageError(f"--resolution {resolution or architecture.input[1]}: {error}") from None
