"""Bins, parts and tenths are functions of the count, and shares are those of the occurrences."""

import numpy as np
import pytest

from pydisp.fairness.frequency import PARTS, bin_limits, bins_of, deciles_of, parts_of


def test_bins_are_powers_of_three():
    counts = np.array([0, 1, 2, 3, 8, 9, 26, 27, 3**20 - 1, 3**20])
    assert bins_of(counts).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 20, 21]
    for count in counts.tolist():
        low, high = bin_limits(int(bins_of(np.array([count]))[0]))
        assert low <= count <= high


def test_the_head_is_the_types_that_make_up_half_of_the_occurrences():
    counts = np.array([50, 30, 10, 6, 3, 1, 0])  # 50, 80, 90, 96, 99, 100 % reached
    assert [PARTS[n] for n in parts_of(counts)] == ["head", "torso", "torso", "torso", "tail", "tail", "tail"]


@pytest.mark.parametrize("places", [parts_of, deciles_of])
def test_equal_counts_stand_together_and_rarer_types_never_before_more_frequent_ones(places):
    counts = np.random.default_rng(0).zipf(1.5, 3000).clip(max=10**6)
    found = places(counts)
    order = np.argsort(-counts, kind="stable")
    assert np.all(np.diff(found[order]) >= 0)
    assert all(len(set(found[counts == count])) == 1 for count in np.unique(counts))


def test_shares_of_many_types_are_those_of_their_names():
    counts = np.arange(1, 2001)
    found = parts_of(counts)
    shares = [counts[found == number].sum() / counts.sum() for number in range(3)]
    assert shares == pytest.approx([0.5, 0.45, 0.05], abs=1e-3)
    tenths = deciles_of(counts)
    assert [counts[tenths == n].sum() / counts.sum() for n in range(10)] == pytest.approx([0.1] * 10, abs=2e-3)


def test_some_types_are_placed_as_among_all_of_the_counted_text():
    among = np.array([60, 30, 9, 1])
    assert parts_of(np.array([30, 0, 1]), among).tolist() == [1, 2, 2]
    assert parts_of(np.array([0, 0])).tolist() == [2, 2]
