"""Neural architecture search for mobile networks.

``nas.search`` and ``nas.retrain`` are what the commands of that name do; ``nas.load`` gives a trained network,
``nas.features`` its feature maps; see :mod:`nas.api`.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["features", "load", "retrain", "search"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nas import api

    return getattr(api, name)
