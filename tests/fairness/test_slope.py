"""The slope of losses that follow the law is -1/2, and the diagnostic says when it cannot be read."""

import numpy as np
import pytest

from pydisp.fairness.slope import slope_of
from pydisp.fairness.token_stats import TokenStats


def stats_of(counts, nats):
    counts, nats = np.asarray(counts), np.asarray(nats, dtype=np.float64)
    nothing = np.zeros(len(counts))
    return TokenStats("token", np.arange(len(counts)), counts, counts * nats, counts * nats**2, counts * 0, nothing, nothing, nothing)


def law(counts, c, exponent=-0.5):
    return -np.log1p(-c * np.asarray(counts, dtype=np.float64) ** exponent)


COUNTS = np.arange(1, 400)


def test_losses_that_follow_the_law():
    found = slope_of(stats_of(COUNTS, law(COUNTS, 0.3)), least_count=5)
    assert found.slope == pytest.approx(-0.5, abs=1e-9) and found.interval == pytest.approx((-0.5, -0.5), abs=1e-9)
    assert found.types == 395 and found.left_out == 0 and found.least_count == 5 and found.is_readable
    assert found.median_nats == pytest.approx(np.median(law(COUNTS[4:], 0.3)))


def test_another_exponent_is_found_and_its_interval_holds_it():
    noise = np.exp(0.2 * np.random.default_rng(0).standard_normal(len(COUNTS)))
    found = slope_of(stats_of(COUNTS, law(COUNTS, 0.2 * noise, -0.25)))
    low, high = found.interval
    assert low < -0.25 < high and low < found.slope < high and high - low < 0.2
    assert found == slope_of(stats_of(COUNTS, law(COUNTS, 0.2 * noise, -0.25)))  # the same draws
    assert found.interval != slope_of(stats_of(COUNTS, law(COUNTS, 0.2 * noise, -0.25)), seed=1).interval


def test_large_losses_cannot_be_read():
    """Losses from 4 to 6 nats that fall with the count as those of any model do: the slope is near 0, whatever they are."""
    found = slope_of(stats_of(COUNTS, 6 - 2 * np.log(COUNTS) / np.log(400)))
    assert not found.is_readable and found.median_nats > 4 and abs(found.slope) < 0.02 and not found.as_dict()["is_readable"]


def test_counts_of_the_train_text_may_differ_from_those_scored():
    scored = stats_of(np.full(len(COUNTS), 2), law(COUNTS, 0.3))
    assert slope_of(scored, COUNTS).slope == pytest.approx(-0.5, abs=1e-9)


def test_a_loss_of_zero_is_left_out():
    nats = law(COUNTS, 0.3)
    nats[[10, 20]] = 0
    found = slope_of(stats_of(COUNTS, nats))
    assert found.left_out == 2 and found.types == 393 and found.slope == pytest.approx(-0.5, abs=1e-9)


def test_too_few_types_are_refused():
    with pytest.raises(ValueError, match="^9 types have 5 occurrences or more and a loss above 0, a slope needs 10; give more text"):
        slope_of(stats_of(np.arange(1, 14), law(np.arange(1, 14), 0.3)))
    with pytest.raises(ValueError, match="^all types that can be used occur 7 times; a slope over the count needs different counts"):
        slope_of(stats_of(np.full(20, 7), np.linspace(0.1, 0.2, 20)))
