"""What several seeds allow one to say: means with intervals, and whether two means differ.

Student's t for intervals, Welch's two-sided test for differences, and the seeds that a difference would take to show.
"""

import statistics
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from nas.errors import UsageError

LEVEL = 0.05
"""A difference counts below this probability of one as large by chance."""
POWER = 0.8
FEWEST = 3
"""Seeds a side below which no difference is called: two say next to nothing about their spread."""
MOST = 10_000


@dataclass(frozen=True)
class Difference:
    """Of two means, first − second.

    Args:
        value: the difference itself.
        p: Welch's probability of one as large by chance; None where there is no spread to hold it against.
        n: values on the smaller side.
        seeds_needed: values a side that would show it with 80 % power, were it and the spread true; None: unknown.
    """

    value: float
    p: float | None
    n: int
    seeds_needed: int | None

    @property
    def counts(self) -> bool:
        """Whether it may be called a difference."""
        return self.n >= FEWEST and self.p is not None and self.p < LEVEL


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n − 1); None for one value."""
    return statistics.stdev(values) if len(values) > 1 else None


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """The interval that holds the true mean in 1 − ``level`` of all cases (Student's t); None for one value.

    Raises:
        UsageError: no values.
    """
    from scipy.stats import t

    if not values:
        raise UsageError("no values to average")
    if len(values) == 1:
        return None
    mean, spread = statistics.fmean(values), statistics.stdev(values)
    half = float(t.ppf(1 - level / 2, len(values) - 1)) * spread / len(values) ** 0.5
    return mean - half, mean + half


def welch(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Two-sided p of Welch's t-test (Biometrika, 1947); None where a side has one value or neither has any spread."""
    from scipy.stats import ttest_ind_from_stats

    if min(len(first), len(second)) < 2 or not (statistics.stdev(first) or statistics.stdev(second)):
        return None
    described = [value for side in (first, second) for value in (statistics.fmean(side), deviation(side), len(side))]
    return float(ttest_ind_from_stats(*described, equal_var=False).pvalue)


def seeds_needed(difference: float, spread: float, *, level: float = LEVEL, power: float = POWER) -> int | None:
    """Values a side for a two-sided two-sample t-test to find ``difference`` with this power.

    Args:
        spread: standard deviation of one value, the same on both sides.

    Returns:
        the number, at least 2; None where it would be above ten thousand.
    """
    numbers = range(2, MOST + 1)
    index = bisect_left(numbers, power, key=lambda n: power_of(difference, spread, n, level))
    return numbers[index] if index < len(numbers) else None


def power_of(difference: float, spread: float, n: int, level: float = LEVEL) -> float:
    """Probability that a two-sided two-sample t-test with ``n`` values a side finds a true difference."""
    from scipy.stats import ncf, t

    if not difference:
        return level
    freedom = 2 * n - 2
    critical = t.ppf(1 - level / 2, freedom) ** 2
    return float(ncf.sf(critical, 1, freedom, n / 2 * (difference / spread) ** 2))


def compare(first: Sequence[float], second: Sequence[float]) -> Difference:
    """The difference of two means, and what may be said of it."""
    value = statistics.fmean(first) - statistics.fmean(second)
    p, n = welch(first, second), min(len(first), len(second))
    needed = None
    if p is not None:
        spread = statistics.fmean([statistics.variance(first), statistics.variance(second)]) ** 0.5
        needed = seeds_needed(value, spread)
    return Difference(value, p, n, needed and max(needed, FEWEST))
