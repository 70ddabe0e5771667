"""Chance: how a concept's spans rank among their null spans, over all its passages, in each head.

A span's percentile is the share of its null spans that received less, measured by enrichment: 0.5 is chance. A concept's percentile is the mean
over its passages, of the mean over their spans. To test it, every span of every passage is replaced by one of its null spans or stays, all with
the same probability, and the percentiles are averaged again, many times. Under the null hypothesis, that the annotated spans are any of the
spans like them, the real figure is one such draw: p = (draws that reach it + 1) / (draws + 1), two-sided: twice the smaller side. For one span
in one passage this is the number of null spans that reach it + 1, over their number + 1.

Ranks and not means of the enrichment, because attention is heavy-tailed: one passage would decide. On simulated heads of 12 passages that give a
concept e times the weight, ranks found 84 % at p <= 0.05, means of the enrichment 16 % (LOG.md).
"""

# P passages, G heads, R draws, S spans of all passages

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pydisp.legal_probe.reading import ConceptMass, Reading, SpanMass

DRAWS = 9999
_SHOWN_DRAWS = 200  # of which the mean share and enrichment are given
_CHUNK_VALUES = 2**22  # values of the draws in memory at once
_TRIES = 50  # draws of which two spans overlap are drawn again


@dataclass(frozen=True, eq=False)
class Chance:
    """What the null spans say.

    Args:
        percentiles: (P, G) of each passage; NaN where a head has no figure.
        p: (G,) two-sided, by head; NaN where a head has no figure. p_all: of the mean over all heads.
        share, enrichment: of null spans in place of the concept's: mean over passages, heads and draws. enrichment_by_head: (G,).
        null_spans: mean number of null spans of a span. matches: by `null_spans.MATCHES` how many spans have null spans of this match.
    """

    percentiles: np.ndarray
    p: np.ndarray
    p_all: float
    share: float
    enrichment: float
    enrichment_by_head: np.ndarray
    null_spans: float
    matches: tuple[int, ...]


def chance(reading: Reading, concept: str, *, seed: int = 0, draws: int = DRAWS) -> Chance | None:
    """The percentiles and p-values of one concept; None if no span has a null span. All tuples of spans are taken if they are no more than `draws`."""
    passages = list(reading.passages[concept].values())
    spans = [span for one in passages for span in one.spans]
    counts = [len(span.first) for span in spans]
    if max(counts) == 1:
        return None
    tuples = 1
    for count in counts:
        tuples = min(tuples * count, draws + 1)
    is_complete = tuples <= draws
    chosen = _every(counts, tuples) if is_complete else _drawn(passages, counts, np.random.default_rng([seed, 3]), draws)
    chosen = chosen[~_overlaps(passages, chosen)]
    ranks = [_ranks(reading, span) for span in spans]  # (N, G + 1): the last column is the mean over the heads
    weights = np.concatenate([np.full(len(one.spans), 1 / (len(passages) * len(one.spans))) for one in passages])
    target = sum(weight * rank[0] for weight, rank in zip(weights, ranks, strict=True))
    reached = np.zeros((2, len(target)))
    rows = max(1, _CHUNK_VALUES // len(target))
    for start in range(0, len(chosen), rows):
        part = chosen[start : start + rows]
        drawn = sum(weight * rank[part[:, number]] for number, (weight, rank) in enumerate(zip(weights, ranks, strict=True)))
        reached += np.stack([(drawn >= target - 1e-9).sum(0), (drawn <= target + 1e-9).sum(0)])
    extra = 0 if is_complete else 1  # every tuple has the real one among them
    p = np.minimum(1, 2 * ((reached + extra) / (len(chosen) + extra)).min(0))
    has_figure = np.all([one.counted > 0 for one in passages], 0)
    share, enrichment = _figures(reading, passages, chosen[:: max(1, len(chosen) // _SHOWN_DRAWS)])
    rows_of = np.cumsum([0, *(len(one.spans) for one in passages)])
    percentiles = np.stack([np.mean([rank[0, :-1] for rank in ranks[a:b]], 0) for a, b in zip(rows_of, rows_of[1:], strict=False)])
    return Chance(
        np.where(has_figure, percentiles, np.nan),
        np.where(has_figure, p[:-1], np.nan),
        float(p[-1]),
        float(np.nanmean(share)),
        float(np.nanmean(enrichment)),
        enrichment.mean(0),
        float(np.mean(counts)) - 1,
        tuple(np.bincount([span.match for span in spans], minlength=4).tolist()),
    )


def _ranks(reading: Reading, span: SpanMass) -> np.ndarray:
    """(N, G + 1): for each of the spans the share of them that received less, half of those equal to it; then the mean over the heads."""
    from scipy.stats import rankdata

    enrichment = span.mass / span.uniform[:, reading.layer_of]
    ranks = (rankdata(enrichment, axis=0) - 0.5) / len(enrichment)
    return np.column_stack([ranks, ranks.mean(1)])


def _figures(reading: Reading, passages: Sequence[ConceptMass], chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R, G) share and enrichment, means over the passages."""
    share_sum = enrichment_sum = 0
    column = 0
    for one in passages:
        mass = uniform = 0
        for span in one.spans:
            mass = mass + span.mass[chosen[:, column]].astype(np.float64)
            uniform = uniform + span.uniform[chosen[:, column]]
            column += 1
        share, enrichment = reading.ratios(one, mass, uniform)
        share_sum, enrichment_sum = share_sum + share, enrichment_sum + enrichment
    return share_sum / len(passages), enrichment_sum / len(passages)


def _every(counts: Sequence[int], tuples: int) -> np.ndarray:
    return np.stack(np.unravel_index(np.arange(tuples), counts), 1)


def _drawn(passages: Sequence[ConceptMass], counts: Sequence[int], generator: np.random.Generator, draws: int) -> np.ndarray:
    """(R, S): for each draw and span the row of its SpanMass; spans of a passage that overlap are drawn again, some times."""
    chosen = np.stack([generator.integers(0, count, size=draws) for count in counts], 1)
    column = 0
    for one in passages:
        columns = slice(column, column + len(one.spans))
        column += len(one.spans)
        for _ in range(_TRIES if len(one.spans) > 1 else 0):
            again = np.flatnonzero(_overlap(one, chosen[:, columns]))
            if not len(again):
                break
            chosen[again, columns] = np.stack([generator.integers(0, count, size=len(again)) for count in counts[columns]], 1)
    return chosen


def _overlaps(passages: Sequence[ConceptMass], chosen: np.ndarray) -> np.ndarray:
    found = np.zeros(len(chosen), dtype=bool)
    column = 0
    for one in passages:
        found |= _overlap(one, chosen[:, column : column + len(one.spans)])
        column += len(one.spans)
    return found


def _overlap(one: ConceptMass, chosen: np.ndarray) -> np.ndarray:
    """(R,) whether two of a passage's spans have a token in common."""
    found = np.zeros(len(chosen), dtype=bool)
    for i, first in enumerate(one.spans):
        for j, second in enumerate(one.spans[:i]):
            if first.window == second.window:
                begin = np.maximum(first.first[chosen[:, i]], second.first[chosen[:, j]])
                found |= begin < np.minimum(first.stop[chosen[:, i]], second.stop[chosen[:, j]])
    return found
