"""Readings: share and enrichment against the definition, written out from whole matrices of attention."""

import numpy as np
import pytest
from attention_cases import WINDOW, causal_weights, random_received, tokens_of

from pydisp.legal_probe.passage_tokens import TokenSpan
from pydisp.legal_probe.reading import Reading, merged, read_window
from pydisp.legal_probe.received import LayerFacts, Received


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
    concepts, strip, missed = read_window(tokens, received, {}, later, 200, generator)
    reading = Reading("m", layers, {"c": {"p": concepts["c"]}}, {"p": strip})
    in_concept = np.zeros(length, dtype=bool)
    for first, stop in spans:
        in_concept[first:stop] = True
    counts = ~tokens.is_excluded
    share = by_definition(weights, in_concept, counts, later)
    flat = np.concatenate([causal_weights(np.zeros((2, length, length))), causal_weights(np.zeros((1, length, length)), 5)])
    np.testing.assert_allclose(reading.share("c"), share[None], rtol=1e-6)
    np.testing.assert_allclose(reading.enrichment("c"), (share / by_definition(flat, in_concept, counts, later))[None], rtol=1e-6)
    assert not missed and reading.heads == [(0, 0), (0, 1), (3, 0)] and strip.texts == ("a",) * length


def test_later_leaves_out_a_span_that_no_later_token_sees():
    received = random_received(np.random.default_rng(0), 20)
    concepts, _, missed = read_window(tokens_of(20, [("a", 19, 20), ("b", 3, 5)]), received, {}, True, 50, np.random.default_rng(0))
    assert list(concepts) == ["b"] and missed == [("a", "no later token sees it")]


def test_a_group_is_the_union_of_its_concepts():
    received = random_received(np.random.default_rng(0), 50)
    tokens = tokens_of(50, [("a", 5, 9), ("b", 7, 12), ("b", 30, 31)])
    concepts, _, _ = read_window(tokens, received, {"both": ("a", "b")}, False, 50, np.random.default_rng(0))
    assert [(span.first[0], span.stop[0]) for span in concepts["both"].spans] == [(5, 12), (30, 31)]
    both = sum(span.mass[0] for span in concepts["both"].spans)
    np.testing.assert_allclose(both, received.mass[:, [*range(5, 12), 30]].sum(1), rtol=1e-6)


def test_spans_that_share_a_token_are_one():
    spans = [TokenSpan("x", 4, 6), TokenSpan("x", 1, 3), TokenSpan("x", 5, 9), TokenSpan("x", 9, 10)]
    assert [(one.first, one.stop) for one in merged(spans, "x")] == [(1, 3), (4, 9), (9, 10)]


def test_null_spans_are_sums_of_the_same_columns():
    received = random_received(np.random.default_rng(2), 60)
    tokens = tokens_of(60, [(20, 24)], (0, 21, 33))
    concepts, _, _ = read_window(tokens, received, {}, False, 200, np.random.default_rng(0))
    (span,) = concepts["c"].spans
    assert len(span.first) > 20 and (span.first[0], span.stop[0]) == (20, 24)
    for row, (first, stop) in enumerate(zip(span.first, span.stop, strict=True)):
        columns = [key for key in range(first, stop) if key not in (0, 21, 33)]
        np.testing.assert_allclose(span.mass[row], received.mass[:, columns].sum(1), rtol=1e-5)


def test_the_sink_is_the_first_tokens_share_of_all_attention():
    received = random_received(np.random.default_rng(2), 60)
    np.testing.assert_allclose(received.sink, received.mass[:, 0] / 60)
    assert WINDOW < 60 and received.mass.sum(1) == pytest.approx(60)
