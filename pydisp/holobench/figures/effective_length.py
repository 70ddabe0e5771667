"""Effective length: the longest tested context up to which a model keeps 85 % of what it scores in the shortest.

    found = effective_length(scored, "f1")
    found.held, found.lost, found.steps[1].verdict

Each longer length is compared with the shortest over the draws answered at both. The interval of the ratio holds every ratio r at which score -
r x shortest score cannot be told from 0 (Fieller 1954), so that a small denominator makes it wide and not wrong. The accuracy counts above chance:
a model that guesses keeps all of its accuracy at any length, and none of this.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pydisp.holobench.figures.breakdowns import Shares, group_of
from pydisp.holobench.figures.estimates import FEWEST_DRAWS, by_draw, difference_of
from pydisp.holobench.figures.scored_items import ScoredItem
from pydisp.intervals import Estimate

KEPT = 0.85
HELD, LOST, OPEN = "held", "lost", "too weak to tell"
_MOST_RATIO = 64.0  # beyond it a ratio is without limit
_HALVINGS = 40


@dataclass(frozen=True, eq=False)
class LengthStep:
    """A longer length against the shortest.

    Args:
        ratio: of the means over what both lengths have; None if the shortest has 0. interval: of the ratio, with None for an open end; None
            if there are too few draws. draws: how many both lengths have. verdict: HELD if the interval is wholly at 85 % or more, LOST if
            it is wholly below, else OPEN.
    """

    length: int
    ratio: float | None
    interval: tuple[float, float | None] | None
    draws: int
    verdict: str

    def as_dict(self) -> dict:
        return {"length": self.length, "ratio": self.ratio, "interval": self.interval, "draws": self.draws, "verdict": self.verdict}


@dataclass(frozen=True, eq=False)
class EffectiveLength:
    """How far a score holds.

    Args:
        measure: "f1", or "accuracy" counted above chance. shortest: the shortest tested length. base: the score there, with its interval.
        is_claimed: whether that score is above 0 (the accuracy above chance); if not, nothing is claimed of longer ones.
        steps: the longer lengths. held: the longest length up to which all lengths held, `shortest` if the next did not; None if nothing is
            claimed. lost: the first length that lost; None if none did.
    """

    measure: str
    shortest: int
    base: Estimate
    is_claimed: bool
    steps: tuple[LengthStep, ...]

    @property
    def held(self) -> int | None:
        if not self.is_claimed:
            return None
        longest = self.shortest
        for step in self.steps:
            if step.verdict != HELD:
                break
            longest = step.length
        return longest

    @property
    def lost(self) -> int | None:
        return next((step.length for step in self.steps if self.is_claimed and step.verdict == LOST), None)

    def as_dict(self) -> dict:
        return {
            "kept": KEPT,
            "shortest": self.shortest,
            "base": {"mean": self.base.value, "interval": self.base.interval},
            "is_claimed": self.is_claimed,
            "held": self.held,
            "lost": self.lost,
            "steps": [step.as_dict() for step in self.steps],
        }


def effective_length(scored: Sequence[ScoredItem], measure: str, shares: Shares) -> EffectiveLength | None:
    """Compare each length with the shortest; None if fewer than two lengths have answers.

    Args:
        measure: "f1" or "accuracy". shares: the densities or amounts of the benchmark.
    """
    with_value = [one for one in scored if one.value(measure) is not None]
    lengths = sorted({one.item.length for one in with_value})
    if len(lengths) < 2:
        return None
    cells = {length: _cells(with_value, measure, length, shares) for length in lengths}
    first = cells[lengths[0]]
    base = difference_of(*by_draw(list(first.values()), [cell[0] for cell in first]))
    is_claimed = base.interval is not None and base.interval[0] > 0
    return EffectiveLength(measure, lengths[0], base, is_claimed, tuple(_step(length, first, cells[length]) for length in lengths[1:]))


def _cells(scored: Sequence[ScoredItem], measure: str, length: int, shares: Shares) -> dict[tuple, float]:
    """The mean at one length of each draw, class, placement and share: what is missing at one length is left out of the other."""
    values: dict[tuple, list[float]] = {}
    for one in scored:
        if one.item.length == length:
            floor = one.choice.chance if measure == "accuracy" else 0.0
            cell = (one.item.draw, one.item.kind, one.item.placement, group_of(shares.breakdown, one, shares))
            values.setdefault(cell, []).append(one.value(measure) - floor)
    return {cell: float(np.mean(of)) for cell, of in values.items()}


def _step(length: int, first: dict[tuple, float], later: dict[tuple, float]) -> LengthStep:
    both = [cell for cell in first if cell in later]
    draws = len({cell[0] for cell in both})
    if not both:
        return LengthStep(length, None, None, 0, OPEN)
    shortest, counts = by_draw([first[cell] for cell in both], [cell[0] for cell in both])
    longer, _ = by_draw([later[cell] for cell in both], [cell[0] for cell in both])
    ratio = float(longer.sum() / shortest.sum()) if shortest.sum() > 0 else None
    interval = ratio_interval(longer, shortest, counts) if ratio is not None and draws >= FEWEST_DRAWS else None
    verdict = OPEN
    if interval is not None and interval[0] >= KEPT:
        verdict = HELD
    elif interval is not None and interval[1] is not None and interval[1] < KEPT:
        verdict = LOST
    return LengthStep(length, ratio, interval, draws, verdict)


def ratio_interval(upper: np.ndarray, lower: np.ndarray, counts: np.ndarray) -> tuple[float, float | None]:
    """The ratios r at which the mean of upper - r x lower may be 0; None for an open end.

    Args:
        upper, lower: (D,) sums of scores of each draw, the sum of `lower` above 0. counts: (D,) of the scores.
    """

    def may_be(ratio: float) -> bool:
        low, high = difference_of(upper - ratio * lower, counts).interval
        return low <= 0 <= high

    value = max(0.0, float(upper.sum() / lower.sum()))
    low = 0.0 if may_be(0.0) else _edge(may_be, 0.0, value)
    high = None if may_be(_MOST_RATIO) else _edge(may_be, _MOST_RATIO, value)
    return low, high


def _edge(may_be, outside: float, inside: float) -> float:
    """Where a ratio that may not be becomes one that may be."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        outside, inside = (outside, middle) if may_be(middle) else (middle, inside)
    return inside
