"""Shares, differences and areas under ROC curves with intervals over groups of problems and over seeds."""

import math

import numpy as np
import pytest
from scipy import stats

from pydisp.toolken.calibration_measures import auroc
from pydisp.toolken.evaluating.estimates import _Area, area, difference, difference_interval, share, share_interval


def names(count: int) -> list[str]:
    return [f"g{number}" for number in range(count)]


@pytest.mark.parametrize(("right", "items"), [(0, 12), (12, 12), (1, 40), (20, 40), (130, 200)])
def test_independent_answers_have_the_exact_binomial_interval_or_a_wider_one(right, items):
    low, high = share(np.repeat([1.0, 0.0], [right, items - right])[None], names(items)).interval
    exact = stats.binomtest(right, items).proportion_ci(method="exact")
    assert low <= exact.low + 1e-3 and high >= exact.high - 1e-3
    if right in (0, items, 20, 130):
        assert (low, high) == pytest.approx((exact.low, exact.high), abs=0.02)


def test_groups_that_agree_have_width_where_a_bootstrap_has_none():
    low, high = share(np.zeros((1, 30)), ["a", "b", "c"] * 10).interval
    assert low == 0 and high == pytest.approx(1 - 0.025 ** (1 / 3))


def test_items_of_one_group_count_as_one_where_they_agree():
    right = np.repeat([1.0, 0.0], [12, 8])
    alone = share_interval(right, np.ones(20))
    five = share_interval(5 * right, np.full(20, 5.0))
    assert five[0] == pytest.approx(alone[0], abs=0.04) and five[1] == pytest.approx(alone[1], abs=0.04)
    spread = share_interval(np.full(20, 3.0) + np.tile([1.0, -1.0], 10), np.full(20, 5.0))
    assert spread[1] - spread[0] < 0.75 * (five[1] - five[0])


def test_a_large_group_counts_for_little_more_than_a_small_one():
    equal = share_interval(np.zeros(6), np.full(6, 10.0))
    unequal = share_interval(np.zeros(6), np.array([50.0, 2, 2, 2, 2, 2]))
    assert unequal[1] > equal[1] + 0.2


def test_few_groups_that_differ_say_little_of_how_much_groups_vary():
    counts = np.full(100, 3.0)
    one_failure = np.r_[3.0, np.zeros(99)]  # a whole group
    low, high = share_interval(one_failure, counts)
    binomial = stats.binomtest(3, 300).proportion_ci(method="exact")
    assert high > 1.5 * binomial.high and low < 0.3 * binomial.low
    one_item = share_interval(np.r_[1.0, np.zeros(99)], counts)  # as many answers as groups, although the items seem to vary by themselves
    assert one_item[1] > 2 * stats.binomtest(1, 300).proportion_ci(method="exact").high


def test_seeds_are_averaged_within_a_problem_and_make_no_problems():
    one = share([[1, 0, 1, 0]], names(4))
    three = share([[1, 0, 1, 0]] * 3, names(4))
    assert three.interval == one.interval and three.items == 4 and three.by_seed == (0.5, 0.5, 0.5)


def test_the_second_interval_adds_students_reach_of_the_seeds_in_squares():
    generator = np.random.default_rng(0)
    values = (generator.random((3, 40)) < np.array([[0.4], [0.5], [0.55]])).astype(float)
    found = share(values, names(40))
    reach = stats.t.ppf(0.975, 2) * np.std(found.by_seed, ddof=1) / math.sqrt(3)
    low = found.value - math.hypot(found.value - found.interval[0], reach)
    assert found.interval_with_seeds[0] == pytest.approx(low) and low > 0
    assert found.interval_with_seeds[1] > found.interval[1]


def test_seeds_that_agree_add_nothing():
    found = share([[1, 0, 1, 0]] * 3, names(4))
    assert found.interval_with_seeds == pytest.approx(found.interval)


def test_one_seed_has_no_second_interval_and_one_group_has_none():
    assert share([[1, 0]], ["a", "b"]).interval_with_seeds is None
    alone = share([[1, 0], [1, 1]], ["a", "a"])
    assert alone.interval is None and alone.interval_with_seeds is None and alone.value == 0.75


def test_nothing_has_no_share():
    assert share(np.zeros((3, 0)), []) is None
    assert difference(np.zeros((3, 0)), np.zeros((1, 0)), []) is None


def test_the_interval_lies_between_zero_and_one_around_the_value():
    generator = np.random.default_rng(3)
    for _ in range(200):
        count = int(generator.integers(2, 15))
        values = generator.random((2, count)) ** generator.integers(1, 6)
        found = share(np.clip(values * generator.integers(0, 3), 0, 1), [str(one) for one in generator.integers(0, 5, count)])
        if found.interval:
            assert 0 <= found.interval[0] <= found.value <= found.interval[1] <= 1


def test_a_difference_is_taken_item_by_item():
    first = np.tile([1.0, 0.0], 20)
    second = first.copy()
    second[0] = 0
    found = difference(first[None], second[None], names(40))
    apart = difference(first[None], np.roll(second, 1)[None], names(40))
    assert found.value == pytest.approx(1 / 40) and apart.interval[1] - apart.interval[0] > 3 * (found.interval[1] - found.interval[0])


def test_a_difference_that_was_never_seen_has_width_to_both_sides():
    low, high = difference(np.ones((1, 20)), np.ones((1, 20)), names(20)).interval
    assert low == pytest.approx(-high) and 0.05 < high < 0.2


def test_half_of_the_second_can_be_taken():
    found = difference(np.full((1, 10), 0.2), np.full((1, 10), 0.8), names(10), factor=0.5)
    assert found.value == pytest.approx(-0.2)


