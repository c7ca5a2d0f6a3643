"""What several seeds allow one to say: means with intervals, and whether two means differ.

Student's t for intervals, Welch's or the paired two-sided test for differences, Holm's correction where there are
several, and the seeds that a difference would take to show.
"""

import statistics
import warnings
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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
        p: probability of one as large by chance; None where there is no spread to hold it against.
        n: values on the smaller side; pairs, where they are paired.
        seeds_needed: values a side that would show it with 80 % power, were it and the spread true; None: unknown.
        interval: that holds the true difference in 95 % of all cases; None where p is.
    """

    value: float
    p: float | None
    n: int
    seeds_needed: int | None
    interval: tuple[float, float] | None = None

    @property
    def counts(self) -> bool:
        """Whether it may be called a difference."""
        return self.n >= FEWEST and self.p is not None and self.p < LEVEL


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n − 1); None for one value."""
    return statistics.stdev(values) if len(values) > 1 else None


def pooled_deviation(groups: Sequence[Sequence[float]]) -> float | None:
    """Standard deviation within groups, of as many degrees of freedom as they have together; None: they have none."""
    freedom = sum(len(group) - 1 for group in groups)
    return (sum(statistics.pvariance(group) * len(group) for group in groups) / freedom) ** 0.5 if freedom else None


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
    test = _welch(first, second)
    return None if test is None else float(test.pvalue)


def _welch(first: Sequence[float], second: Sequence[float]) -> Any:
    from scipy.stats import ttest_ind

    if min(len(first), len(second)) < 2 or not (statistics.stdev(first) or statistics.stdev(second)):
        return None
    return _quietly(ttest_ind, first, second, equal_var=False)


def _quietly(test: Callable[..., Any], *values: Sequence[float], **options: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where values hardly differ
        return test(*values, **options)


def holm(probabilities: Sequence[float]) -> list[float]:
    """Holm's correction (Scand. J. Statist., 1979) of several tests' p, in their order.

    Below a level they are wrong altogether with no more than that probability.
    """
    values, least = [0.0] * len(probabilities), 0.0
    for rank, place in enumerate(sorted(range(len(probabilities)), key=probabilities.__getitem__)):
        least = max(least, min(1.0, probabilities[place] * (len(probabilities) - rank)))
        values[place] = least
    return values


def signed_rank_floor(pairs: int) -> float:
    """The least two-sided p that Wilcoxon's signed-rank test of so many pairs can come to: all of one sign."""
    return min(1.0, 2.0 ** (1 - pairs))


def seeds_needed(
    difference: float, spread: float, *, level: float = LEVEL, power: float = POWER, paired: bool = False
) -> int | None:
    """Values a side for a two-sided two-sample t-test to find ``difference`` with this power.

    Args:
        spread: standard deviation of one value, the same on both sides; of one difference, where they are paired.

    Returns:
        the number, at least 2; None where it would be above ten thousand.
    """
    numbers = range(2, MOST + 1)
    index = bisect_left(numbers, power, key=lambda n: power_of(difference, spread, n, level, paired=paired))
    return numbers[index] if index < len(numbers) else None


def power_of(
    difference: float,
    spread: float,
    n: int,
    level: float = LEVEL,
    *,
    others: int | None = None,
    paired: bool = False,
) -> float:
    """Probability that a two-sided two-sample t-test with ``n`` values a side finds a true difference.

    Args:
        others: values on the other side; None: as many.
        paired: the values are pairs, and ``spread`` is of their differences.
    """
    from scipy.stats import ncf, t

    if not difference:
        return level
    m = others or n
    freedom, weight = (n - 1, float(n)) if paired else (n + m - 2, n * m / (n + m))
    critical = t.ppf(1 - level / 2, freedom) ** 2
    return float(ncf.sf(critical, 1, freedom, weight * (difference / spread) ** 2))


def detectable(spread: float, n: int, others: int, *, power: float = POWER) -> float | None:
    """The least difference that ``n`` values against ``others`` find with this power; None: they find none at all."""
    from scipy.optimize import brentq

    if min(n, others) < FEWEST:
        return None
    return spread * float(brentq(lambda effect: power_of(effect, 1.0, n, others=others) - power, 1e-3, 100))


def compare(first: Sequence[float], second: Sequence[float]) -> Difference:
    """The difference of two means, and what may be said of it."""
    value = statistics.fmean(first) - statistics.fmean(second)
    test, n = _welch(first, second), min(len(first), len(second))
    if test is None:
        return Difference(value, None, n, None)
    spread = statistics.fmean([statistics.variance(first), statistics.variance(second)]) ** 0.5
    return _difference(value, test, n, seeds_needed(value, spread))


def compare_pairs(first: Sequence[float], second: Sequence[float]) -> Difference:
    """The mean difference of paired values (those of one seed, say), and what may be said of it."""
    from scipy.stats import ttest_rel

    differences = [round(one - other, 12) for one, other in zip(first, second, strict=True)]  # else equal ones are not
    value, spread = statistics.fmean(differences), deviation(differences)
    if not spread:
        return Difference(value, None, len(differences), None)
    needed = seeds_needed(value, spread, paired=True)
    return _difference(value, _quietly(ttest_rel, first, second), len(differences), needed)


def _difference(value: float, test: Any, n: int, needed: int | None) -> Difference:
    low, high = test.confidence_interval(1 - LEVEL)
    return Difference(value, float(test.pvalue), n, needed and max(needed, FEWEST), (float(low), float(high)))
