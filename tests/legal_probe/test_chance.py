"""Chance: p-values are exact where they can be counted, uniform where nothing is there, and small where something is."""

import itertools

import numpy as np
import pytest
from attention_cases import random_reading, random_received, tokens_of
from scipy import stats

from pydisp.legal_probe import chance as chance_file
from pydisp.legal_probe.chance import chance
from pydisp.legal_probe.figures import concept_figures
from pydisp.legal_probe.reading import Reading, read_window


def reading_of(spans, length=80, boost=None, seed=0, excluded=(0,)):
    generator = np.random.default_rng(seed)
    tokens = tokens_of(length, spans, excluded)
    received = random_received(generator, length, boost=boost)
    concepts, _, _ = read_window(tokens, received, {}, False, 200, np.random.default_rng(seed))
    return Reading("m", received.layers, {"c": {"p": concepts["c"]}}, {})


def test_one_span_of_one_passage_has_the_p_of_its_rank():
    reading = reading_of([(30, 36)])
    found = chance(reading, "c")
    (one,) = reading.passages["c"].values()
    (span,) = one.spans
    _, enrichment = reading.ratios(one, span.mass.astype(float), span.uniform)
    others = enrichment[1:]
    count = len(others)
    for head in range(4):
        more, less = (others[:, head] >= enrichment[0, head]).sum() + 1, (others[:, head] <= enrichment[0, head]).sum() + 1
        assert found.p[head] == pytest.approx(min(1, 2 * min(more, less) / (count + 1)))
    assert found.null_spans == count and sum(found.matches) == 1
    assert found.enrichment_by_head == pytest.approx(enrichment.mean(0))
    np.testing.assert_allclose(found.percentiles[0], ((others < enrichment[0]).sum(0) + 0.5) / (count + 1))


def test_two_spans_are_counted_over_all_pairs_that_do_not_overlap():
    reading = reading_of([(30, 33), (36, 40)], length=60)
    found = chance(reading, "c", draws=10**6)
    (one,) = reading.passages["c"].values()
    spans = one.spans
    percentiles = []
    for span in spans:
        enrichment = reading.ratios(one, span.mass.astype(float), span.uniform)[1]
        less = (enrichment[:, None] > enrichment).sum(1) + ((enrichment[:, None] == enrichment).sum(1) - 1) / 2
        percentiles.append((less + 0.5) / len(enrichment))
    pairs = [
        (i, j)
        for i, j in itertools.product(range(len(spans[0].first)), range(len(spans[1].first)))
        if max(spans[0].first[i], spans[1].first[j]) >= min(spans[0].stop[i], spans[1].stop[j])
    ]
    figures = np.array([(percentiles[0][i] + percentiles[1][j]) / 2 for i, j in pairs])
    assert pairs[0] == (0, 0) and len(pairs) < len(spans[0].first) * len(spans[1].first)
    p = np.minimum(1, 2 * np.minimum((figures >= figures[0] - 1e-9).mean(0), (figures <= figures[0] + 1e-9).mean(0)))
    np.testing.assert_allclose(found.p, p)
    np.testing.assert_allclose(found.percentiles, figures[:1])
    drawn = chance(reading, "c", draws=len(figures) // 2, seed=1)
    assert abs(drawn.p - p).max() < 0.15 and not np.array_equal(drawn.p, p)


def test_p_is_uniform_where_spans_are_drawn_like_the_null_spans(monkeypatch):
    generator = np.random.default_rng(3)
    found = [chance(random_reading(generator, 4, seed=seed), "c", seed=seed, draws=999) for seed in range(150)]
    everything = np.array([one.p_all for one in found])
    heads = np.array([one.p for one in found])
    assert stats.kstest(everything, "uniform").pvalue > 0.01
    assert (everything <= 0.05).mean() < 0.12 and (heads <= 0.05).mean() < 0.08  # 150 draws: 0.12 is 4 standard errors above


def test_a_head_that_attends_to_the_concept_is_found():
    generator = np.random.default_rng(5)
    figures = concept_figures(random_reading(generator, 12, boost=1.5, heads=8), "c")
    assert figures.found[0] and figures.q[0] < 0.01 and figures.head_percentile[0] > 0.7
    assert figures.found[1:].sum() <= 1


def test_neglect_is_found_as_well():
    generator = np.random.default_rng(6)
    figures = concept_figures(random_reading(generator, 12, boost=-1.5, heads=8), "c")
    assert figures.found[0] and figures.head_percentile[0] < 0.3 and figures.found[1:].sum() <= 1


def test_one_seed_one_result_and_small_chunks_change_nothing(monkeypatch):
    reading = random_reading(np.random.default_rng(0), 5)
    one, same, other = (chance(reading, "c", seed=seed, draws=500) for seed in (1, 1, 2))
    assert np.array_equal(one.p, same.p) and not np.array_equal(one.p, other.p)
    monkeypatch.setattr(chance_file, "_CHUNK_VALUES", 100)
    chunked = chance(reading, "c", seed=1, draws=500)
    assert np.array_equal(chunked.p, one.p) and chunked.enrichment == pytest.approx(one.enrichment)


def test_no_null_span_no_p():
    assert chance(reading_of([(0, 1)], length=1, excluded=()), "c") is None
    figures = concept_figures(reading_of([(0, 1)], length=1, excluded=()), "c")
    assert (
        figures.enrichment.p is None
        and np.isnan(figures.q).all()
        and not figures.found.any()
        and figures.as_dict([(0, 0)] * 4)["chance"] is None
    )


def test_a_head_without_attention_on_counted_tokens_has_no_p_and_spoils_no_other():
    reading = random_reading(np.random.default_rng(1), 3)
    whole = chance(reading, "c", draws=300)
    one = reading.passages["c"]["1"]
    one.counted[2] = 0.0
    for span in one.spans:
        span.mass[:, 2] = 0
    found = chance(reading, "c", draws=300)
    assert np.isnan(found.p[2]) and np.array_equal(np.delete(found.p, 2), np.delete(whole.p, 2)) and 0 < found.p_all <= 1
    figures = concept_figures(reading, "c")
    assert (
        np.isnan(figures.head_share[2]) and np.isfinite(figures.share.value) and figures.as_dict(reading.heads)["heads"][2]["share"] is None
    )
