"""Neural architecture search for mobile networks.

``nas.search``, ``nas.derive``, ``nas.retrain``, ``nas.study``, ``nas.compare`` and ``nas.report`` are what the commands
of that name do; ``nas.load`` gives a trained network, ``nas.features`` its feature maps; see :mod:`nas.commands`.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
MODULES = {
    "compare": "comparing",
    "derive": "deriving",
    "features": "trained",
    "load": "trained",
    "report": "reporting",
    "retrain": "retraining",
    "search": "searching",
    "study": "studying",
}
__all__ = ["compare", "derive", "features", "load", "report", "retrain", "search", "study"]


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"nas.commands.{MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
