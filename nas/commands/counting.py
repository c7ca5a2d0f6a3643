"""Networks whose costs are asked for: of a run or a file, or a macro network at given settings."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.architecture import Architecture, from_json
from nas.commands.targets import architecture_of
from nas.costs.count import Cost, count
from nas.errors import UsageError
from nas.files import write_json
from nas.macro.families import FAMILIES
from nas.macro.mobilenext import remark
from nas.macro.networks import document
from nas.macro.settings import macro_settings
from nas.macro.space import load

RESOLUTION, CLASSES, STEM = (224, 224), 1000, "imagenet"
"""What a macro network is counted at where nothing else is said."""


def network_of(
    target: str, runs: Path | None, resolution: tuple[int, int] | None, ops: Path | None = None
) -> Architecture:
    """The network of a run or a file; ``resolution`` is (height, width) instead of its own."""
    architecture = architecture_of(target, runs, ops=ops)
    return replace(architecture, input=(architecture.input[0], *resolution)) if resolution else architecture


def networks_of_space(
    space: str, settings: Mapping[str, Any], resolution: tuple[int, int], classes: int, stem: str
) -> dict[str, Architecture]:
    """A macro network or space at these settings, by name; several where ``identity`` lists several.

    Raises:
        UsageError: an unknown name or setting, a value out of range.
    """
    network, fixed = space, dict[str, Any]()
    if space not in FAMILIES:
        macro = load(space)
        network, fixed = macro.network, dict(macro.settings)
    networks = {}
    for identity in str(settings.get("identity", "1")).split(","):
        own = {**fixed, **settings, **({"identity": identity} if "identity" in settings else {})}
        name = " ".join([space, *(f"{setting}={value}" for setting, value in own.items())])
        networks[name] = from_json(document(network, own, input=(3, *resolution), classes=classes, stem=stem))
    return networks


def cost_of(architecture: Architecture) -> Cost:
    """What one image of its input costs; warns where the published code would make another network of its settings.

    Raises:
        UsageError: an input that the network cannot take.
    """
    ours = architecture.body.get("network") == "mobilenext"
    if ours and (text := remark(macro_settings(architecture.body["settings"]))):
        warnings.warn(text, stacklevel=2)
    try:
        return count(architecture.build_meta(), architecture.input)
    except ValueError as error:
        raise UsageError(f"--resolution {architecture.input[1]}: {error}") from None


def save(path: Path, networks: Mapping[str, Architecture]) -> None:
    """Writes the one network's architecture file.

    Raises:
        UsageError: there are several, or the file cannot be written.
    """
    if len(networks) > 1:
        raise UsageError(f"--save {path}: one file holds one network, but {len(networks)} are asked for")
    write_json(path, next(iter(networks.values())).document())
