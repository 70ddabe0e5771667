"""Measures of confidence: whether it separates (AUROC), whether it is true (ECE, reliability bins), and what is gained by answering less.

    auroc([0.9, 0.2, 0.7], [True, False, True])  # 1.0
    ece([0.9, 0.6], [True, False])  # 0.35

All of it works on plain numbers in numpy. What is undefined is None, never 0 or NaN.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Confidences in [low, high), in the last bin also high.

    Args:
        count: how many there are. confidence: their mean. accuracy: the share of them that are right. Both None in an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class RiskCoverage:
    """What is wrong among the most confident; (S,) each, one step for each different confidence, the most confident first.

    Args:
        thresholds: least confidence that is kept. coverage: share that is kept. risk: share of the kept that is wrong.
        area: mean risk over all coverages: that of each decision and all more confident ones. Equal confidences share the risk of
            their whole step, so the order of the input does not matter.
    """

    thresholds: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray
    area: float


def auroc(scores: ArrayLike, is_positive: ArrayLike) -> float | None:
    """The probability that a positive has a higher score than a negative, of equal scores one half (the rank sum of Mann and Whitney).

    Args:
        scores: (N,) real numbers; infinite ones are ordered as such. is_positive: (N,) bool.
    Returns: a share, or None where there is no positive or no negative.
    Raises: ValueError for lengths that differ and for NaN.
    """
    scores, positive = _pair(scores, is_positive)
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # of equal scores the mean of their ranks, which begin at 1
    return float((ranks[place][positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def reliability(confidences: ArrayLike, is_right: ArrayLike, *, bins: int = BINS) -> list[Bin]:
    """Bins of equal width over [0, 1].

    Args:
        confidences: (N,) in [0, 1]. is_right: (N,) bool.
    Raises: ValueError for lengths that differ and for confidences outside.
    """
    confidences, right = _confidences(confidences, is_right)
    edges = np.linspace(0, 1, bins + 1)
    place = np.minimum(np.searchsorted(edges, confidences, side="right") - 1, bins - 1)
    found = []
    for one in range(bins):
        inside = place == one
        count = int(inside.sum())
        means = (float(confidences[inside].mean()), float(right[inside].mean())) if count else (None, None)
        found.append(Bin(float(edges[one]), float(edges[one + 1]), count, *means))
    return found


def ece(confidences: ArrayLike, is_right: ArrayLike, *, bins: int = BINS) -> float | None:
    """Expected calibration error: |mean confidence - share right| of each bin, weighted by how many it holds.

    It is biased upwards: with few decisions a bin's share is noise, and the noise counts as error.

    Args:
        confidences: (N,) in [0, 1]. is_right: (N,) bool. bins: of equal width.
    Returns: in [0, 1], or None where there is nothing.
    Raises: ValueError as `reliability`.
    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599, equation 3.
    """
    found = [one for one in reliability(confidences, is_right, bins=bins) if one.count]
    total = sum(one.count for one in found)
    return sum(one.count * abs(one.confidence - one.accuracy) for one in found) / total if total else None


def risk_coverage(confidences: ArrayLike, is_right: ArrayLike) -> RiskCoverage | None:
    """The share that is wrong among the most confident, over how many are kept.

    Args:
        confidences: (N,) real numbers. is_right: (N,) bool.
    Returns: one step for each different confidence, or None where there is nothing.
    Raises: ValueError for lengths that differ and for NaN.
    Source: Geifman and El-Yaniv 2017, https://arxiv.org/abs/1705.08500.
    """
    confidences, right = _pair(confidences, is_right)
    if not len(right):
        return None
    values, place = np.unique(-confidences, return_inverse=True)
    counts = np.bincount(place)
    kept = np.cumsum(counts)
    risk = np.cumsum(np.bincount(place, weights=~right)) / kept
    return RiskCoverage(-values, kept / len(right), risk, float((risk * counts).sum() / len(right)))


def _pair(scores: ArrayLike, flags: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    scores, flags = np.asarray(scores, dtype=np.float64).reshape(-1), np.asarray(flags).astype(bool).reshape(-1)
    if len(scores) != len(flags):
        raise ValueError(f"there are {len(scores)} scores and {len(flags)} outcomes; give one outcome for each score.")
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores are NaN; leave out what has no score.")
    return scores, flags


def _confidences(confidences: ArrayLike, is_right: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    confidences, right = _pair(confidences, is_right)
    if len(confidences) and not (confidences.min() >= 0 and confidences.max() <= 1):
        raise ValueError(f"confidences run from {confidences.min():g} to {confidences.max():g}; they must be probabilities, 0 to 1.")
    return confidences, right
