"""Chance: p-values are exact where they can be counted, uniform where nothing is there, and small where something is."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from attention_cases import random_reading, random_received, reading_of, shuffled, tokens_of
from scipy import stats

from pydisp.legal_probe import Exclusion, shipped
from pydisp.legal_probe import chance as chance_file
from pydisp.legal_probe.chance import chance
from pydisp.legal_probe.figures import adjusted, concept_figures
from pydisp.legal_probe.passage_tokens import tokenize_passage
from pydisp.legal_probe.reading import read_attention
from pydisp.loading import load_model, load_tokenizer


def a_reading(spans, length=80, seed=0, excluded=(0,)):
    generator = np.random.default_rng(seed)
    return reading_of([(tokens_of(length, spans, excluded), random_received(generator, length))], seed=seed)


def test_one_span_of_one_passage_has_the_p_of_its_rank():
    reading = a_reading([(30, 36)])
    found = chance(reading, "c")
    (one,) = reading.passages["c"].values()
    (span,) = one.spans
    rows = len(span.of_nulls)
    rank = np.round(span.percentile * rows + 0.5)  # from 1, the lowest
    np.testing.assert_allclose(found.p, np.minimum(1, 2 * np.minimum(rank, rows + 1 - rank) / rows), rtol=1e-5)
    assert found.null_spans == rows - 1 and sum(found.matches) == 1 and found.draws == rows
    below, above = (span.of_nulls <= span.of_nulls[0]).sum(), (span.of_nulls >= span.of_nulls[0]).sum()
    assert found.p_all == pytest.approx(min(1, 2 * min(below, above) / rows))
    np.testing.assert_allclose(found.enrichment_by_head, one.null_enrichment)


def test_two_spans_are_counted_over_all_pairs():
    reading = a_reading([(30, 33), (36, 40)], length=60)
    found = chance(reading, "c")
    first, second = next(iter(reading.passages["c"].values())).spans
    rows = len(first.of_nulls), len(second.of_nulls)
    pairs = np.array([((i + 0.5) / rows[0] + (j + 0.5) / rows[1]) / 2 for i, j in itertools.product(*map(range, rows))])
    target = (first.percentile + second.percentile) / 2
    p = [min(1, 2 * min((pairs >= one - 1e-9).mean(), (pairs <= one + 1e-9).mean())) for one in target]
    np.testing.assert_allclose(found.p, p)
    np.testing.assert_allclose(reading.percentile("c")[0], target)


def test_draws_agree_with_counting(monkeypatch):
    reading = random_reading(np.random.default_rng(2), 2)
    exact = chance(reading, "c")
    monkeypatch.setattr(chance_file, "_MOST_TUPLES", 10)
    drawn, again, other = (chance(reading, "c", seed=seed) for seed in (1, 1, 2))
    assert abs(drawn.p - exact.p).max() < 0.005 and abs(drawn.p_all - exact.p_all) < 0.005
    assert np.array_equal(drawn.p, again.p) and not np.array_equal(drawn.p, other.p) and drawn.draws == 1_000_000


def test_chance_is_the_mean_of_the_null_spans_without_the_span_itself():
    reading = a_reading([(30, 36)])
    one = next(iter(reading.passages["c"].values()))
    span = replace(one.spans[0], mass=one.spans[0].mass * 100)
    changed = replace(reading, passages={"c": {"p": replace(one, spans=(span,))}})
    assert chance(changed, "c").share == chance(reading, "c").share
    np.testing.assert_allclose(chance(reading, "c").share, np.mean(span.null_mass / one.counted))


def test_by_chance_the_enrichment_of_many_random_spans_is_theirs():
    """A concept's enrichment is a ratio of sums over its spans; a mean over single null spans would be far higher, for late spans decide it."""
    generator = np.random.default_rng(0)
    read = []
    for number in range(30):
        edges = np.sort(generator.choice(np.arange(2, 148), 8, replace=False))
        spans = [(int(first), int(first) + 1) for first in edges]
        read.append((tokens_of(150, spans, (0,), str(number)), random_received(generator, 150)))
    figures = concept_figures(reading_of(read), "c")
    assert figures.enrichment.value == pytest.approx(figures.chance.enrichment, rel=0.15)
    assert figures.share.value == pytest.approx(figures.chance.share, rel=0.15)


def test_p_is_uniform_where_spans_are_drawn_like_the_null_spans():
    generator = np.random.default_rng(3)
    found = [chance(random_reading(generator, 4, seed=seed), "c", seed=seed) for seed in range(150)]
    everything, heads = np.array([one.p_all for one in found]), np.array([one.p for one in found])
    assert stats.kstest(everything, "uniform").pvalue > 0.01
    assert (everything <= 0.05).mean() < 0.12 and (heads <= 0.05).mean() < 0.08  # 150 draws: 0.12 is 4 standard errors above


