"""Amounts as people write them: 20M multiply-adds, 3.3M parameters."""

import re

from nas.errors import UsageError

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def parse(text: str, option: str, of: str = "multiply-adds") -> int:
    """``20M``, ``1.5G``, ``800K`` or a plain number.

    Args:
        option: where it stands, and what it is an amount of, for the message.

    Raises:
        UsageError: not of that form, or below 1.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)", text.strip(), re.IGNORECASE)
    if not match or not (value := round(float(match[1]) * UNITS[match[2].upper()])):
        raise UsageError(f'{option} "{text}": it must be a number of {of} such as 20M')
    return value


def short(amount: int) -> str:
    """An amount as its user would write it: 20M."""
    return f"{amount / 10**6:.6g}M"
