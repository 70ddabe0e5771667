"""Comparison: MODEL minus REFERENCE, over the same passages, which are the replicates.

    compared = compare(reading, reference, "definiendum")
    compared.share                      # Estimate: mean difference of the share, its interval, p

Heads are compared by layer and number where both models have them. The paper's moments (arXiv 2410.12001) describe how the differences of the
heads are spread. They are not a test: a positive skew does not mean that the model gives the concept more attention.

The null hypothesis of the p-values is that model and reference are interchangeable on each passage, so that a difference is as likely with the other
sign. Under it the rates of heads that are found hold. Differences whose mean is 0 but that are skewed are another hypothesis.
"""

# P passages, G heads that both models have

from dataclasses import dataclass

import numpy as np

from pydisp.intervals import LEVEL, Estimate, Resamples
from pydisp.legal_probe.figures import FEWEST_PASSAGES, FOUND_RATE, adjusted, mean_of, plain
from pydisp.legal_probe.moments import Moments
from pydisp.legal_probe.reading import Reading

_PURPOSE = 13  # of this file's random numbers
FEWEST_PASSAGES_OF_A_HALF = 4
_MOST_FLIPS = 99_999
SEARCH_RATE = 0.1  # of the heads that the first half finds, the expected share of false ones


@dataclass(frozen=True, eq=False)
class HeadThatStandsOut:
    """A head whose share differs on one half of the passages, tried on the other half.

    Args:
        layer, head: its place. found, tried: mean difference of the share on the two halves.
        p: of the second half, one-sided in the direction of the first and times the number of heads found (Holm).
    """

    layer: int
    head: int
    found: float
    tried: float
    p: float

    @property
    def holds(self) -> bool:
        """Whether the second half agrees."""
        return self.p <= FOUND_RATE


@dataclass(frozen=True, eq=False)
class ConceptComparison:
    """MODEL minus REFERENCE on one concept.

    Args:
        reference: name of the model. passages: how many both models have read.
        share, enrichment, percentile: mean differences over passages, of each model's mean over the heads that both have (over all of its
            own, if none). The percentile, among null spans, changes only if a concept gains against the words around it.
        heads: (layer, head) of the G heads that both models have. head_share: (G,) mean difference. head_interval: (G, 2), NaN without one.
        head_p, head_q: (G,) sign flips of passages, and after Benjamini and Hochberg; NaN where there are too few passages.
        moments: of the G differences. layers: numbers of the layers that both have; layer_share: by these, mean difference;
            layer_median: by these, median over the heads of the mean difference.
        standing_out: heads found on one half of the passages; None if there are too few.
    """

    reference: str
    passages: int
    share: Estimate
    enrichment: Estimate
    percentile: Estimate
    heads: tuple[tuple[int, int], ...]
    head_share: np.ndarray
    head_interval: np.ndarray
    head_p: np.ndarray
    head_q: np.ndarray
    moments: Moments | None
    layers: tuple[int, ...]
    layer_share: tuple[Estimate, ...]
    layer_median: tuple[float, ...]
    standing_out: tuple[HeadThatStandsOut, ...] | None

    @property
    def found(self) -> np.ndarray:
        """(G,) bool: heads whose share differs, of which about one in twenty may be false."""
        return self.head_q <= FOUND_RATE

    def as_dict(self) -> dict:
        """The entry `delta` of a concept in the JSON."""
        return {
            "against": self.reference,
            "passages": self.passages,
            "share": _estimate(self.share),
            "enrichment": _estimate(self.enrichment),
            "percentile": _estimate(self.percentile),
            "moments": None if self.moments is None else self.moments.as_dict(),
            "layers": [
                {"layer": layer, **_estimate(share), "median": plain(median)}
                for layer, share, median in zip(self.layers, self.layer_share, self.layer_median, strict=True)
            ],
            "heads": [
                {
                    "layer": layer, "head": head, "share": plain(share),
                    "interval": None if np.isnan(interval).any() else interval.tolist(), "p": plain(p), "q": plain(q),
                }
                for (layer, head), share, interval, p, q in zip(
                    self.heads, self.head_share, self.head_interval, self.head_p, self.head_q, strict=True
                )
            ],
            "standing_out": None if self.standing_out is None else [
                {"layer": one.layer, "head": one.head, "found": one.found, "tried": one.tried, "p": one.p, "holds": one.holds}
                for one in self.standing_out
            ],
        }  # fmt: skip


