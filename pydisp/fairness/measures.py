"""Measures: the figures of a group of units, of one model or of two on the same units."""

# U units, D documents, V types

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pydisp.fairness.documents import FEWEST_DOCUMENTS
from pydisp.fairness.scores import Scores
from pydisp.intervals import Estimate, Ratio, Resamples, balanced_jackknife

_CALIBRATION_BINS = 15
_FEWEST_EVENTS = 8


@dataclass(frozen=True)
class Figures:
    """One model on a group of units.

    Args:
        units, types, documents: how many there are.
        nats: mean loss of a unit, with its interval.
        balanced: mean over the types of their mean loss.
        accuracy: share of the units that are the model's first choice.
        ece: expected calibration error: distance of confidence and accuracy, over 15 equal steps of the confidence (Naeini et al. 2015).
        rank: mean number of more likely words. entropy: its mean, in nats. confidence: mean probability of the first choice.
    """

    units: int
    types: int
    documents: int
    nats: Estimate
    balanced: Estimate
    accuracy: float
    ece: float
    rank: float
    entropy: float
    confidence: float

    def as_dict(self) -> dict:
        return {
            "types": self.types, "units": self.units, "documents": self.documents, "nats": self.nats.value, "interval": self.nats.interval,
            "balanced_nats": self.balanced.value, "balanced_interval": self.balanced.interval, "accuracy": self.accuracy, "ece": self.ece,
            "rank": self.rank, "entropy": self.entropy, "confidence": self.confidence,
        }  # fmt: skip


EMPTY = {
    "types": 0, "units": 0, "documents": 0, "nats": None, "interval": None, "balanced_nats": None, "balanced_interval": None,
    "accuracy": None, "ece": None, "rank": None, "entropy": None, "confidence": None,
}  # fmt: skip


def figures(scores: Scores, chosen: np.ndarray, resamples: Resamples) -> Figures | None:
    """The figures of the chosen units; None if there is none. Fewer than 30 documents give no interval.

    Args:
        chosen: (U,) bool; units that are not whole are left out.
    """
    inside = chosen & scores.is_whole
    if not inside.any():
        return None
    units = scores.units
    nats, is_correct, rank, entropy, confidence = (column[inside] for column in scores.values)
    document, type_ = units.document[inside], units.type[inside]
    return Figures(
        units=len(nats),
        types=len(np.unique(type_)),
        documents=len(np.unique(document)),
        nats=average(nats, document, resamples),
        balanced=_balanced(nats, document, type_),
        accuracy=float(is_correct.mean()),
        ece=calibration_error(confidence, is_correct),
        rank=float(rank.mean()),
        entropy=float(entropy.mean()),
        confidence=float(confidence.mean()),
    )


def average(values: np.ndarray, document: np.ndarray, resamples: Resamples, *, is_difference: bool = False) -> Estimate:
    """The mean of the values, whose replicates are documents.

    Args:
        values: (U,). document: (U,) number of the document of each.
        is_difference: whether to give a p-value for a mean of 0.
    """
    sums = np.bincount(document, weights=values, minlength=resamples.documents)
    counts = np.bincount(document, minlength=resamples.documents)
    return of_ratios([Ratio(sums, counts)], resamples, is_difference=is_difference)


def of_ratios(ratios: Sequence[Ratio], resamples: Resamples, *, is_difference: bool = False, centre: float = 0.0) -> Estimate:
    """A sum of ratios over documents with its interval, if each ratio has 30 documents or more and is not that of a few rare events.

    Args:
        is_difference: whether to give a p-value for a sum of 0.
        centre: of ratios whose coefficients add up to 0: what every unit may have in common under the null hypothesis. The flips then change
            the sign of what a document has beyond it.
    """
    if any(_has_too_few_documents(ratio) for ratio in ratios):
        return Estimate(float(sum(ratio.coefficient * ratio.sums.sum() / ratio.counts.sum() for ratio in ratios)))
    value, interval, error = resamples.interval(ratios)
    if interval is None:
        return Estimate(value)
    p = None
    if is_difference:
        shares = sum(ratio.coefficient * (ratio.sums - centre * ratio.counts) / ratio.counts.sum() for ratio in ratios)
        p = float(resamples.sign_flip_p(shares[:, None])[0])
    return Estimate(value, interval, error, p)


def _has_too_few_documents(ratio: Ratio) -> bool:
    """Fewer than 30 documents; or some, but fewer than 8 where anything differs from 0: a bootstrap knows nothing of such rare events."""
    differing = np.count_nonzero(ratio.sums)
    return np.count_nonzero(ratio.counts) < FEWEST_DOCUMENTS or 0 < differing < _FEWEST_EVENTS


def balanced_difference(values: np.ndarray, document: np.ndarray, type_: np.ndarray, resamples: Resamples) -> Estimate:
    """The mean over types of their mean difference, (U,) values, with its p-value."""
    estimate = _balanced(values, document, type_)
    if estimate.interval is None:
        return estimate
    counts = np.bincount(type_)
    shares = np.bincount(document, weights=values / counts[type_] / np.count_nonzero(counts), minlength=resamples.documents)
    return Estimate(estimate.value, estimate.interval, estimate.standard_error, float(resamples.sign_flip_p(shares[:, None])[0]))


def _balanced(values: np.ndarray, document: np.ndarray, type_: np.ndarray) -> Estimate:
    value, interval, error = balanced_jackknife(document, type_, values)
    if len(np.unique(document)) < FEWEST_DOCUMENTS or interval is None:
        return Estimate(value)
    return Estimate(value, interval, error)


def calibration_error(confidence: np.ndarray, is_correct: np.ndarray) -> float:
    """Expected calibration error over 15 equal steps of the confidence (https://doi.org/10.1609/aaai.v29i1.9602)."""
    _, counts, confidences, hits = reliability(confidence, is_correct)
    return float(np.abs(confidences - hits).sum() / counts.sum())


def reliability(confidence: np.ndarray, is_correct: np.ndarray, steps: int = _CALIBRATION_BINS) -> tuple[np.ndarray, ...]:
    """Upper ends of the steps, and in each: units, sum of their confidence, correct ones; all (steps,)."""
    step = np.minimum((confidence * steps).astype(np.int64), steps - 1)
    columns = (np.bincount(step, weights=weights, minlength=steps) for weights in (confidence, is_correct))
    return (np.arange(1, steps + 1) / steps, np.bincount(step, minlength=steps), *columns)
