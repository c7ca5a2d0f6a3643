"""What a retraining goes on with where its user says nothing: data, input and recipe that its networks come with."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nas import data
from nas.commands.pretrained import Pretrained
from nas.commands.retraining import Target, retrain
from nas.errors import UsageError
from nas.execution import Execution
from nas.presets import TRAIN_PRESETS, resolve
from nas.run.folder import Run
from nas.run.hints import near
from nas.run.spec import Origin, absolute
from nas.settings import TrainSettings

OF_DATA = ("data", "image_size", "limit")
"""Settings that mean nothing on other data."""


@dataclass(frozen=True)
class Training:
    """A training as it will be.

    Args:
        preset: the recipe's name.
        notes: lines for the user: what is inherited; what networks cost where they were counted, and here.
    """

    settings: TrainSettings
    preset: str
    execution: Execution
    notes: tuple[str, ...] = ()


def training_of(
    targets: Sequence[Target], given: Mapping[str, Any], preset: str | None, execution: Execution
) -> Training:
    """The training of these networks.

    Args:
        given: what the user says of settings; None means nothing.
        preset: the user's; None: as the networks come with it.

    Raises:
        UsageError: settings that cannot be; networks that come with unlike data or recipes, or that were counted at
            another input than they would get, where the user does not choose.
    """
    given = {name: value for name, value in given.items() if value is not None}
    origin = common_origin(targets, "data" in given, preset is not None)
    same_data = origin is not None and absolute(given.get("data", origin.data)) == origin.data
    recipe = asdict(origin.settings) if origin and origin.settings and preset is None else {}
    inherited = {name: value for name, value in recipe.items() if name != "seed" and (same_data or name not in OF_DATA)}
    inherited |= {"data": near(origin.data), "image_size": origin.image_size} if origin and same_data else {}
    preset = preset or (origin.preset if origin else "") or "paper"
    settings = resolve(TrainSettings, TRAIN_PRESETS, preset, inherited, given)
    if same_data and (spec := targets[0].spec):
        execution = replace(execution, data_root=execution.data_root or spec.execution.data_root)
    if "image_size" not in given and same_data:
        settings = at_input(targets, settings, execution)
    notes = [f"as {near(targets[0].source)}: {described(settings, preset)}"] if inherited else []
    chosen = bool({"data", "image_size"} & set(given))
    return Training(settings, preset, execution, (*notes, *other_inputs(targets, settings, execution, chosen)))


def train(
    targets: Sequence[Target],
    given: Mapping[str, Any],
    preset: str | None,
    *,
    init: Pretrained | None = None,
    execution: Execution,
    **rest: Any,
) -> Run:
    """A run of :func:`nas.commands.retraining.retrain` by what networks come with and what is ``given``; says which.

    Args:
        targets: none: the network that the weights ``init`` are of.
        rest: as of that function.

    Raises:
        UsageError, Interrupted: as :func:`training_of` and that function.
    """
    if not targets and init:
        targets = [Target(init.architecture, init.where, ops=init.ops)]
    training = training_of(targets, given, preset, execution)
    for note in training.notes:
        print(note, file=sys.stderr, flush=True)
    return retrain(targets, training.settings, preset=training.preset, init=init, execution=training.execution, **rest)


def common_origin(targets: Sequence[Target], data_given: bool, preset_given: bool) -> Origin | None:
    """What the networks come with, those that come with anything.

    Raises:
        UsageError: it is not the same for all in what is not given.
    """
    origins = {target.source: target.architecture.origin for target in targets if target.architecture.origin}
    kinds: dict[Any, str] = {}
    for source, origin in origins.items():
        recipe = origin.preset, origin.settings and replace(origin.settings, data="", image_size=None)
        kinds.setdefault(("" if data_given else origin.data, None if preset_given else recipe), source)
    if len(kinds) > 1:
        sources = " and ".join(map(near, list(kinds.values())[:2]))
        raise UsageError(f"{sources} do not come with the same data and recipe: choose with --data and --preset")
    return next(iter(origins.values()), None)


def at_input(targets: Sequence[Target], settings: TrainSettings, execution: Execution) -> TrainSettings:
    """The settings with images as small as those for which the networks were counted."""
    sides = {side for target in targets if target.sized for side in target.architecture.input[1:]}
    if len(sides) != 1 or max(sides) >= shape_of(settings, execution)[1]:
        return settings
    return replace(settings, image_size=sides.pop())


def shape_of(settings: TrainSettings, execution: Execution) -> tuple[int, int, int]:
    """(3, height, width) of the data's images."""
    return data.load(settings.data, root=execution.data_root, image_size=settings.image_size).shape


def other_inputs(targets: Sequence[Target], settings: TrainSettings, execution: Execution, chosen: bool) -> list[str]:
    """A line for each network that was counted at another input than it gets.

    Raises:
        UsageError: it was not ``chosen``.
    """
    sized = [target for target in targets if target.sized]
    shape = shape_of(settings, execution) if sized else (0, 0, 0)
    lines = []
    for target in sized:
        network = target.architecture
        if network.input == shape:
            continue
        before, after = network.madds(), network.fitted(shape, network.classes).madds()
        line = f"{near(target.source)}: counted at {pixels(network.input)}, {before / 1e6:.2f}M MAdds"
        here = f"at {pixels(shape)} of {settings.data}, {after / 1e6:.2f}M"
        if not chosen:
            raise UsageError(f"{line}; {here}: choose with --data {settings.data} or --image-size")
        lines.append(f"{line}; trained {here}")
    return lines


def pixels(shape: tuple[int, int, int]) -> str:
    """32×32"""
    return "×".join(map(str, shape[1:]))


def described(settings: TrainSettings, preset: str) -> str:
    """Data, image size and recipe in a few words."""
    usual = asdict(resolve(TrainSettings, TRAIN_PRESETS, preset))
    names = [name for name, value in asdict(settings).items() if value != usual[name]]
    other = [f"{name} {getattr(settings, name)}" for name in names if name not in ("data", "seed", "image_size")]
    size = f" at {settings.image_size} pixels" if settings.image_size else ""
    return f"data {settings.data}{size}, recipe {' with '.join([preset, *filter(None, [', '.join(other)])])}"
