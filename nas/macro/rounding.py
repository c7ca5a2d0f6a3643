"""How families turn scaled widths into channel counts.

A scaled width is a float's product, as in all published code: 0.57·400 is below 228, and so is rounded to 224.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

Rounding = Callable[[Fraction, int], int]


def exact(value: float | str) -> Fraction:
    """The fraction that a decimal says: 0.1 is 1/10."""
    return Fraction(str(value))


def to_nearest(value: Fraction, divisor: int) -> int:
    """The nearest multiple, halves up, at least one divisor; the next one up where that loses more than 10 %.

    MobileNetV2's and V3's rule, which MobileNeXt and HBONet took over.
    """
    rounded = max(divisor, floor(value / divisor + Fraction(1, 2)) * divisor)
    return rounded + divisor if rounded < Fraction(9, 10) * value else rounded


def upwards(value: Fraction, divisor: int) -> int:
    """The next multiple, AsymmNet's rule."""
    return max(1, ceil(value / divisor)) * divisor


@dataclass(frozen=True)
class Widths:
    """Channel counts of a network's stages.

    Args:
        width: multiplier of all channels.
        divisor: what channel counts are multiples of.
        rounding: to_nearest or upwards.
        steps: divisors added to single stages.
    """

    width: float
    divisor: int
    rounding: Rounding
    steps: tuple[int, ...] = ()

    def round(self, value: Fraction) -> int:
        """The channel count for a scaled width."""
        return self.rounding(value, self.divisor)

    def scaled(self, channels: int, stage: int | None = None) -> int:
        """``channels`` of the published network at this width, at least one divisor."""
        rounded = self.round(Fraction(channels * self.width))
        step = self.steps[stage] if stage is not None and stage < len(self.steps) else 0
        return max(self.divisor, rounded + step * self.divisor)

    def never_below(self, channels: int, stage: int) -> int:
        """``scaled``, but a multiplier below 1 does not narrow it: the last layers of several families."""
        return Widths(max(1.0, self.width), self.divisor, self.rounding, self.steps).scaled(channels, stage)
