# ruff: noqa: F403, F405
"""Neural architecture search for mobile networks.

``search`` finds a cell, ``derive`` derives others of the same search, ``retrain`` trains networks, ``evaluate`` and
``export`` use them, ``load`` and ``features`` give them as modules; ``tune`` turns the settings of mobile networks
under budgets; ``study`` and ``compare`` say what results are worth, ``cost`` what networks cost, ``report`` writes a
page. ``pack`` keeps images of your own; ``resume`` goes on with what was interrupted. See :mod:`nas.commands.api`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.commands.api import *

__version__ = "0.1.0"
__all__ = [
    "compare",
    "cost",
    "derive",
    "evaluate",
    "export",
    "features",
    "load",
    "pack",
    "report",
    "resume",
    "retrain",
    "search",
    "study",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("nas.commands.api"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
