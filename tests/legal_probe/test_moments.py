"""Moments agree with scipy and with numpy, and keep their figures where values lie close together far from 0."""

import json
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from pydisp.legal_probe.moments import Moments, histogram_entropy, kurtosis, skewness


def samples(seed: int):
    draw = np.random.default_rng(seed)
    return {
        "normal": draw.normal(size=1024),
        "skewed": draw.lognormal(size=1024),
        "few": draw.normal(size=3),
        "far": 1e6 + draw.normal(size=1024),
        "near": 0.5 + 1e-6 * draw.exponential(size=1024),
        "matrix": draw.normal(size=(32, 32)),
        "small": 1e-120 * draw.normal(size=50),
    }


def exact(values) -> tuple[float, float]:
    """Skewness and kurtosis, in fractions up to the root."""
    values = [Fraction(value) for value in values.tolist()]
    mean = sum(values) / len(values)
    m2, m3, m4 = (sum((value - mean) ** power for value in values) / len(values) for power in (2, 3, 4))
    return float(m3 / m2) / float(m2) ** 0.5, float(m4 / m2**2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", samples(0))
def test_moments_are_those_of_scipy(name, seed):
    values = samples(seed)[name]
    # scipy's own powers fall to 0 for very small values; both figures are the same for any multiple
    flat = values.ravel() * (1e120 if name == "small" else 1)
    for ours, theirs, true in zip(
        (skewness(values), kurtosis(values)), (stats.skew(flat), stats.kurtosis(flat, fisher=False)), exact(flat), strict=True
    ):
        assert abs(ours - true) <= 1e-13 * abs(true) + 1e-14
        assert abs(ours - theirs) <= abs(theirs - true) + 1e-10  # scipy's mean has a rounding error, up to 3e-10 of skewness in these


@pytest.mark.parametrize("mean, step", [(2.0**40, 2.0**-10), (-(2.0**20), 2.0**-30), (1.0, 2.0**-50)])
def test_a_tiny_spread_around_a_large_mean_keeps_its_shape(mean, step):
    whole = np.random.default_rng(1).poisson(4.0, size=777).astype(float)
    values = mean + step * whole  # exact
    assert skewness(values) == pytest.approx(stats.skew(whole), abs=1e-10)
    assert kurtosis(values) == pytest.approx(stats.kurtosis(whole, fisher=False), abs=1e-10)
    assert histogram_entropy(values) == pytest.approx(histogram_entropy(whole), abs=1e-12)
    assert Moments.of(values).standard_deviation == pytest.approx(step * whole.std(), rel=1e-10)


def test_entropy_is_that_of_the_histogram():
    values = np.random.default_rng(2).normal(size=1024)
    for bins in (1, 2, 11, 40):
        assert histogram_entropy(values, bins) == pytest.approx(stats.entropy(np.histogram(values, bins)[0]), abs=1e-12)
    assert histogram_entropy(values) == histogram_entropy(values, 11)
    assert histogram_entropy([0.0, 1.0]) == pytest.approx(np.log(2)) and histogram_entropy(range(11)) == pytest.approx(np.log(11))
    assert histogram_entropy([1.0, np.nextafter(1.0, 2.0)]) == pytest.approx(np.log(2))
    assert str(histogram_entropy(values, 1)) == "0.0"


@pytest.mark.parametrize("values", [[0.1] * 7, [3.0], [1e100] * 1000, np.full((4, 4), -1 / 3)])
def test_equal_values_have_no_shape(values):
    found = Moments.of(values)
    assert (found.skewness, found.kurtosis, found.entropy, found.standard_deviation) == (None, None, 0.0, 0.0)
    assert skewness(values) is None and kurtosis(values) is None


def test_moments_by_hand():
    found = Moments.of([0.0, 0.0, 0.0, 4.0])
    assert (found.count, found.mean, found.median) == (4, 1.0, 0.0)
    assert found.standard_deviation == pytest.approx(3**0.5) and found.skewness == pytest.approx(6 / 3**1.5)
    assert found.kurtosis == pytest.approx(21 / 9) and found.entropy == pytest.approx(-0.25 * np.log(0.25) - 0.75 * np.log(0.75))
    assert list(json.loads(json.dumps(found.as_dict()))) == [
        "count", "mean", "median", "standard_deviation", "skewness", "kurtosis", "entropy",
    ]  # fmt: skip


def test_a_positive_skewness_may_go_with_less_attention():
    found = Moments.of([-0.1] * 9 + [0.05])
    assert found.skewness > 0 > found.mean


@pytest.mark.parametrize("function", [skewness, kurtosis, histogram_entropy, Moments.of])
def test_values_that_are_none_are_refused(function):
    for wrong, words in (
        ([], "there is no value"),
        ([1.0, np.nan], "a value is nan"),
        ([-np.inf, 1.0], "is -inf"),
        ([1e200], "at most 1e\\+150"),
    ):
        with pytest.raises(ValueError, match=words):
            function(wrong)


@pytest.mark.parametrize("bins", [0, 2.0, True])
def test_bins_that_are_no_number_of_bins_are_refused(bins):
    with pytest.raises(ValueError, match="bins is"):
        histogram_entropy([1.0, 2.0], bins)
