"""Intervals hold the truth as often as they say, and p-values of no difference are uniform, on skewed, correlated documents."""

import numpy as np
import pytest
from scipy import stats

from pydisp.intervals import Ratio, Resamples, balanced_jackknife

DATA_SETS = 300  # bench/bench_fairness.py does 2,000


def skewed_documents(rng, documents=60):
    """Sums and counts of a text: lengths are lognormal, each document has a level of its own, losses are exponential around it."""
    counts = np.maximum(rng.lognormal(3.5, 0.8, documents).astype(int), 1)
    levels = rng.gamma(4.0, 0.75, documents)  # mean 3 nats
    return np.array([rng.exponential(level, n).sum() for level, n in zip(levels, counts, strict=True)]), counts


def coverage(intervals, truth):
    return np.mean([low <= truth <= high for low, high in intervals])


def test_intervals_of_averages_cover():
    rng = np.random.default_rng(0)
    found = []
    for seed in range(DATA_SETS):
        sums, counts = skewed_documents(rng)
        found.append(Resamples(len(sums), seed).interval([Ratio(sums, counts)])[1])
    assert 0.915 <= coverage(found, 3.0) <= 0.985, coverage(found, 3.0)  # 300 data sets: 95 % plus or minus 2.8 standard errors


def test_intervals_of_a_difference_of_two_averages_cover():
    rng = np.random.default_rng(1)
    found = []
    for seed in range(DATA_SETS):
        tail, tail_counts = skewed_documents(rng)
        other, other_counts = skewed_documents(rng)
        whole = [Ratio(tail, tail_counts), Ratio(tail + other, tail_counts + other_counts, -1.0)]
        found.append(Resamples(len(tail), seed).interval(whole)[1])
    assert 0.91 <= coverage(found, 0.0) <= 0.985, coverage(found, 0.0)


def test_a_jackknife_covers_the_mean_over_types():
    rng = np.random.default_rng(2)
    types = 200
    level_of_type = rng.gamma(4.0, 0.75, types)
    share = 1 / np.arange(1, types + 1)
    found = []
    for _ in range(DATA_SETS):
        document = np.repeat(np.arange(50), np.maximum(rng.lognormal(4, 0.6, 50).astype(int), 2))
        type_ = rng.choice(types, len(document), p=share / share.sum())
        shift = rng.normal(0, 0.3, 50)
        values = level_of_type[type_] + shift[document] + rng.exponential(1, len(document)) - 1
        truth = level_of_type[np.unique(type_)].mean()
        value, interval, _ = balanced_jackknife(document, type_, values)
        found.append((interval[0] - truth, interval[1] - truth))
    assert 0.91 <= coverage(found, 0.0) <= 0.995, coverage(found, 0.0)


def test_p_values_of_equal_models_are_uniform():
    rng = np.random.default_rng(3)
    found = []
    for seed in range(DATA_SETS):
        counts = np.maximum(rng.lognormal(3.5, 0.8, 40).astype(int), 1)
        noise = rng.normal(0, 1, 40) * np.sqrt(counts)
        found.append(Resamples(40, seed).sign_flip_p((noise / counts.sum())[:, None])[0])
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_the_studentized_interval_is_that_of_a_loop():
    rng = np.random.default_rng(4)
    sums, counts = skewed_documents(rng, 35)
    resamples = Resamples(35, 9)
    value, (low, high), error = resamples.interval([Ratio(sums, counts)])
    without = np.array([(sums.sum() - s) / (counts.sum() - n) for s, n in zip(sums, counts, strict=True)])
    jackknife = np.sqrt(34 / 35 * ((without - without.mean()) ** 2).sum())
    assert value == pytest.approx(sums.sum() / counts.sum()) and error == pytest.approx(jackknife)
    scores = []
    for weight in np.concatenate(list(resamples._weights())):
        drawn = (weight * sums).sum() / (weight * counts).sum()
        its_error = np.sqrt((weight * (sums - drawn * counts) ** 2).sum() * 35 / 34) / (weight * counts).sum()
        scores.append((drawn - value) / its_error)
    below, above = np.quantile(scores, [0.025, 0.975])
    student = stats.t.ppf(0.975, 34)
    below, above = min(below, -student), max(above, student)
    assert (low, high) == pytest.approx((value - above * error, value - below * error))


def test_the_jackknife_is_that_of_a_loop():
    rng = np.random.default_rng(5)
    document, type_, values = rng.integers(0, 9, 80), rng.zipf(1.7, 80).clip(max=20), rng.exponential(2, 80)

    def balanced(keep):
        return np.mean([values[keep & (type_ == t)].mean() for t in np.unique(type_[keep])])

    without = np.array([balanced(document != d) for d in range(9)])
    error = np.sqrt(8 / 9 * ((without - without.mean()) ** 2).sum())
    value, (low, high), its_error = balanced_jackknife(document, type_, values)
    assert value == pytest.approx(balanced(document >= 0)) and its_error == pytest.approx(error)
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, 8) * error)


def test_no_variation_gives_a_point_and_no_surprise():
    counts = np.full(40, 5)
    assert Resamples(40).interval([Ratio(np.zeros(40), counts)]) == (0.0, (0.0, 0.0), 0.0)
    assert Resamples(40).sign_flip_p(np.zeros((40, 2))).tolist() == [1.0, 1.0]
    assert balanced_jackknife(np.array([0, 0]), np.array([1, 2]), np.array([1.0, 3.0]))[:2] == (2.0, None)
    with pytest.raises(ValueError, match="no count in any document"):
        Resamples(40).interval([Ratio(np.zeros(40), np.zeros(40))])


def test_a_seed_gives_the_same_draws():
    sums, counts = skewed_documents(np.random.default_rng(6))
    one, again, other = (Resamples(60, seed).interval([Ratio(sums, counts)])[1] for seed in (1, 1, 2))
    assert one == again != other
    flips = [Resamples(60, seed).sign_flip_p((sums - 3 * counts)[:, None])[0] for seed in (1, 1)]
    assert flips[0] == flips[1]
