"""Chance: how a concept's spans rank among their null spans, over all its passages, in each head.

A span's percentile is the share of its null spans that received less for their place: 0.5 is chance. A concept's percentile is the mean over its
passages of the mean over their spans. To test it, every span of every passage is replaced by one of its null spans or stays, all with the same
probability, and the percentiles are averaged again. Under the null hypothesis, that the annotated spans are any of the spans like them, the
real figure is one such draw: p = (draws that reach it + 1) / (draws + 1), two-sided: twice the smaller side. For one span in one passage this
is the number of null spans that reach it + 1, over their number + 1.

Ranks and not means of the enrichment, because attention is heavy-tailed: one passage would decide (`bench/bench_legal_probe.py` has the power of
both). And in every head a draw of ranks has the same distribution, so that all heads share their draws, and many of these are cheap.
"""

# P passages, G heads, S spans of all passages, R draws

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pydisp.legal_probe.reading import Reading

_PURPOSE = 12  # of this file's random numbers
_MOST_TUPLES = 100_000  # of spans that are all counted instead of drawn
_MOST_DRAWS, _FEWEST_DRAWS = 1_000_000, 20_000
_MOST_VALUES = 40_000_000  # drawn in all: about a second


@dataclass(frozen=True, eq=False)
class Chance:
    """What the null spans say.

    Args:
        p: (G,) two-sided, by head; NaN where a head has no figure. p_all: of the mean over all heads.
        share, enrichment: of null spans in place of the concept's: mean over passages and heads. enrichment_by_head: (G,).
        null_spans: mean number of null spans of a span. matches: by `null_spans.MATCHES` how many spans have null spans of this match.
        draws: of the p-values; the smallest p that could be found is about 2 / draws.
    """

    p: np.ndarray
    p_all: float
    share: float
    enrichment: float
    enrichment_by_head: np.ndarray
    null_spans: float
    matches: tuple[int, ...]
    draws: int


def chance(reading: Reading, concept: str, *, seed: int = 0) -> Chance | None:
    """The p-values of one concept; None if no span has a null span."""
    passages = list(reading.passages[concept].values())
    spans = [span for one in passages for span in one.spans]
    counts = [len(span.of_nulls) for span in spans]
    if max(counts) == 1:
        return None
    weights = np.concatenate([np.full(len(one.spans), 1 / (len(passages) * len(one.spans))) for one in passages])
    generator = np.random.default_rng([_PURPOSE, seed, 1])
    ranks = [(np.arange(count) + 0.5) / count for count in counts]  # what the percentiles of any head are
    p, draws = _two_sided(sum(w * span.percentile for w, span in zip(weights, spans, strict=True)), ranks, weights, generator)
    of_nulls = [span.of_nulls for span in spans]
    p_all, _ = _two_sided(np.array([sum(w * one[0] for w, one in zip(weights, of_nulls, strict=True))]), of_nulls, weights, generator)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.mean([sum(span.null_mass for span in one.spans) / one.counted for one in passages], 0)
    enrichment = np.mean([one.null_enrichment for one in passages], 0)
    return Chance(
        np.where(np.all([one.counted > 0 for one in passages], 0), p, np.nan),
        float(p_all[0]),
        float(np.nanmean(share)),
        float(np.nanmean(enrichment)),
        enrichment,
        float(np.mean(counts)) - 1,
        tuple(np.bincount([span.match for span in spans], minlength=4).tolist()),
        draws,
    )


def _two_sided(target: np.ndarray, values: Sequence[np.ndarray], weights: np.ndarray, generator) -> tuple[np.ndarray, int]:
    """p of (G,) weighted sums if each summand is one of its `values`, and the number of draws; all tuples of values where they are few."""
    tuples = 1
    for one in values:
        tuples = min(tuples * len(one), _MOST_TUPLES + 1)
    if tuples <= _MOST_TUPLES:
        drawn, extra = np.zeros(1), 0  # the real tuple is among them
        for one, weight in zip(values, weights, strict=True):
            drawn = (drawn[:, None] + weight * one).ravel()
    else:
        draws = min(_MOST_DRAWS, max(_FEWEST_DRAWS, _MOST_VALUES // len(values)))
        drawn, extra = np.zeros(draws), 1
        for one, weight in zip(values, weights, strict=True):
            drawn += weight * one[generator.integers(0, len(one), size=draws)]
    drawn.sort()
    above = len(drawn) - np.searchsorted(drawn, target - 1e-9)
    below = np.searchsorted(drawn, target + 1e-9, side="right")
    return np.minimum(1, 2 * (np.minimum(above, below) + extra) / (len(drawn) + extra)), len(drawn)
