"""Estimates: means of scores and of their differences, with 95 % intervals whose replicate is the draw.

    mean_of(*by_draw(scores, draws)), difference_of(*by_draw(differences, draws), resamples=Resamples(20))

Items of one draw share rows and questions, so it is draws that would be drawn again. Scores lie between 0 and 1, and in a small group all may be
0 or 1: a bootstrap of what was seen then gives a width of 0, which is wrong.

- A mean gets a Bayesian bootstrap (Rubin 1981: exponential weights of draws) with part of a draw more that was not seen and scores 0 for the lower
  end, 1 for the upper one. With one whole draw more this is Gaffke's bound (2005), which is the exact binomial bound (Clopper and Pearson 1934)
  where scores are 0 or 1. Half a draw covers as well on both sides together where draws differ; where they hardly do, it is a whole one.
- A difference gets Student's interval of the jackknife with one more draw, half of it for either side, that differs as much as any draw did
  (Agresti and Min 2005 add such a pair to yes-or-no items), or by more, up to 1, the fewer draws differ from the others.

bench/holobench_coverage.py says how often both hold.
"""

# D draws

from collections.abc import Hashable, Sequence
from functools import lru_cache

import numpy as np

from pydisp.intervals import LEVEL, Estimate, Resamples

_WEIGHTINGS = 4000  # of the Bayesian bootstrap
_FULL_SPREAD = 0.25  # distances of draws from their median that add up to so much are a spread that was seen
_SAME = 1e-9  # scores of draws that differ by less are the same
FEWEST_DRAWS = 2


def by_draw(values: Sequence[float], draws: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts of the values of each draw, (D,) float64 both, in the order in which draws come first."""
    places: dict[Hashable, int] = {}
    which = np.array([places.setdefault(draw, len(places)) for draw in draws], dtype=np.int64)
    values = np.asarray(values, dtype=np.float64)
    return np.bincount(which, weights=values, minlength=len(places)), np.bincount(which, minlength=len(places)).astype(np.float64)


def mean_of(sums: np.ndarray, counts: np.ndarray) -> Estimate:
    """The mean of scores between 0 and 1, over all items.

    Args:
        sums, counts: (D,) of the scores of each draw; counts of 1 or more.
    Returns: without interval and standard error for fewer than two draws.
    """
    value = min(1.0, max(0.0, float(sums.sum() / counts.sum())))
    if len(sums) < FEWEST_DRAWS:
        return Estimate(value)
    low, high = _bounded_interval(sums, counts)
    return Estimate(value, (min(low, value), max(high, value)), jackknife_error(left_out(sums, counts)))


def difference_of(sums: np.ndarray, counts: np.ndarray, resamples: Resamples | None = None) -> Estimate:
    """The mean of differences between -1 and 1, such as of two models' scores of an item.

    Args:
        sums, counts: (D,) of the differences of each draw; counts of 1 or more.
        resamples: for a p-value that flips the signs of whole draws; None: no p-value.
    """
    value = float(sums.sum() / counts.sum())
    if len(sums) < FEWEST_DRAWS:
        return Estimate(value)
    p = None if resamples is None else float(resamples.sign_flip_p(sums[:, None] / counts.sum())[0])
    interval, error = widened_interval(value, left_out(sums, counts), sums / np.minimum(counts, counts.mean()))
    return Estimate(value, interval, error, p)


def free_mean_of(sums: np.ndarray, counts: np.ndarray) -> Estimate:
    """The mean of values without bounds, such as nats: Student's interval of the jackknife."""
    value = float(sums.sum() / counts.sum())
    return jackknife_estimate(value, left_out(sums, counts))


def left_out(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(D,) how much each draw moves the mean: the mean of all minus that of all others."""
    if len(sums) < FEWEST_DRAWS:
        return np.zeros(len(sums))
    value = sums.sum() / counts.sum()
    return (sums - value * counts) / (counts.sum() - counts)


def jackknife_error(moves: np.ndarray) -> float:
    """The standard error of a figure that draws move so much."""
    return float(np.sqrt(((moves - moves.mean()) ** 2).sum() * (len(moves) - 1) / len(moves)))


def jackknife_estimate(value: float, moves: np.ndarray) -> Estimate:
    """Student's interval; none for fewer than two draws."""
    if len(moves) < FEWEST_DRAWS:
        return Estimate(value)
    error = jackknife_error(moves)
    reach = students_t(len(moves) - 1) * error
    return Estimate(value, (value - reach, value + reach), error)


def widened_interval(
    value: float, moves: np.ndarray, differences: np.ndarray, degrees: int | None = None
) -> tuple[tuple[float, float], float]:
    """The interval of a difference, and its standard error, with one more draw that differs to both sides.

    Args:
        moves: (D,) what each draw moves, D of 2 or more. differences: (D,) those of the draws, each on the scale of the whole.
        degrees: of freedom; by default D - 1.
    """
    draws = len(moves)
    largest = float(np.abs(differences).max())
    added = 1.0 if largest < _SAME else largest ** _trust(differences)
    middle = value * draws / (draws + 1)
    squares = (((draws - 1) * moves) ** 2).sum() + draws * (value - middle) ** 2 + added**2 + middle**2
    error = float(np.sqrt(squares / (draws * (draws + 1))))
    reach = students_t(draws - 1 if degrees is None else degrees) * error
    return (max(-1.0, middle - reach), min(1.0, middle + reach)), error


def students_t(degrees: int) -> float:
    """How many standard errors an interval reaches to either side."""
    from scipy import special

    return float(special.stdtrit(degrees, (1 + LEVEL) / 2))


def _trust(differences: np.ndarray) -> float:
    """How far the size of differences is believed, 0 to 1: by how many draws do not have the commonest one."""
    others = len(differences) - int(np.unique(np.round(differences / _SAME), return_counts=True)[1].max())
    return others / (others + 1)


def _bounded_interval(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    tail, draws = (1 - LEVEL) / 2, len(sums)
    means = sums / counts
    spread = float(np.abs(means - np.median(means)).sum())
    if spread < _SAME and not _SAME < means[0] < 1 - _SAME:
        bound = tail ** (1 / draws)  # exact
        return (0.0, 1 - bound) if means[0] < 0.5 else (bound, 1.0)
    weights, half, other_half = _weightings(draws)
    unseen = (half + max(0.0, 1 - spread / _FULL_SPREAD) * other_half) * counts.mean()
    seen, scored = weights @ counts, weights @ sums
    return float(np.quantile(scored / (seen + unseen), tail)), float(np.quantile((scored + unseen) / (seen + unseen), 1 - tail))


@lru_cache(maxsize=8)
def _weightings(draws: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(_WEIGHTINGS, draws) exponential weights and the weights of two halves of a draw more, the same each time."""
    generator = np.random.default_rng([draws, 5])
    half, other_half = generator.standard_normal((2, _WEIGHTINGS)) ** 2 / 2  # two halves add up to an exponential weight
    return generator.standard_exponential((_WEIGHTINGS, draws)), half, other_half
