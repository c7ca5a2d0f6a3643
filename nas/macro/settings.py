"""Settings of a macro network: what the user and the tuner may turn. Published values are the defaults."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from nas.amounts import share
from nas.settings import STRICT, make, option


def as_fraction(value: object) -> object:
    """``"1/3"``, ``"0.5"`` or 0.5 as the shortest exact text: "1/3", "1/2"."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    try:
        return share(str(value))
    except ValueError as error:
        raise PydanticCustomError("share", "{rule}", {"rule": str(error)}) from None


def half_step(value: float) -> float:
    """The value, if it is a multiple of 1/2."""
    if (2 * value) % 1:
        raise PydanticCustomError("half_step", "it must be a half-step: 0, 0.5, 1, 1.5, …")
    return value


Share = Annotated[str, BeforeValidator(as_fraction)]
HalfStep = Annotated[float, AfterValidator(half_step)]


@dataclass(frozen=True, config=STRICT)
class MacroSettings:
    """A macro network's knobs; each family takes those that its table in ``nas.macro.families`` names."""

    width: float = option(1.0, "Width multiplier: all channels are scaled by it and rounded.", ge=0.1, le=10)
    expansion: float | None = option(None, "Expansion t in place of the family's usual one.", ge=0.5, le=10)
    reduction: float | None = option(None, "Reduction t of MobileNeXt's bottlenecks in place of 6.", ge=1, le=10)
    contraction: Literal[2, 4, 8] = option(2, "Spatial contraction of HBONet's first stages: 2, 4 or 8.")
    asymmetry: HalfStep | None = option(None, "Asymmetry rate r of AsymmNet (its own: 1), in half-steps.", ge=0, le=10)
    identity: Share = option(
        "1", "Identity tensor multiplier: the share of channels that shortcuts carry, such as 1/3."
    )
    size: Literal["large", "small", "b0", "b1"] | None = option(
        None, "large or small (AsymmNet, MobileNetV3); b0 or b1: MobileNeXt's networks with squeeze-and-excitation."
    )
    se: bool | None = option(None, "With squeeze-and-excitation or without; as published if not given.")
    divisor: int | None = option(None, "Channels are multiples of this; as published if not given.", ge=1, le=64)
    pruned: bool = option(False, "AsymmNet's control: pruned instead of asymmetrical bottlenecks.")
    convention: Literal["torchvision", "timm"] = option(
        "torchvision", "How MobileNetV3 is scaled: as torchvision does, or as timm does (AsymmNet's Table 5)."
    )
    upsample: Literal["nearest", "bilinear"] = option(
        "nearest", "HBONet's upsampling: nearest (code), bilinear (paper)."
    )
    groups: int | None = option(None, "Groups of b0's and b1's 1×1 convolutions (b1's own: 2).", ge=1, le=2)
    steps: tuple[Annotated[int, Field(ge=-64, le=64)], ...] = option(
        (), "Per stage, the stem first: divisors added to its channels, so that a budget can be filled closely."
    )


def macro_settings(values: Mapping[str, Any], where: str = "settings") -> MacroSettings:
    """Settings from plain values, as JSON, TOML or the command line give them.

    Raises:
        UsageError: an unknown field, a value of the wrong type or out of range.
    """
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return make(MacroSettings, values, where)


def changed(settings: MacroSettings) -> dict[str, Any]:
    """The values that differ from the defaults, as JSON can hold them; :func:`macro_settings` reads them back."""
    default = asdict(MacroSettings())
    values = {name: value for name, value in asdict(settings).items() if value != default[name]}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def knobs() -> list[str]:
    """The names of all settings."""
    return [field.name for field in fields(MacroSettings)]
