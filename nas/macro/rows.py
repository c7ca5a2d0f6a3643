"""Rows: one layer each as plain JSON data, and what all families make them with.

A row holds "stage", "block" (a name in ``nas.macro.networks.BLOCKS``) and the block's arguments, channels in numbers;
its input channels are the row before's ``c_out``.
"""

from collections.abc import Iterator
from fractions import Fraction
from math import floor
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from nas.bounds import MOST_CHANNELS, MOST_OPERATIONS
from nas.errors import UsageError, first_of
from nas.macro.rounding import Rounding, Widths, exact, to_nearest
from nas.macro.settings import MacroSettings

Row = dict[str, Any]

Channels = Annotated[int, Field(ge=1, le=MOST_CHANNELS)]
Small = Annotated[int, Field(ge=1, le=16)]
"""A stride, a kernel's side, a factor."""
Share = Annotated[str, Field(pattern=r"^\d{1,9}(\.\d{1,9}|/[1-9]\d{0,8})?$")]


class _Row(TypedDict, total=False):
    """What a row may hold, and of which size."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[misc]

    stage: Annotated[int, Field(ge=0, le=MOST_OPERATIONS)]
    block: str
    c_out: Channels
    hidden: Channels
    expanded: Channels
    squeeze: Channels | None
    kernel: Small
    stride: Small
    groups: Small
    contraction: Small
    dropout: Annotated[float, Field(ge=0, lt=1)]
    activation: str | None
    gate: str
    depthwise: str
    upsample: Literal["nearest", "bilinear"]
    identity: Share
    rate: Share
    bias: bool
    linear: bool
    pruned: bool
    tf_padding: bool


def check_rows(rows: Any, where: str) -> None:
    """Raises UsageError where these are no rows: an unknown key, a value of the wrong type or out of range."""
    try:
        TypeAdapter(Annotated[list[_Row], Field(min_length=1, max_length=MOST_OPERATIONS)]).validate_python(rows)
    except ValidationError as error:
        raise UsageError(f"{where}: rows: {first_of(error)}") from None


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
