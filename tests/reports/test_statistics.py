"""Intervals, Welch's test and sample sizes against values computed by hand or printed in tables."""

import math

import pytest
from scipy import stats

from nas.errors import UsageError
from nas.reports.statistics import (
    compare,
    compare_pairs,
    detectable,
    deviation,
    holm,
    interval,
    pooled_deviation,
    power_of,
    seeds_needed,
    signed_rank_floor,
    welch,
)


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


def four(mean: float, spread: float) -> list[float]:
    """Four values of this mean and standard deviation."""
    half = spread * math.sqrt(3) / 2
    return [mean - half, mean - half, mean + half, mean + half]


def test_a_published_table() -> None:
    """EM-DARTS (2025), S5, four runs each: random cells 3.01 ± 0.13, DARTS 2.71 ± 0.12, EM-DARTS 2.58 ± 0.06."""
    against_random = compare(four(3.01, 0.13), four(2.705, 0.12))
    assert against_random.value == pytest.approx(0.305) and against_random.p == pytest.approx(0.015, abs=2e-3)
    assert against_random.interval == pytest.approx((0.08, 0.53), abs=0.01)
    newer = compare(four(2.707, 0.12), four(2.58, 0.06))
    assert newer.p == pytest.approx(0.13, abs=0.01) and not newer.counts
    assert newer.interval == pytest.approx((-0.06, 0.31), abs=0.01)


def test_the_interval_of_a_difference_by_hand() -> None:
    # as in test_welch_by_hand: −2 ± t(0.975, 2.94118 degrees) · √(5/3)
    half = stats.t.ppf(0.975, 2.94118) * math.sqrt(5 / 3)
    assert compare([1, 2, 3], [2, 4, 6]).interval == pytest.approx((-2 - half, -2 + half), abs=1e-4)


def test_pairs_by_hand() -> None:
    # differences 1, 2, 3: mean 2, s = 1, t = 2√3 with 2 degrees: p = 1 − t / √(t² + 2); half as of 1, 2, 3 above
    found = compare_pairs([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (found.value, found.n) == (2.0, 3)
    assert found.p == pytest.approx(1 - math.sqrt(12 / 14), abs=1e-9)
    assert found.interval == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-5)
    # Cohen's d = 0.5 of differences takes 34 pairs for 80 % power (two-sided 5 %), where two samples take 64 a side
    assert seeds_needed(0.5, 1.0, paired=True) == 34
    # what all pairs have in common does not count
    assert compare([0.1, 0.5, 0.9], [0.11, 0.52, 0.93]).p == pytest.approx(0.95, abs=0.05)
    assert compare_pairs([0.1, 0.5, 0.9], [0.11, 0.52, 0.93]).p == pytest.approx(0.0742, abs=1e-3)
    assert compare_pairs([1.0, 2.0], [0.0, 1.0]).p is None, "no spread"
    right = [[count / 360 for count in counts] for counts in ((321, 318, 315), (319, 316, 313))]
    assert compare_pairs(*right).p is None, "none either, but for the last bit"
    assert compare_pairs([1.0], [0.0]).interval is None


def test_holm() -> None:
    # Holm's own rule: 4 · 0.005, 3 · 0.01, 2 · 0.03, and never less than one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([0.02]) == [0.02] and holm([]) == []


@pytest.mark.parametrize("pairs", range(1, 9))
def test_the_floor_of_the_signed_rank_test(pairs: int) -> None:
    least = stats.wilcoxon([1.0 + each for each in range(pairs)], method="exact").pvalue
    assert signed_rank_floor(pairs) == pytest.approx(least)
    assert (signed_rank_floor(pairs) < 0.05) == (pairs >= 6), "five pairs can never be significant"


def test_deviations_within_groups() -> None:
    assert pooled_deviation([[1.0, 3.0], [10.0, 14.0]]) == pytest.approx(math.sqrt((2 + 8) / 2))
    assert pooled_deviation([[1.0], [2.0]]) is None


def test_what_a_design_can_see() -> None:
    least = detectable(1.0, 17, 17)
    assert least is not None and power_of(least, 1.0, 17) == pytest.approx(0.8)
    assert seeds_needed(least * 1.001, 1.0) == 17
    # unequal sides: power by scipy's noncentral t, both tails
    seen = detectable(0.2, 3, 8)
    assert seen is not None
    centre, critical = seen / 0.2 * math.sqrt(24 / 11), stats.t.ppf(0.975, 9)
    assert stats.nct.sf(critical, 9, centre) + stats.nct.cdf(-critical, 9, centre) == pytest.approx(0.8, abs=1e-6)
    assert detectable(0.2, 2, 8) is None and detectable(0.2, 3, 0) is None
