"""Intervals, Welch's test and sample sizes against values computed by hand or printed in tables."""

import math

import pytest

from nas.errors import UsageError
from nas.reports.statistics import compare, deviation, interval, power_of, seeds_needed, welch


def test_interval_by_hand() -> None:
    # mean 2, s = 1, t(0.975, 2 degrees) = 4.30265: half = 4.30265 / √3 = 2.48414
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-5)
    # n = 2: s = √2, t(0.975, 1 degree) = 12.7062: half = 12.7062
    assert interval([0.0, 2.0]) == pytest.approx((1 - 12.7062, 1 + 12.7062), abs=1e-4)


def test_one_value_has_no_interval() -> None:
    assert interval([0.9]) is None and deviation([0.9]) is None
    with pytest.raises(UsageError):
        interval([])


def test_welch_by_hand() -> None:
    # means 2 and 4, variances 1 and 4, n = 3: t = −2 / √(5/3) = −1.54919;
    # degrees = (1/3 + 4/3)² / ((1/3)²/2 + (4/3)²/2) = 2.94118, for which p = 0.2209
    assert welch([1, 2, 3], [2, 4, 6]) == pytest.approx(0.2209, abs=1e-4)
    # with two degrees the t distribution has a closed form: p = 1 − |t| / √(t² + 2); equal variances, n = 2 give t = √2
    assert welch([0.0, 2.0], [2.0, 4.0]) == pytest.approx(1 - math.sqrt(2) / 2, abs=1e-9)


def test_nothing_is_said_without_spread() -> None:
    assert welch([1.0], [2.0, 3.0]) is None
    assert welch([1.0, 1.0], [2.0, 2.0]) is None
    assert not compare([1.0, 1.0, 1.0], [2.0, 2.0, 2.0]).counts


@pytest.mark.parametrize(("effect", "seeds"), [(0.5, 64), (0.8, 26), (1.0, 17), (0.2, 394)])
def test_seeds_needed_as_in_cohens_tables(effect: float, seeds: int) -> None:
    # Cohen, Statistical Power Analysis, 1988, table 2.4.1, two-sided 5 %, power 80 % (0.2: 393 in the rounded table)
    assert seeds_needed(effect, 1.0) == seeds
    assert seeds_needed(-3 * effect, 3.0) == seeds


def test_power_grows_to_what_was_asked() -> None:
    needed = seeds_needed(1.3, 1.0)
    assert needed is not None
    assert power_of(1.3, 1.0, needed) >= 0.8 > power_of(1.3, 1.0, needed - 1)
    assert power_of(0.0, 1.0, 5) == pytest.approx(0.05)


def test_no_number_of_seeds_shows_nothing() -> None:
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(1e-6, 1.0) is None
    assert seeds_needed(100.0, 1.0) == 2


def test_a_difference_counts_only_with_enough_seeds_and_a_small_p() -> None:
    close = compare([0.90, 0.91, 0.92], [0.905, 0.915, 0.925])
    assert not close.counts and close.p is not None and close.p > 0.05
    assert close.seeds_needed == seeds_needed(0.005, 0.01) == 64
    apart = compare([0.90, 0.91, 0.92], [0.80, 0.81, 0.82])
    assert apart.counts and apart.value == pytest.approx(0.1)
    two = compare([0.900, 0.901], [0.800, 0.801])
    assert two.p is not None and two.p < 0.05 and not two.counts, "two seeds are too few, whatever p says"
    assert compare([0.9], [0.8]).seeds_needed is None
