"""Rows: one layer each as plain JSON data, and what all families make them with.

A row holds "stage", "block" (a name in ``nas.macro.networks.BLOCKS``) and the block's arguments, channels in numbers;
its input channels are the row before's ``c_out``.
"""

from collections.abc import Iterator
from fractions import Fraction
from math import floor
from typing import Any

from nas.macro.rounding import Rounding, Widths, exact, to_nearest
from nas.macro.settings import MacroSettings

Row = dict[str, Any]


def widths(settings: MacroSettings, rounding: Rounding = to_nearest, small: dict[float, int] | None = None) -> Widths:
    """The widths that settings ask for; ``small``: the divisors published for single width multipliers."""
    divisor = settings.divisor or (small or {}).get(settings.width, 8)
    return Widths(settings.width, divisor, rounding, settings.steps)


def conv(stage: int, c_out: int, kernel: int, stride: int, activation: str | None) -> Row:
    """A dense convolution with batch norm: stems and heads."""
    return {
        "stage": stage,
        "block": "conv",
        "c_out": c_out,
        "kernel": kernel,
        "stride": stride,
        "activation": activation,
    }


def head(stage: int, dropout: float) -> list[Row]:
    """Global average, dropout, logits."""
    return [{"stage": stage, "block": "pool"}, {"stage": stage, "block": "classifier", "dropout": dropout}]


def repeated(n: int, stride: int) -> Iterator[tuple[bool, int]]:
    """(first of its stage?, stride) of a stage's n blocks: the first one strides."""
    for index in range(n):
        yield index == 0, stride if index == 0 else 1


def times(channels: int, t: float) -> int:
    """t·channels, rounded half up, at least 1."""
    return max(1, floor(channels * exact(t) + Fraction(1, 2)))
