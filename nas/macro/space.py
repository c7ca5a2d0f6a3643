"""Macro spaces: TOML files that name a network, settings that stay, and knobs that a tuner turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import UsageError, nearest
from nas.files import parse_toml, read_text
from nas.knobs import RESOLUTION, Knob, Value, Values, numbers
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
        knobs: what is turned: settings of the family, or the images' resolution.
    """

    name: str
    about: str
    network: str
    settings: Values
    knobs: tuple[Knob, ...]


KEYS = {"kind", "about", "network", "settings", "search"}


MOST_LEVELS = 10_000
"""Of a knob, each of which becomes a value that is drawn; no space here has 100."""


def load(text: str) -> MacroSpace:
    """The macro space called ``mobilenext``, or in ``path/to/space.toml``.

    Raises:
        UsageError: an unknown name, malformed TOML, an unknown key, a range that holds illegal settings.
    """
    path = Path(text) if text.endswith(".toml") else shipped() / f"{text}.toml"
    if not path.is_file():
        raise UsageError(f'unknown space "{text}": {nearest(text, names("macro"))}')
    document, where = _document(path), f"space {path}"
    network, settings = document["network"], document["settings"]
    family(network)
    for name, range_ in document["search"].items():
        for value in _ends(name, range_, where):
            if name == RESOLUTION:
                _check_share(value, where)
            else:
                check(network, macro_settings({**settings, name: value}, where))
    knobs = tuple(_knob(name, range_) for name, range_ in document["search"].items())
    return MacroSpace(path.stem, document["about"], network, settings, knobs)


def _document(path: Path) -> dict[str, Any]:
    document = parse_toml(read_text(path), f"space {path}")
    if document.get("kind") != "macro":
        raise UsageError(f'space {path}: kind = "{document.get("kind")}", but here a macro space must stand')
    if wrong := sorted(set(document) ^ KEYS):
        raise UsageError(f'space {path}: {"unknown" if wrong[0] in document else "missing"} key "{wrong[0]}"')
    if not all(isinstance(document[key], dict) for key in ("settings", "search")):
        raise UsageError(f"space {path}: settings and search must be tables")
    if not all(isinstance(document[key], str) for key in ("about", "network")):
        raise UsageError(f"space {path}: about and network must be texts")
    return document


def _ends(name: str, range_: Any, where: str) -> Sequence[Value]:
    if isinstance(range_, list) and range_:
        return range_
    if isinstance(range_, dict) and set(range_) == {"low", "high", "step"}:
        low, high, step = range_["low"], range_["high"], range_["step"]
        if not all(type(value) in (int, float) for value in (low, high, step)) or not low <= high or not step > 0:
            raise UsageError(f"{where}: {name}: low must not be above high, step is above 0, all three are numbers")
        if not (high - low) / step <= MOST_LEVELS:
            raise UsageError(f"{where}: {name}: from {low} to {high} in steps of {step} are over {MOST_LEVELS} levels")
        return [low, high]
    raise UsageError(f"{where}: {name} must be a list of choices, or {{ low = …, high = …, step = … }}")


def _knob(name: str, range_: Any) -> Knob:
    return Knob(name, tuple(range_)) if isinstance(range_, list) else numbers(name, **range_)


def _check_share(value: Value, where: str) -> None:
    if not isinstance(value, int | float) or not 0 < value <= 1:
        raise UsageError(f"{where}: resolution = {value!r}: it is a share of the images' side, above 0, at most 1")
