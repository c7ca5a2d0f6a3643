"""Tries of one class of the campaign: each with a random stream of its own, until the time is up; failures are kept."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import hypothesis
from hypothesis import HealthCheck, Phase, strategies

MOST = 10
"""Failures after which a test needs no more."""


@dataclass
class Tries:
    """Tries of one test.

    Args:
        name: of the test.
        seed: of the campaign; try n draws from ``Random(f"{seed} {name} {n}")``.
        seconds: for which new tries are begun.
        only: the number of the one try that is wanted; None: all, from 0.
    """

    name: str
    seed: int
    seconds: float
    only: int | None = None
    count: int = 0
    inputs: int = 0
    failures: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def repeat(self, attempt: Callable[[Random], int | None], least: int = 1) -> None:
        """Makes tries until the time is up, and no fewer than ``least``.

        Args:
            attempt: one try; any error is a failure. It may return how many inputs it tried, if not one.

        Raises:
            AssertionError: some failed; the message says how to have each again.
        """
        number = self.only or 0
        least = least if self.only is None else 1
        while self.count < least or (self.only is None and self.left > 0 and len(self.failures) < MOST):
            self.count += 1
            try:
                self.inputs += attempt(Random(f"{self.seed} {self.name} {number}")) or 1
            except Exception as error:
                traceback.print_exc()
                said = " ".join(f"{type(error).__name__}: {error}".split())
                said = said if len(said) < 600 else f"{said[:200]} … {said[-400:]}"
                self.failures.append(f"make campaign SEED={self.seed} ONLY='{self.name}:{number}'   # {said}")
            number += 1
        assert not self.failures, "\n".join([f"{len(self.failures)} of {self.count} tries failed:", *self.failures])

    @property
    def left(self) -> float:
        """Seconds."""
        return self.began + self.seconds - time.monotonic()


def examples(check: Callable[[Random], None], stream: Random, count: int) -> int:
    """Has hypothesis check so many examples, each drawn from a stream that it makes smaller where one fails.

    Returns:
        the count.
    """
    drawn = hypothesis.given(strategies.randoms(use_true_random=False))(check)
    frame = hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    frame(hypothesis.seed(stream.getrandbits(64))(drawn))()
    return count
