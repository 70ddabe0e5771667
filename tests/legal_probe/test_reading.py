"""Readings: share and enrichment against the definition, written out from whole matrices of attention."""

import numpy as np
import pytest
from attention_cases import WINDOW, causal_weights, random_received, reading_of, tokens_of

from pydisp.legal_probe.passage_tokens import TokenSpan
from pydisp.legal_probe.place import design
from pydisp.legal_probe.received import LayerFacts, Received
from pydisp.legal_probe.window_mass import merged


def by_definition(weights, in_concept, counts, later):
    """The paper's ratio: all queries, the concept's counted keys over all counted keys."""
    if later:
        weights = np.tril(weights, -1)
    return weights[:, :, in_concept & counts].sum((1, 2)) / weights[:, :, counts].sum((1, 2))


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("spans", [[(4, 6)], [(1, 2), (7, 12)], [(0, 3), (11, 13)]])
def test_share_and_enrichment_are_those_of_the_whole_matrix(spans, later):
    generator = np.random.default_rng(0)
    length, excluded = 14, (0, 2, 8)
    full, windowed = (
        causal_weights(generator.normal(size=(2, length, length)) * 2),
        causal_weights(generator.normal(size=(1, length, length)), 5),
    )
    weights = np.concatenate([full, windowed])
    layers = (LayerFacts(0, 2, 1, "full", None), LayerFacts(3, 1, 1, "sliding window", 5))
    received = Received(weights.sum(1), np.diagonal(weights, axis1=1, axis2=2), np.zeros(3), layers)
    tokens = tokens_of(length, spans, excluded)
    reading = reading_of([(tokens, received)], later)
    in_concept = np.zeros(length, dtype=bool)
    for first, stop in spans:
        in_concept[first:stop] = True
    counts = ~tokens.is_excluded
    share = by_definition(weights, in_concept, counts, later)
    flat = np.concatenate([causal_weights(np.zeros((2, length, length))), causal_weights(np.zeros((1, length, length)), 5)])
    np.testing.assert_allclose(reading.share("c"), share[None], rtol=1e-6)
    np.testing.assert_allclose(reading.enrichment("c"), (share / by_definition(flat, in_concept, counts, later))[None], rtol=1e-6)
    assert not reading.skipped and reading.heads == [(0, 0), (0, 1), (3, 0)] and reading.strips["p"].texts == ("a",) * length


def test_later_leaves_out_a_span_that_no_later_token_sees():
    received = random_received(np.random.default_rng(0), 20)
    reading = reading_of([(tokens_of(20, [("a", 19, 20), ("b", 3, 5), ("c", 7, 8)], (0, 7)), received)], later=True)
    assert list(reading.passages) == ["b"]
    assert reading.skipped == (("p", "a", "no later token sees it"), ("p", "c", "none of its tokens counts"))


def test_a_group_is_the_union_of_its_concepts():
    received = random_received(np.random.default_rng(0), 50)
    tokens = tokens_of(50, [("a", 5, 9), ("b", 7, 12), ("b", 30, 31)])
    reading = reading_of([(tokens, received)], groups={"both": ("a", "b")})
    spans = reading.passages["both"]["p"].spans
    assert [(span.first, span.stop) for span in spans] == [(5, 12), (30, 31)]
    np.testing.assert_allclose(sum(span.mass for span in spans), received.mass[:, [*range(5, 12), 30]].sum(1), rtol=1e-6)


def test_spans_that_share_a_token_are_one():
    spans = [TokenSpan("x", 4, 6), TokenSpan("x", 1, 3), TokenSpan("x", 5, 9), TokenSpan("x", 9, 10)]
    assert [(one.first, one.stop) for one in merged(spans, "x")] == [(1, 3), (4, 9), (9, 10)]


def test_ranks_are_of_what_a_span_received_over_what_its_places_receive():
    """Where all heads give only by place, spans rank by nothing; without the trend the later of two equal words would rank higher."""
    generator = np.random.default_rng(0)
    length, read = 100, []
    for number in range(40):
        first = int(generator.integers(2, 95))
        tokens = tokens_of(length, [(first, first + 3)], (0,), str(number))
        by_place = np.exp(0.04 * np.arange(length)) * (1 + 3 * (np.arange(length) < 4))
        mass = (by_place * np.exp(0.1 * generator.normal(size=(4, length)))).astype(np.float32)
        read.append((tokens, Received(mass, 0 * mass, np.zeros(4), (LayerFacts(0, 4, 1, "full", None),))))
    reading = reading_of(read)
    firsts = np.array([one.spans[0].first for one in reading.passages["c"].values()])
    ranks = reading.percentile("c").mean(1)
    assert (
        abs(np.corrcoef(firsts, ranks)[0, 1]) < 0.35
        and abs(ranks[firsts < 8].mean() - 0.5) < 0.2
        and abs(ranks[firsts > 90].mean() - 0.5) < 0.2
    )
    enrichment = reading.enrichment("c").mean(1)
    assert np.corrcoef(firsts, enrichment)[0, 1] > 0.5


def test_the_design_bends_at_both_ends():
    columns = design(50)
    assert np.allclose(columns[0, 0], 0) and np.allclose(columns[-1, len(columns[0]) // 2], 0) and np.isfinite(columns).all()
    assert np.allclose(columns[:, 0], columns[::-1, len(columns[0]) // 2])


def test_draws_of_a_span_do_not_depend_on_what_else_is_read():
    received = [random_received(np.random.default_rng(n), 900) for n in range(2)]
    tokens = [tokens_of(900, [("a", 40, 44), ("b", 290, 294)], (0,), str(n)) for n in range(2)]
    both = reading_of(list(zip(tokens, received, strict=True)), most=30)
    fewer = [tokens_of(900, [("b", 290, 294)], (0,), "1")]
    alone = reading_of(list(zip(fewer, received[1:], strict=True)), most=30)
    one, other = (reading.passages["b"]["1"].spans[0] for reading in (both, alone))
    assert len(one.of_nulls) == 31 and np.array_equal(one.null_mass, other.null_mass)
    assert not np.array_equal(
        one.null_mass, reading_of(list(zip(tokens, received, strict=True)), most=30, seed=1).passages["b"]["1"].spans[0].null_mass
    )


def test_the_sink_is_the_first_tokens_share_of_all_attention():
    received = random_received(np.random.default_rng(2), 60)
    np.testing.assert_allclose(received.sink, received.mass[:, 0] / 60, rtol=1e-6)
    assert WINDOW < 60 and received.mass.sum(1) == pytest.approx(60)
