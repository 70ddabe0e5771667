"""Intervals of means and differences of scores whose replicate is the draw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pydisp.holobench.figures.estimates import by_draw, difference_of, free_mean_of, jackknife_estimate, left_out, mean_of
from pydisp.intervals import Resamples

ones = np.ones


def test_sums_and_counts_of_draws_in_the_order_of_their_first_item():
    sums, counts = by_draw([0.5, 1.0, 0.25, 1.0], ["b", "a", "b", "c"])
    assert sums.tolist() == [0.75, 1.0, 1.0] and counts.tolist() == [2, 1, 1]


def test_the_mean_is_over_items_not_over_draws():
    assert mean_of(np.array([3.0, 0.0]), np.array([3.0, 1.0])).value == 0.75


@pytest.mark.parametrize("draws", [2, 5, 40])
def test_all_right_or_all_wrong_gives_the_exact_one_sided_bound(draws):
    low, high = mean_of(ones(draws), ones(draws)).interval
    assert high == 1 and low == pytest.approx(0.025 ** (1 / draws))
    low, high = mean_of(0 * ones(draws), ones(draws)).interval
    assert low == 0 and high == pytest.approx(1 - 0.025 ** (1 / draws))


def test_items_of_equal_draws_count_as_one_draw():
    alone, five = mean_of(ones(8), ones(8)), mean_of(5 * ones(8), 5 * ones(8))
    assert alone.interval == five.interval


def test_yes_or_no_items_of_their_own_have_nearly_the_exact_binomial_interval():
    right, draws = 130, 200
    low, high = mean_of(np.repeat([1.0, 0.0], [right, draws - right]), ones(draws)).interval
    exact = stats.binomtest(right, draws).proportion_ci(method="exact")
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=0.006)


def test_items_that_agree_within_draws_widen_the_interval_to_that_of_draws():
    generator = np.random.default_rng(1)
    right = (generator.random(40) < 0.6).astype(float)
    wide = mean_of(5 * right, 5 * ones(40)).interval
    spread = np.array([right.sum() * 5 // 40 + (place < right.sum() * 5 % 40) for place in range(40)], dtype=float)
    narrow = mean_of(spread, 5 * ones(40)).interval
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])
    assert wide == pytest.approx(mean_of(right, ones(40)).interval)


@pytest.mark.parametrize("draws", [5, 60])
def test_a_slight_change_of_one_draw_changes_the_interval_slightly(draws):
    # a jackknife would see one small change, and so no large one
    perfect, nearly = 5 * ones(draws), 5 * ones(draws)
    nearly[0] = 4.95
    (low, _), (perfect_low, _) = (mean_of(one, 5 * ones(draws)).interval for one in (nearly, perfect))
    assert low == pytest.approx(perfect_low, abs=0.02)


def test_rare_failures_that_were_not_seen_are_allowed_for():
    nearly_perfect = np.where(np.arange(20) % 3 == 0, 0.9, 1.0)
    assert (
        mean_of(nearly_perfect, ones(20)).interval[0]
        < 0.9
        < jackknife_estimate(nearly_perfect.mean(), left_out(nearly_perfect, ones(20))).interval[0]
    )


@pytest.mark.parametrize("estimate", [mean_of, difference_of, free_mean_of])
def test_there_is_no_interval_for_one_draw(estimate):
    found = estimate(np.array([0.4]), np.array([1.0]))
    assert found.value == 0.4 and found.interval is None and found.standard_error is None and found.p is None


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 1)), min_size=2, max_size=30))
def test_an_interval_holds_its_mean_and_stays_within_bounds(draws):
    counts, means = np.array(draws, dtype=np.float64).T
    found = mean_of(counts * means, counts)
    low, high = found.interval
    assert 0 <= low <= found.value <= high <= 1 and high > low
    assert mean_of(counts * (1 - means), counts).interval == pytest.approx((1 - high, 1 - low), abs=1e-9)


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(-1, 1)), min_size=2, max_size=30))
def test_an_interval_of_a_difference_is_mirrored_with_it(draws):
    counts, means = np.array(draws, dtype=np.float64).T
    low, high = difference_of(counts * means, counts).interval
    assert -1 <= low < high <= 1
    assert difference_of(-counts * means, counts).interval == pytest.approx((-high, -low), abs=1e-9)


def test_no_difference_in_any_draw_has_a_width_that_falls_with_the_draws():
    widths = []
    for draws in (5, 20, 80):
        found = difference_of(np.zeros(draws), ones(draws), Resamples(draws))
        assert found.value == 0 and found.p == 1
        widths.append(found.interval[1])
    assert widths[0] > 3 * widths[1] > 9 * widths[2] > 0.1


def test_an_equal_small_gain_in_every_draw_is_seen():
    found = difference_of(0.03 * ones(40), ones(40), Resamples(40))
    assert found.p < 0.001
    generator = np.random.default_rng(0)
    low, high = difference_of(0.03 + 0.01 * generator.standard_normal(40), ones(40)).interval
    assert 0.02 < low < 0.03 < high < 0.04


def test_with_many_different_draws_the_difference_has_students_interval():
    values = np.random.default_rng(5).uniform(-0.5, 0.7, 200)
    found = difference_of(values, ones(200))
    student = stats.t.interval(0.95, 199, values.mean(), values.std(ddof=1) / np.sqrt(200))
    assert found.interval == pytest.approx(student, abs=0.004)


def test_a_free_mean_has_students_interval():
    values = np.random.default_rng(6).normal(3, 2, 12)
    student = stats.t.interval(0.95, 11, values.mean(), values.std(ddof=1) / np.sqrt(12))
    assert free_mean_of(values, ones(12)).interval == pytest.approx(student)


def test_what_a_draw_moves_is_the_mean_minus_that_of_the_others():
    sums, counts = np.array([1.0, 2.0, 0.5]), np.array([1.0, 4.0, 1.0])
    others = [(sums.sum() - s) / (counts.sum() - c) for s, c in zip(sums, counts, strict=True)]
    assert left_out(sums, counts) == pytest.approx(sums.sum() / counts.sum() - np.array(others))
    assert jackknife_estimate(0.5, left_out(sums, counts)).interval is not None


@pytest.mark.parametrize("mean", [0.02, 0.5, 0.95])
@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_intervals_cover(mean, correlation):
    # 400 benchmarks: a coverage of 0.95 falls below 0.92 once in 200 times
    generator = np.random.default_rng([int(100 * mean), int(10 * correlation)])
    held = 0
    for _ in range(400):
        own, shared = generator.random((12, 3)) < mean, generator.random((12, 1)) < mean
        right = np.where(generator.random((12, 3)) < np.sqrt(correlation), shared, own)
        low, high = mean_of(right.sum(1).astype(float), 3 * ones(12)).interval
        held += low <= mean <= high
    assert held / 400 >= 0.92
