"""Comparisons: what differs is found, what does not is not, and heads are matched by their place."""

from dataclasses import replace

import numpy as np
import pytest
from attention_cases import random_reading
from scipy import stats

from pydisp.intervals import Resamples
from pydisp.legal_probe.comparison import compare, sign_flips, standing_out
from pydisp.legal_probe.figures import adjusted
from pydisp.legal_probe.moments import Moments
from pydisp.legal_probe.reading import Reading
from pydisp.legal_probe.received import LayerFacts


def changed(reading: Reading, head: int, factor: float, noise: float = 0.0, seed: int = 0) -> Reading:
    """The same passages, where a head gives the concept `factor` times as much and all heads differ by noise; ranks stay."""
    generator = np.random.default_rng(seed)
    passages = {}
    for name, one in reading.passages["c"].items():
        factors = np.exp(noise * generator.normal(size=len(one.counted)))
        factors[head] *= factor
        passages[name] = replace(one, spans=tuple(replace(span, mass=span.mass * factors) for span in one.spans))
    return replace(reading, model="changed", passages={"c": passages})


@pytest.fixture(scope="module")
def reading():
    return random_reading(np.random.default_rng(0), 14, heads=6)


def test_the_difference_is_model_minus_reference(reading):
    other = changed(reading, 2, 1.5)
    found = compare(other, reading, "c")
    share, its = other.share("c"), reading.share("c")
    assert found.share.value == pytest.approx((share - its).mean())
    np.testing.assert_allclose(found.head_share, (share - its).mean(0))
    assert found.found.tolist() == [False, False, True, False, False, False]
    assert found.percentile.value == 0 and found.percentile.p == 1  # the null spans received the same factor: no rank has moved
    higher = {
        name: replace(one, spans=tuple(replace(span, percentile=span.percentile + 0.1) for span in one.spans))
        for name, one in reading.passages["c"].items()
    }
    assert compare(replace(reading, passages={"c": higher}), reading, "c").percentile.value == pytest.approx(0.1)
    assert found.share.interval[0] < found.share.value < found.share.interval[1] and found.share.p < 0.01
    low, high = found.head_interval[2]
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 13, (share - its)[:, 2].mean(), stats.sem((share - its)[:, 2])))
    assert found.moments == Moments.of((share - its).mean(0)) and found.moments.skewness > 1
    assert [one.value for one in found.layer_share] == pytest.approx([(share - its)[:, part].mean() for part in (slice(3), slice(3, 6))])
    assert found.layer_median == pytest.approx([np.median((share - its).mean(0)[part]) for part in (slice(3), slice(3, 6))])
    back = compare(reading, other, "c")
    assert back.share.value == pytest.approx(-found.share.value) and back.reference == "changed"


def test_equal_models_differ_nowhere(reading):
    found = compare(reading, reading, "c")
    assert found.share.value == 0 and found.share.p == 1 and not found.found.any() and found.standing_out == ()
    assert found.moments.skewness is None and found.as_dict()["moments"]["entropy"] == 0


def test_heads_are_matched_by_layer_and_number(reading):
    fewer = replace(
        reading,
        layers=reading.layers[1:],
        passages={"c": {
            name: replace(
                one, counted=one.counted[3:], uniform=one.uniform[1:], sink=one.sink[3:], entropy=one.entropy[3:],
                spans=tuple(replace(span, mass=span.mass[3:], uniform=span.uniform[1:], percentile=span.percentile[3:]) for span in one.spans),
            )
            for name, one in reading.passages["c"].items()
        }},
    )  # fmt: skip
    found = compare(fewer, changed(reading, 4, 2.0), "c")
    assert found.heads == ((1, 0), (1, 1), (1, 2)) and found.layers == (1,)
    assert found.head_share[0] == 0 > found.head_share[1]
    assert found.share.value == pytest.approx(found.head_share.mean())
    apart = replace(fewer, layers=(LayerFacts(7, 3, 1, "full", None),))
    none = compare(apart, reading, "c")
    assert none.heads == () and none.moments is None and none.layers == ()
    assert none.share.value == pytest.approx(apart.share("c").mean() - reading.share("c").mean())


def test_only_passages_that_both_have_are_compared(reading):
    few = replace(reading, passages={"c": dict(list(reading.passages["c"].items())[:2])})
    found = compare(reading, few, "c")
    assert found.passages == 2 and found.share.interval is None and np.isnan(found.head_q).all() and found.standing_out is None
    assert found.as_dict()["heads"][0]["interval"] is None
    assert compare(reading, replace(reading, passages={}), "c") is None


def test_a_passage_of_which_one_model_measured_fewer_spans_is_not_compared(reading):
    name, one = next((name, one) for name, one in reading.passages["c"].items() if len(one.spans) == 2)
    fewer = replace(reading, passages={"c": reading.passages["c"] | {name: replace(one, spans=one.spans[:1])}})
    assert compare(fewer, reading, "c").passages == 13


def test_one_head_among_a_thousand_can_differ():
    values = np.random.default_rng(0).normal(size=(16, 1000))
    values[:, 7] += 4
    assert np.flatnonzero(adjusted(sign_flips(values, Resamples(16))) <= 0.05).tolist() == [7]


def test_what_one_half_finds_the_other_half_tries():
    values = np.random.default_rng(0).normal(size=(16, 30))
    values[:, 3] += 4
    values[:, 8] -= 4
    values[:, 20] += 6 * (np.arange(16) == 2)  # one passage only
    found = standing_out(values, [(n // 10, n % 10) for n in range(30)], 0)
    assert {(one.layer, one.head) for one in found if one.holds} == {(0, 3), (0, 8)}
    assert all(np.sign(one.found) == np.sign(one.tried) for one in found if one.holds)
    assert standing_out(values[:7], [(0, n) for n in range(30)], 0) is None


def test_with_independent_noise_p_is_uniform_and_few_heads_are_found():
    """Equal models: differences are noise, of any shape that is symmetric."""
    generator = np.random.default_rng(4)
    p, any_found, held = [], [], []
    for seed in range(120):
        values = generator.standard_t(3, size=(16, 60)) * generator.uniform(0.5, 2, size=(16, 1))
        one = sign_flips(values, Resamples(16, seed))
        p.append(one)
        any_found.append((adjusted(one) <= 0.05).any())
        held.append(any(head.holds for head in standing_out(values, [(0, n) for n in range(60)], seed)))
    p = np.array(p)
    assert stats.kstest(p[:, 0], "uniform").pvalue > 0.01 and abs((p <= 0.05).mean() - 0.05) < 0.012
    assert np.mean(any_found) < 0.11 and np.mean(held) < 0.05  # 120 runs: 0.11 is 3 standard errors above 0.05
