"""Concept mass: what the spans of a concept received in one passage, how they rank among their null spans, and what each token received."""

# G heads of all layers, L layers, T tokens, N null spans and the span itself

from dataclasses import dataclass

import numpy as np

from pydisp.legal_probe.passage_tokens import TokenSpan


@dataclass(frozen=True, eq=False)
class SpanMass:
    """What a span of a concept received, and how it ranks among its null spans.

    Args:
        mass: (G,) received, by head. uniform: (L,) under uniform attention, by layer.
        percentile: (G,) the share of the span and its null spans that received less, for their place; half of those equal to it.
        of_nulls: (N,) the mean over heads of that percentile, for the span itself (first) and each null span.
        null_mass: (G,) mean of the null spans.
        first, stop: the span's tokens. match: how alike the null spans are, a number of `null_spans.MATCHES`.
    """

    mass: np.ndarray
    uniform: np.ndarray
    percentile: np.ndarray
    of_nulls: np.ndarray
    null_mass: np.ndarray
    first: int
    stop: int
    match: int


@dataclass(frozen=True, eq=False)
class ConceptMass:
    """One concept in one passage: its spans, and over what their attention is a share.

    Args:
        counted: (G,) float64, what all counted tokens received. uniform: (L,), the same under uniform attention.
        null_enrichment: (G,) mean enrichment of null spans in place of all its spans.
        sink, entropy: (G,) of the passage: share of all attention on its first token; mean entropy of a query, in nats.
    """

    spans: tuple[SpanMass, ...]
    counted: np.ndarray
    uniform: np.ndarray
    null_enrichment: np.ndarray
    sink: np.ndarray
    entropy: np.ndarray


@dataclass(frozen=True, eq=False)
class PassageStrip:
    """What each token of a passage received, for pictures.

    Args:
        texts, is_excluded: of the tokens. spans: of the concepts.
        enrichment: (T,) mean over the heads of received / received under uniform attention.
    """

    passage: str
    texts: tuple[str, ...]
    is_excluded: np.ndarray
    spans: tuple[TokenSpan, ...]
    enrichment: np.ndarray


def observed(one: ConceptMass) -> tuple[np.ndarray, np.ndarray]:
    """(G,) what the concept's own spans received, and (L,) what they would receive under uniform attention."""
    return sum(span.mass.astype(np.float64) for span in one.spans), sum(span.uniform for span in one.spans)
