"""Macro spaces: TOML files that name a network, settings that stay, and settings that a tuner draws."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import UsageError, nearest
from nas.macro.families import check, family
from nas.macro.settings import macro_settings
from nas.space import names, shipped


@dataclass(frozen=True)
class MacroSpace:
    """What a tuner chooses from.

    Args:
        name, about: the space's name, and a sentence.
        network: a family, see ``nas.macro.families.FAMILIES``.
        settings: what stays.
        search: per setting either ``{"low", "high", "step"}`` or a list of choices.
    """

    name: str
    about: str
    network: str
    settings: Mapping[str, Any]
    search: Mapping[str, Any]


RESOLUTION = "resolution"
"""The resolution multiplier (Howard et al., MobileNets, 2017, §3.4): the share of the images' side; no setting of a
network."""
KEYS = {"kind", "about", "network", "settings", "search"}


def load(text: str) -> MacroSpace:
    """The macro space called ``mobilenext``, or in ``path/to/space.toml``.

    Raises:
        UsageError: an unknown name, malformed TOML, an unknown key, a range that holds illegal settings.
    """
    path = Path(text) if text.endswith(".toml") else shipped() / f"{text}.toml"
    if not path.is_file():
        raise UsageError(f'unknown space "{text}": {nearest(text, names("macro"))}')
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"space {path}: malformed TOML: {error}") from None
    if document.get("kind") != "macro":
        raise UsageError(f'space {path}: kind = "{document.get("kind")}", but here a macro space must stand')
    if wrong := sorted(set(document) ^ KEYS):
        raise UsageError(f'space {path}: {"unknown" if wrong[0] in document else "missing"} key "{wrong[0]}"')
    if not all(isinstance(document[key], dict) for key in ("settings", "search")):
        raise UsageError(f"space {path}: settings and search must be tables")
    family(document["network"])
    for name, drawn in document["search"].items():
        for value in _ends(name, drawn, str(path)):
            if name == RESOLUTION:
                _share(value, str(path))
                continue
            _legal(document["network"], {**document["settings"], name: value}, str(path))
    return MacroSpace(path.stem, document["about"], document["network"], document["settings"], document["search"])


def _ends(name: str, drawn: Any, where: str) -> list[Any]:
    if isinstance(drawn, list) and drawn:
        return drawn
    if isinstance(drawn, dict) and set(drawn) == {"low", "high", "step"}:
        if not all(isinstance(value, int | float) for value in drawn.values()) or not drawn["low"] <= drawn["high"]:
            raise UsageError(f"space {where}: {name}: low must not be above high, and all three are numbers")
        return [drawn["low"], drawn["high"]]
    raise UsageError(f"space {where}: {name} must be a list of choices, or {{ low = …, high = …, step = … }}")


def _share(value: Any, where: str) -> None:
    if not isinstance(value, int | float) or not 0 < value <= 1:
        raise UsageError(
            f"space {where}: resolution = {value!r}: it is a share of the images' side, above 0, at most 1"
        )


def _legal(network: str, values: Mapping[str, Any], where: str) -> None:
    check(network, macro_settings(values, f"space {where}"))
