"""The families: which rows, which knobs, which batch norm."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pydantic.dataclasses
from torch import nn

from nas.errors import UsageError, nearest
from nas.macro.hbonet import hbonet
from nas.macro.mobilenet import mobilenet_v1, mobilenet_v2
from nas.macro.mobilenet_v3 import asymmnet, mobilenet_v3
from nas.macro.mobilenext import mobilenext, squeezes
from nas.macro.rows import Row
from nas.macro.settings import MacroSettings, changed, macro_settings
from nas.settings import STRICT


@pydantic.dataclasses.dataclass(frozen=True, config=STRICT)
class BatchNorm:
    """A network's batch norm: what is added to variances, and the share of a batch in running statistics."""

    eps: float
    momentum: float

    def __call__(self, channels: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(channels, self.eps, self.momentum)


TORCH, TENSORFLOW = BatchNorm(1e-5, 0.1), BatchNorm(1e-3, 0.01)
ALWAYS = ("width", "divisor", "steps")


@dataclass(frozen=True)
class Family:
    """A family of networks.

    Args:
        title: its name in print.
        rows: resolves settings into rows, at the imagenet stem.
        knobs: the settings it takes beside those that all take.
        sizes: the values of ``size`` it knows.
    """

    title: str
    rows: Callable[[MacroSettings], list[Row]]
    knobs: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()


FAMILIES = {
    "mobilenet_v1": Family("MobileNetV1", mobilenet_v1),
    "mobilenet_v2": Family("MobileNetV2", mobilenet_v2, ("expansion", "identity")),
    "mobilenet_v3": Family(
        "MobileNetV3",
        mobilenet_v3,
        ("expansion", "identity", "size", "se", "convention"),
        ("large", "small"),
    ),
    "mobilenext": Family("MobileNeXt", mobilenext, ("reduction", "identity", "size", "se", "groups"), ("b0", "b1")),
    "hbonet": Family("HBONet", hbonet, ("expansion", "contraction", "upsample")),
    "asymmnet": Family(
        "AsymmNet",
        asymmnet,
        ("expansion", "asymmetry", "identity", "size", "se", "pruned"),
        ("large", "small"),
    ),
}


def family(network: str) -> Family:
    """The family of that name.

    Raises:
        UsageError: there is none.
    """
    if network not in FAMILIES:
        raise UsageError(f'unknown network "{network}": {nearest(network, list(FAMILIES))}')
    return FAMILIES[network]


def batch_norm(network: str, settings: MacroSettings) -> BatchNorm:
    """As in the published code: TensorFlow's in torchvision's MobileNetV3 and MobileNeXt's b0 and b1, else torch's."""
    torchvisions = network == "mobilenet_v3" and settings.convention == "torchvision"
    return TENSORFLOW if torchvisions or (network == "mobilenext" and squeezes(settings)) else TORCH


def resolve(
    network: str, settings: MacroSettings | Mapping[str, Any] | None = None, stem: str = "imagenet"
) -> list[Row]:
    """The rows of a network at these settings, as plain JSON data.

    Args:
        stem: "imagenet", or "cifar" for small images: the stem and the first strided stage have stride 1.

    Raises:
        UsageError: an unknown network, setting or stem, a value out of range or that this family does not have.
    """
    chosen = settings if isinstance(settings, MacroSettings) else macro_settings(settings or {}, network)
    check(network, chosen)
    if stem not in ("imagenet", "cifar"):
        raise UsageError(f'--stem "{stem}": it must be imagenet or cifar')
    rows = family(network).rows(chosen)
    return rows if stem == "imagenet" else without_first_strides(rows, 2)


def without_first_strides(rows: list[Row], n: int) -> list[Row]:
    """The rows with the first ``n`` strides taken out."""
    strided = [index for index, row in enumerate(rows) if row.get("stride", 1) > 1][:n]
    return [{**row, "stride": 1} if index in strided else row for index, row in enumerate(rows)]


def check(network: str, settings: MacroSettings) -> None:
    """Raises UsageError where a setting is none of this family's, or two settings exclude each other."""
    kind = family(network)
    known = (*ALWAYS, *kind.knobs)
    for name in changed(settings):
        if name not in known:
            raise UsageError(f"--{name}: {network} has no such setting; it has {', '.join(known)}")
    if settings.size not in (None, *kind.sizes):
        raise UsageError(f'--size "{settings.size}": {network} has {" and ".join(kind.sizes)}')
    if settings.groups and settings.size is None:
        raise UsageError(f"--groups {settings.groups}: only b0 and b1 have grouped convolutions (--size b1)")
    if settings.pruned:
        if settings.asymmetry is not None:
            raise UsageError(
                f"--asymmetry {settings.asymmetry:g}: pruned bottlenecks have no asymmetry rate (--pruned)"
            )
        if (settings.expansion or 1) < 1:
            raise UsageError(f"--expansion {settings.expansion:g}: pruned bottlenecks need t of at least 1 (--pruned)")
    elif settings.expansion and settings.asymmetry is not None and settings.asymmetry >= settings.expansion:
        raise UsageError(f"--asymmetry {settings.asymmetry:g}: it must be below the expansion {settings.expansion:g}")
