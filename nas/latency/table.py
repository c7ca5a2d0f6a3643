"""Latencies of operations on a device, and of whole networks as sums of them."""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass

from nas.errors import UsageError
from nas.run.documents import DOCUMENT

LEAST = 20
"""So many whole networks say how well sums predict."""


@dataclass(frozen=True, config=DOCUMENT)
class Timing:
    """Milliseconds over ``count`` runs of one image."""

    mean_ms: float
    deviation_ms: float
    count: int


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Fit:
    """How well sums predict whole networks: measured ≈ slope · sum + intercept, by least squares.

    Args:
        networks: so many were measured.
        error, worst: mean and largest |predicted − measured| / measured, each network predicted from the others.
        within_tenth: share of the networks predicted to 10 %.
        rank: Kendall's τ of predicted and measured.
    """

    networks: int
    slope: float
    intercept_ms: float
    error: float
    worst: float
    within_tenth: float
    rank: float


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class LatencyTable:
    """A device's table.

    Args:
        device, soc, runtime, threads: where it was measured.
        operations: by their signatures, see :class:`nas.macro.parts.Part`.
    """

    format: Literal["nas/latency/1"] = "nas/latency/1"
    device: str
    soc: str
    runtime: str
    threads: int
    operations: dict[str, Timing]
    fit: Fit

    @property
    def place(self) -> str:
        """Where it was measured, in a few words."""
        return f"{self.device} ({self.soc}), {self.runtime}, {self.threads} threads"

    def predict(self, signatures: Sequence[str]) -> float:
        """Milliseconds of the network of these operations.

        Raises:
            UsageError: one is not in the table.
        """
        self.check(signatures)
        total = sum(self.operations[one].mean_ms for one in signatures)
        return self.fit.slope * total + self.fit.intercept_ms

    def check(self, signatures: Iterable[str]) -> None:
        """Raises UsageError where an operation is not in the table."""
        if missing := sorted(set(signatures) - set(self.operations)):
            raise UsageError(
                f"the table of {self.device} does not cover this: {len(missing)} operations are missing, "
                f"such as {missing[0]}"
            )


def fit(sums: Sequence[float], measured: Sequence[float]) -> Fit:
    """Least squares of whole networks' milliseconds on the sums of their operations'.

    Raises:
        UsageError: fewer than :data:`LEAST` networks.
    """
    from scipy.stats import kendalltau

    if len(sums) < LEAST:
        raise UsageError(f"{len(sums)} whole networks are measured: {LEAST} say how well sums predict")
    x, y = np.array(sums), np.array(measured)
    slope, intercept = _line(x, y)
    left_out = [np.arange(len(x)) != index for index in range(len(x))]
    predicted = np.array([np.dot(_line(x[rest], y[rest]), (own, 1)) for rest, own in zip(left_out, x, strict=True)])
    errors = abs(predicted - y) / y
    return Fit(
        networks=len(x),
        slope=slope,
        intercept_ms=intercept,
        error=float(errors.mean()),
        worst=float(errors.max()),
        within_tenth=float((errors <= 0.1).mean()),
        rank=float(kendalltau(predicted, y).statistic),
    )


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    slope, intercept = np.polyfit(x, y, 1)
    return float(slope), float(intercept)
