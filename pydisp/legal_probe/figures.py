"""Figures of a concept: share and enrichment of its tokens, of all heads, by layer and by head, with intervals and against chance.

The replicate is the passage. A concept's figure is the mean over its passages, each the mean over all heads of all layers.
"""

# P passages, G heads, L layers

import math
from dataclasses import dataclass

import numpy as np

from pydisp.intervals import LEVEL, Estimate, Ratio, Resamples
from pydisp.legal_probe.chance import Chance, chance
from pydisp.legal_probe.null_spans import MATCHES
from pydisp.legal_probe.reading import Reading

FEWEST_PASSAGES = 3  # for an interval
_FEWEST_DRAWN = 8  # passages from which draws of passages say more than Student's t: with 3 a draw may have almost no spread
_SHARES, _RATIOS = (0.0, 1.0), (0.0, math.inf)  # of figures
FOUND_RATE = 0.05  # of the heads that are called found, the expected share of false ones (Benjamini and Hochberg 1995)


@dataclass(frozen=True, eq=False)
class ConceptFigures:
    """One concept in one model.

    Args:
        passages: how many have it. spans: how many spans they hold.
        share, enrichment: means over passages, layers and heads.
        percentile: mean share of null spans that received less, 0.5 by chance, with its p-value; None if there is no null span.
        sink, entropy: mean over its passages and all heads of the first token's share of all attention, and of a query's entropy in nats.
        head_share, head_enrichment, head_percentile: (G,) means over passages. q: (G,) p-values of the heads after Benjamini and Hochberg.
        layer_share, layer_enrichment: by layer.
        chance: of the null spans; None if there is none.
    """

    name: str
    passages: int
    spans: int
    share: Estimate
    enrichment: Estimate
    percentile: Estimate | None
    sink: float
    entropy: float
    head_share: np.ndarray
    head_enrichment: np.ndarray
    head_percentile: np.ndarray
    q: np.ndarray
    layer_share: tuple[Estimate, ...]
    layer_enrichment: tuple[Estimate, ...]
    chance: Chance | None

    @property
    def found(self) -> np.ndarray:
        """(G,) bool: heads that give the concept more or less than null spans, of which about one in twenty may be false."""
        return self.q <= FOUND_RATE

    def as_dict(self, heads: list[tuple[int, int]]) -> dict:
        """The concept's entry in the JSON."""
        against = self.chance
        return {
            "share": plain(self.share.value),
            "share_interval": self.share.interval,
            "enrichment": plain(self.enrichment.value),
            "interval": self.enrichment.interval,
            "percentile": None if self.percentile is None else plain(self.percentile.value),
            "percentile_interval": None if self.percentile is None else self.percentile.interval,
            "p": None if self.percentile is None else self.percentile.p,
            "chance": None if against is None else {
                "share": plain(against.share),
                "enrichment": plain(against.enrichment),
                "null_spans": against.null_spans,
                "draws": against.draws,
                "matches": dict(zip(MATCHES, against.matches, strict=True)),
            },
            "sink": self.sink,
            "entropy": self.entropy,
            "passages": self.passages,
            "spans": self.spans,
            "layers": [
                {
                    "share": plain(share.value), "share_interval": share.interval, "enrichment": plain(enrichment.value),
                    "interval": enrichment.interval,
                }
                for share, enrichment in zip(self.layer_share, self.layer_enrichment, strict=True)
            ],
            "heads": [
                {
                    "layer": layer, "head": head, "share": plain(share), "enrichment": plain(enrichment),
                    "percentile": plain(percentile), "q": plain(q),
                }
                for (layer, head), share, enrichment, percentile, q in zip(
                    heads, self.head_share, self.head_enrichment, self.head_percentile, self.q, strict=True
                )
            ],
        }  # fmt: skip


def concept_figures(reading: Reading, concept: str, *, seed: int = 0) -> ConceptFigures:
    """The figures of one concept of a reading."""
    passages = reading.passages[concept]
    share, enrichment, percentile = reading.share(concept), reading.enrichment(concept), reading.percentile(concept)
    resamples = Resamples(len(passages), seed)
    null = chance(reading, concept, seed=seed)
    heads = share.shape[1]
    return ConceptFigures(
        name=concept,
        passages=len(passages),
        spans=sum(len(one.spans) for one in passages.values()),
        share=mean_of(np.nanmean(share, 1), resamples, limits=_SHARES),
        enrichment=mean_of(np.nanmean(enrichment, 1), resamples, limits=_RATIOS),
        percentile=None if null is None else mean_of(np.nanmean(percentile, 1), resamples, null.p_all, _SHARES),
        sink=float(np.mean([one.sink.mean() for one in passages.values()])),
        entropy=float(np.mean([one.entropy.mean() for one in passages.values()])),
        head_share=share.mean(0),
        head_enrichment=enrichment.mean(0),
        head_percentile=np.full(heads, np.nan) if null is None else percentile.mean(0),
        q=np.full(heads, np.nan) if null is None else adjusted(null.p),
        layer_share=tuple(mean_of(column, resamples, limits=_SHARES) for column in reading.by_layer(share).T),
        layer_enrichment=tuple(mean_of(column, resamples, limits=_RATIOS) for column in reading.by_layer(enrichment).T),
        chance=null,
    )


def mean_of(
    values: np.ndarray, resamples: Resamples, p: float | None = None, limits: tuple[float, float] = (-math.inf, math.inf)
) -> Estimate:
    """The mean of (P,) values with its interval, if there are enough passages: a bootstrap of passages, or Student's t where these are few.

    Args:
        limits: between which every value is.
    """
    value, count = float(values.mean()), len(values)
    if count < FEWEST_PASSAGES or not np.isfinite(values).all():
        return Estimate(value, p=p)
    if count < _FEWEST_DRAWN:
        from scipy import stats

        error = float(values.std(ddof=1) / math.sqrt(count))
        reach = float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * error
        interval = (value - reach, value + reach)
    else:
        _, interval, error = resamples.interval([Ratio(values, np.ones(count))])
    if interval is not None:
        interval = (max(interval[0], limits[0]), min(interval[1], limits[1]))
    return Estimate(value, interval, error, p)


def adjusted(p: np.ndarray) -> np.ndarray:
    """p-values after Benjamini and Hochberg; NaN stays and is no test."""
    from scipy.stats import false_discovery_control

    q = np.full(len(p), np.nan)
    is_test = ~np.isnan(p)
    if is_test.any():
        q[is_test] = false_discovery_control(p[is_test])
    return q


def plain(value) -> float | None:
    """A number for JSON, which has no NaN."""
    return None if np.isnan(value) else float(value)
