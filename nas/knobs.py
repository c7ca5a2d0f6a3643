"""Knobs: the settings that a tuner turns, each with all its values."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

Level = bool | int | float | str
"""A value of a knob."""
Value = Level | list[int]
"""A value of a setting: a knob's, or the steps of a network's stages."""
Values = Mapping[str, Value]
RESOLUTION = "resolution"
"""The resolution multiplier (Howard et al., MobileNets, 2017, §3.4): the share of the images' side; no setting of a
network."""


@dataclass(frozen=True)
class Knob:
    """A setting and all its values, in order where they are numbers of equal steps."""

    name: str
    values: tuple[Level, ...]
    ordered: bool = False


def numbers(name: str, low: float, high: float, step: float) -> Knob:
    """A knob of equal steps; exact, so that 0.1 and a hundred steps of 0.01 are 1.1."""
    first, size = Fraction(str(low)), Fraction(str(step))
    count = int((Fraction(str(high)) - first) / size) + 1
    whole = isinstance(low, int) and isinstance(step, int)
    values = [first + index * size for index in range(count)]
    return Knob(name, tuple(int(value) if whole else float(value) for value in values), ordered=True)