def test_the_plain_model_has_no_seeds_and_is_compared_with_each():
    found = difference([[1, 1], [0, 1], [1, 0]], [[0, 1]], ["a", "b"])
    assert found.by_seed == (0.5, 0.0, 0.0) and found.value == pytest.approx(1 / 6)
    with pytest.raises(ValueError, match="3 seeds of the first and 2 of the second"):
        difference(np.ones((3, 2)), np.ones((2, 2)), ["a", "b"])


def test_p_flips_the_signs_of_whole_groups():
    apart = difference(np.ones((1, 8)), np.zeros((1, 8)), names(8))
    together = difference(np.ones((1, 8)), np.zeros((1, 8)), ["a", "b"] * 4)
    assert apart.p == pytest.approx(2 / 2**8) and together.p == pytest.approx(2 / 2**2)
    assert difference(np.ones((1, 8)), np.ones((1, 8)), names(8)).p == 1


def test_a_difference_stays_within_its_bounds():
    low, high = difference_interval(np.array([1.0, 1.0]), np.ones(2))
    assert low >= -1 and high <= 1


def test_values_outside_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        share([[1.5]], ["a"])
    with pytest.raises(ValueError, match="the group of each item"):
        share([[1, 0]], ["a"])


@pytest.mark.parametrize(("groups", "size", "mean", "correlation"), [(8, 3, 0.9, 0.5), (40, 1, 0.02, 0), (60, 3, 0.5, 0.8)])
def test_intervals_hold_the_true_share(groups, size, mean, correlation):
    generator = np.random.default_rng(5)
    held = 0
    for _ in range(300):
        shared, own = generator.random((groups, 1)), generator.random((groups, size))
        right = np.where(generator.random((groups, size)) < math.sqrt(correlation), shared, own) < mean
        low, high = share_interval(right.sum(1).astype(float), np.full(groups, float(size)))
        held += low <= mean <= high
    assert held / 300 >= 0.93


def of_items(scores: np.ndarray, positive: np.ndarray) -> float:
    above = scores[positive][:, None] - scores[~positive]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


@pytest.mark.parametrize("seed", range(5))
def test_an_area_is_the_mean_over_seeds_and_its_jackknife_leaves_out_whole_groups(seed):
    generator = np.random.default_rng(seed)
    groups = generator.integers(0, 12, 40)
    positive = generator.random(40) < 0.4  # groups hold both kinds
    scores = np.round(generator.normal(size=(3, 40)) + positive, 1)  # with ties
    found = area(scores, positive, groups.tolist())
    assert found.by_seed == pytest.approx([auroc(one, positive) for one in scores]) and found.value == pytest.approx(np.mean(found.by_seed))
    names = np.unique(groups)
    numbers = np.searchsorted(names, groups)
    left_out = np.mean([_Area.of(one, positive, numbers).left_out for one in scores], 0)
    by_hand = [np.mean([of_items(one[groups != name], positive[groups != name]) for one in scores]) for name in names]
    assert left_out == pytest.approx(by_hand)
    assert found.items == 40 and found.groups == len(names)
    low, high = found.interval
    assert 0 <= low < found.value < high <= 1
    wide_low, wide_high = found.interval_with_seeds
    assert wide_low <= low and wide_high >= high


def test_an_area_of_1_has_the_interval_of_as_many_answers_as_the_rarer_kind_has_groups():
    positive = np.arange(30) < 4
    found = area(positive.astype(float), positive, list(range(30)))
    assert found.value == 1 and found.interval == (pytest.approx(0.025 ** (1 / 4)), 1.0)


def test_an_area_knows_no_more_than_its_rarer_kind():
    positive = np.arange(1010) < 10
    scores = np.where(positive, 1.0, 0.0)
    perfect = area(scores, positive, list(range(1010)))
    scores[10:15] = 2.0  # five of a thousand before all
    low, high = area(scores, positive, list(range(1010))).interval
    assert low < 0.9 and high - low > 0.5 * (1 - perfect.interval[0])


def test_scores_that_are_no_numbers_are_refused_and_infinite_ones_are_ordered():
    with pytest.raises(ValueError, match="1 of 4 scores are NaN"):
        area([np.nan, 0.0, 1.0, 0.5], [True, False, True, False], list("abcd"))
    scores, positive = np.array([np.inf, np.inf, -np.inf, 0.0]), [True, False, False, True]
    assert area(scores, positive, ["a", "a", "b", "b"]).value == auroc(scores, positive)
    left = _Area.of(scores, np.array(positive), np.array([0, 0, 1, 1])).left_out
    assert left.tolist() == [1.0, 0.5]  # of each group the other's one pair


def test_paraphrases_do_not_narrow_an_area():
    generator = np.random.default_rng(0)
    positive = np.arange(40) % 2 == 0
    scores = generator.normal(size=40) + positive
    once = area(scores, positive, list(range(40))).interval
    thrice = area(np.repeat(scores, 3), np.repeat(positive, 3), np.repeat(np.arange(40), 3).tolist()).interval
    assert thrice == pytest.approx(once, abs=0.02)


def test_an_area_without_one_of_both_kinds_is_none_and_has_no_interval_of_one_group():
    assert area([1.0, 2.0], [True, True], ["a", "b"]) is None and area(np.zeros((1, 0)), [], []) is None
    found = area([1.0, 0.0, 0.5], [True, False, False], ["a", "b", "c"])
    assert found.value == 1 and found.interval is None and found.interval_with_seeds is None
    with pytest.raises(ValueError, match=r"shape \(1, 2\) for 3 items"):
        area([1.0, 2.0], [True, False, True], ["a", "b", "c"])
