"""Amounts of multiply-adds and parameters: as people write them, as a network has them, as limits."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from nas.errors import UsageError

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
MOST = 10**15
"""More than any network has, and few enough for SQLite and for the exact sums of float64."""


def parse(text: str, option: str, of: str = "multiply-adds") -> int:
    """``20M``, ``1.5G``, ``800K`` or a plain number.

    Args:
        option: where it stands, and what it is an amount of, for the message.

    Raises:
        UsageError: not of that form, below 1, or above MOST.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)", text.strip(), re.IGNORECASE)
    amount = float(match[1]) * UNITS[match[2].upper()] if match else 0.0
    if not 0.5 < amount <= MOST:
        raise UsageError(f'{option} "{text}": it must be a number of {of} such as 20M')
    return round(amount)


def fraction(text: str) -> Fraction:
    """An exact fraction: ``1/3``, ``0.5``.

    Raises:
        ValueError: it is none, or one of which only an attack would write the digits.
    """
    if len(text) > 40 or re.search(r"e[+-]?\d{3}", text, re.IGNORECASE):
        raise ValueError(f"{text[:40]} is no usual fraction")
    try:
        return Fraction(text)
    except ZeroDivisionError:
        raise ValueError(f"{text} divides by zero") from None


def share(text: str) -> str:
    """A fraction from 0 to 1 as the shortest exact text: ``0.5`` is "1/2".

    Raises:
        ValueError: it is none; the message is the rule.
    """
    try:
        value = fraction(text)
    except ValueError:
        raise ValueError("it must be a fraction such as 1/3 or 0.5") from None
    if not 0 <= value <= 1:
        raise ValueError("it must lie between 0 and 1")
    return str(value)


def short(amount: int) -> str:
    """An amount as its user would write it: 20M, 800K, 20."""
    unit = next(unit for unit in ("M", "K", "") if amount >= UNITS[unit] or not unit)
    return f"{amount / UNITS[unit]:.6g}{unit}"


@dataclass(frozen=True)
class Cost:
    """Multiply-adds and learnable numbers."""

    madds: int = 0
    params: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.madds + other.madds, self.params + other.params)


@dataclass(frozen=True)
class Limits:
    """What a network may cost; None: any."""

    madds: int | None = None
    params: int | None = None

    @classmethod
    def of(cls, max_madds: str | None, max_params: str | None) -> "Limits":
        """Those of ``--max-madds`` and ``--max-params``.

        Raises:
            UsageError: an amount that cannot be read.
        """
        return cls(
            None if max_madds is None else parse(max_madds, "--max-madds"),
            None if max_params is None else parse(max_params, "--max-params", "parameters"),
        )

    def __bool__(self) -> bool:
        return self.madds is not None or self.params is not None

    def allow(self, cost: Cost) -> bool:
        """Whether a cost is within both."""
        return cost.madds <= (self.madds or math.inf) and cost.params <= (self.params or math.inf)