def compare(reading: Reading, reference: Reading, concept: str, *, seed: int = 0) -> ConceptComparison | None:
    """Compare two readings of the same passages; None if there is no passage of which both measured all the same spans."""
    its_passages = reference.passages.get(concept, {})
    common = [
        name for name, one in reading.passages[concept].items() if name in its_passages and len(one.spans) == len(its_passages[name].spans)
    ]
    if not common:
        return None
    resamples = Resamples(len(common), seed)
    mine, its = (_of(one, concept, common) for one in (reading, reference))
    heads = [one for one in reading.heads if one in set(reference.heads)]
    places = [np.array([one.heads.index(head) for head in heads], dtype=np.int64) for one in (reading, reference)]
    both = [[values[:, place] for values in one] if heads else one for one, place in zip((mine, its), places, strict=True)]
    of_heads = mine[0][:, places[0]] - its[0][:, places[1]]  # (P, G)
    p = sign_flips(of_heads, resamples)
    means = of_heads.mean(0)
    layers = sorted({layer for layer, _ in heads})
    layer_of = np.array([layer for layer, _ in heads])
    finite = means[np.isfinite(means)]
    return ConceptComparison(
        reference=reference.model,
        passages=len(common),
        share=_difference(np.nanmean(both[0][0], 1) - np.nanmean(both[1][0], 1), resamples),
        enrichment=_difference(np.nanmean(both[0][1], 1) - np.nanmean(both[1][1], 1), resamples),
        percentile=_difference(np.nanmean(both[0][2], 1) - np.nanmean(both[1][2], 1), resamples),
        heads=tuple(heads),
        head_share=means,
        head_interval=_student_intervals(of_heads),
        head_p=p,
        head_q=adjusted(p),
        moments=Moments.of(finite) if len(finite) else None,
        layers=tuple(layers),
        layer_share=tuple(_difference(np.nanmean(of_heads[:, layer_of == layer], 1), resamples) for layer in layers),
        layer_median=tuple(float(np.nanmedian(means[layer_of == layer])) for layer in layers),
        standing_out=standing_out(of_heads, heads, seed),
    )


def _estimate(one: Estimate) -> dict:
    return one.as_dict() | {"mean": plain(one.value)}


def _of(reading: Reading, concept: str, passages: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share, enrichment and percentile, (P, G), of some passages."""
    rows = [list(reading.passages[concept]).index(one) for one in passages]
    return reading.share(concept)[rows], reading.enrichment(concept)[rows], reading.percentile(concept)[rows]


def _difference(values: np.ndarray, resamples: Resamples) -> Estimate:
    if len(values) < FEWEST_PASSAGES or not np.isfinite(values).all():
        return Estimate(float(values.mean()))
    return mean_of(values, resamples, float(resamples.sign_flip_p(values[:, None] / len(values))[0]))


def sign_flips(values: np.ndarray, resamples: Resamples) -> np.ndarray:
    """(G,) two-sided p-values of the means of (P, G) differences; NaN where there is none.

    There are so many flips that one head among all can be found (Benjamini and Hochberg), if there are as many for so few passages.
    """
    p = np.full(values.shape[1], np.nan)
    is_usable = np.isfinite(values).all(0)
    if len(values) >= FEWEST_PASSAGES and is_usable.any():
        flips = min(_MOST_FLIPS, max(9999, 40 * values.shape[1] - 1))
        p[is_usable] = resamples.sign_flip_p(values[:, is_usable] / len(values), flips)
    return p


def _student_intervals(values: np.ndarray) -> np.ndarray:
    """(G, 2): Student's intervals of the means of (P, G) values."""
    from scipy import stats

    count = len(values)
    if count < FEWEST_PASSAGES:
        return np.full((values.shape[1], 2), np.nan)
    reach = stats.t.ppf((1 + LEVEL) / 2, count - 1) * values.std(0, ddof=1) / np.sqrt(count)
    return np.stack([values.mean(0) - reach, values.mean(0) + reach], 1)


def standing_out(values: np.ndarray, heads: list[tuple[int, int]], seed: int) -> tuple[HeadThatStandsOut, ...] | None:
    """Heads that one half of the passages finds (Student's t, Benjamini and Hochberg), tried on the other half (Student's t, Holm)."""
    from scipy import stats

    count = len(values) // 2
    if count < FEWEST_PASSAGES_OF_A_HALF:
        return None
    order = np.random.default_rng([_PURPOSE, seed, 1]).permutation(len(values))
    first, second = values[order[:count]], values[order[count:]]
    usable = np.flatnonzero(np.isfinite(values).all(0) & (first.std(0) > 0) & (second.std(0) > 0))
    if not len(usable):
        return ()
    q = adjusted(stats.ttest_1samp(first[:, usable], 0).pvalue)
    found = usable[q <= SEARCH_RATE]
    if not len(found):
        return ()
    direction = np.sign(first[:, found].mean(0))
    p = stats.ttest_1samp(second[:, found] * direction, 0, alternative="greater").pvalue
    order = np.argsort(p)
    held = np.empty(len(found))
    held[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(found), 0, -1)))
    out = [
        HeadThatStandsOut(*heads[place], float(first[:, place].mean()), float(second[:, place].mean()), float(one))
        for place, one in zip(found, held, strict=True)
    ]
    return tuple(sorted(out, key=lambda head: head.p))