@pytest.mark.parametrize("size", [1, 6])
def test_spans_of_one_length_are_like_any_others(size):
    generator, found = np.random.default_rng(size), []
    for seed in range(40):
        read = []
        for number in range(16):
            length, first = int(generator.integers(50, 150)), int(generator.integers(8, 40))
            read.append((tokens_of(length, [(first, first + size)], (0,), str(number)), random_received(generator, length)))
        found.append(chance(reading_of(read, seed=seed), "c").p_all)
    assert np.mean(np.array(found) <= 0.05) < 0.16  # 40 draws: 3 standard errors above


def test_words_in_random_order_have_no_concepts():
    """The shipped spans on the demo model: place, length and neighbours alone must not be taken for a concept."""
    tokenizer = load_tokenizer("demo")
    model = load_model("demo", device=torch.device("cpu"), dtype=torch.float32)
    concepts = shipped().selected(["permissible action", "definiendum", "condition"])
    p, heads = [], []
    for seed in range(4):
        generator = np.random.default_rng(seed)
        mixed = [[tokenize_passage(shuffled(passage, generator), tokenizer, Exclusion())] for passage in concepts.passages]
        reading = read_attention(model, mixed, name="demo", seed=seed)
        found = [chance(reading, concept, seed=seed) for concept in concepts.concepts]
        p += [one.p_all for one in found]
        heads += [(adjusted(one.p) <= 0.05).mean() for one in found]
    assert np.mean(np.array(p) <= 0.05) <= 3 / 12 and np.mean(heads) < 0.03


@pytest.mark.parametrize(("boost", "low", "high"), [(1.5, 0.7, 1.0), (-1.5, 0.0, 0.3)])
def test_a_head_that_attends_to_the_concept_or_neglects_it_is_found(boost, low, high):
    generator = np.random.default_rng(5)
    figures = concept_figures(random_reading(generator, 12, boost=boost, heads=8), "c")
    assert figures.found[0] and figures.q[0] < 0.01 and low < figures.head_percentile[0] < high
    assert figures.found[1:].sum() <= 1


def test_a_drawn_p_is_never_0(monkeypatch):
    reading = random_reading(np.random.default_rng(0), 16)
    for one in reading.passages["c"].values():
        for span in one.spans:
            span.percentile[0] = 1.0  # above every rank
    monkeypatch.setattr(chance_file, "_MOST_DRAWS", 999)
    found = chance(reading, "c")
    assert found.draws == 999 and found.p[0] == pytest.approx(2 / 1000)


def test_one_head_among_a_thousand_can_be_found():
    reading = random_reading(np.random.default_rng(0), 16)
    for one in reading.passages["c"].values():
        for span in one.spans:
            rows = len(span.of_nulls)
            span.percentile[0] = (rows - 0.5) / rows
    p = chance(reading, "c").p
    assert adjusted(np.append(p[0], np.full(5000, 0.5)))[0] < 0.05


def test_no_null_span_no_p():
    reading = a_reading([(0, 1)], length=1, excluded=())
    assert chance(reading, "c") is None
    figures = concept_figures(reading, "c")
    assert figures.percentile is None and np.isnan(figures.q).all() and not figures.found.any()
    assert figures.as_dict([(0, 0)] * 4)["chance"] is None


def test_a_head_without_attention_on_counted_tokens_has_no_p_and_spoils_no_other():
    reading = random_reading(np.random.default_rng(1), 3)
    whole = chance(reading, "c")
    reading.passages["c"]["1"].counted[2] = 0.0
    for span in reading.passages["c"]["1"].spans:
        span.mass[2] = 0
    found = chance(reading, "c")
    assert np.isnan(found.p[2]) and np.array_equal(np.delete(found.p, 2), np.delete(whole.p, 2)) and 0 < found.p_all <= 1
    figures = concept_figures(reading, "c")
    assert (
        np.isnan(figures.head_share[2]) and np.isfinite(figures.share.value) and figures.as_dict(reading.heads)["heads"][2]["share"] is None
    )


def test_many_spans_of_one_passage_have_a_p_in_a_moment():
    generator = np.random.default_rng(0)
    spans = [(first, first + 2) for first in range(5, 1205, 10)]
    found = chance(reading_of([(tokens_of(1500, spans), random_received(generator, 1500, heads=2))]), "c")
    assert 0 < found.p_all <= 1 and found.draws >= 20_000 and np.isfinite(found.share)
