"""Calibration curves: confidence against what is right where a tool is on top, and what a threshold on it would save.

    curves = calibration_curves([positions], [decided])
    curves.saving.calls_saved, curves.saving.right

All of it is teacher-forced, at the positions where a tool is above every word, for there a threshold decides. Seeds are put together: their
positions are looks at the same problems, so these curves are pictures and have no intervals.
"""

# M decisions at which a tool is on top, S thresholds

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from pydisp.toolken.calibration_measures import BINS, Bin, RiskCoverage, reliability, risk_coverage
from pydisp.toolken.evaluating.selection import Decided, Positions

_MOST_POINTS = 100  # of a curve in a file


@dataclass(frozen=True, eq=False)
class Saving:
    """What calling from a threshold on saves and costs; (S,) each, the highest threshold first; the last one calls always.

    Args:
        thresholds: least confidence that is called; the first is above every confidence: nothing is called.
        calls_saved: share of the calls without a threshold that are not made.
        right: share of the decisions that are right: the gold tool called, or none called before a word.
        unneeded: share of the positions before a word at which a tool is called; None where a tool is on top before no word.
    """

    thresholds: np.ndarray
    calls_saved: np.ndarray
    right: np.ndarray
    unneeded: np.ndarray | None


@dataclass(frozen=True, eq=False)
class CalibrationCurves:
    """The curves of one mode.

    Args:
        count: M over all seeds. bins: of the confidence in the best tool against how often it is the gold one. risk: over coverage. saving: by threshold.
    """

    count: int
    bins: list[Bin]
    risk: RiskCoverage
    saving: Saving

    def as_dict(self) -> dict:
        """Plain values for JSON, the curves in at most 100 points; the threshold above every confidence is null."""
        risk, saving = thinned(len(self.risk.coverage), _MOST_POINTS), thinned(len(self.saving.thresholds), _MOST_POINTS)
        unneeded = self.saving.unneeded
        return {
            "decisions": self.count,
            "reliability": [asdict(one) for one in self.bins],
            "risk_coverage": {
                "area": self.risk.area,
                **{name: getattr(self.risk, name)[risk].tolist() for name in ("thresholds", "coverage", "risk")},
            },
            "calls_saved": {
                "thresholds": [None if math.isinf(one) else one for one in self.saving.thresholds[saving].tolist()],
                **{name: getattr(self.saving, name)[saving].tolist() for name in ("calls_saved", "right")},
                "unneeded": None if unneeded is None else unneeded[saving].tolist(),
            },
        }


def calibration_curves(positions: Sequence[Positions], decided: Sequence[Decided], *, bins: int = BINS) -> CalibrationCurves | None:
    """The curves over all seeds; None where no tool is on top anywhere."""
    confidence, best, gold = _fired(positions, decided)
    if not len(confidence):
        return None
    is_right = best == gold
    return CalibrationCurves(
        len(confidence),
        reliability(confidence, is_right, bins=bins),
        risk_coverage(confidence, is_right),
        _saving(confidence, is_right, gold < 0),
    )


def _fired(positions: Sequence[Positions], decided: Sequence[Decided]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not decided:
        return np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    pairs = list(zip(positions, decided, strict=True))
    return (
        np.concatenate([done.confidence[done.fired] for _, done in pairs]),
        np.concatenate([done.best[done.fired] for _, done in pairs]),
        np.concatenate([one.gold[done.fired] for one, done in pairs]),
    )


def _saving(confidence: np.ndarray, is_right: np.ndarray, is_word: np.ndarray) -> Saving:
    total, words = len(confidence), int(is_word.sum())
    values, place = np.unique(-confidence, return_inverse=True)
    steps = len(values)

    def called(flags: np.ndarray) -> np.ndarray:
        """How many with the flag are called from each threshold on; 0 first, for nothing is called above all."""
        return np.concatenate([[0], np.cumsum(np.bincount(place, weights=flags, minlength=steps))])

    calls, right_calls, unneeded = called(np.ones(total)), called(is_right), called(is_word)
    return Saving(
        np.concatenate([[np.inf], -values]),
        1 - calls / total,
        (right_calls + words - unneeded) / total,
        unneeded / words if words else None,
    )


def thinned(count: int, most: int) -> np.ndarray:
    """Places of at most `most` points of `count`, the first and the last among them, evenly spread: a picture needs no more."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)) if count else np.zeros(0, dtype=np.int64)
