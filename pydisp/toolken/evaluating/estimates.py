"""Estimates: shares and their differences with 95 % intervals whose replicate is the group of problems, and beside them the spread of seeds.

    share([[1, 0, 1], [1, 1, 1]], groups=["a", "a", "b"])  # two seeds, three problems, two groups

Paraphrases of a problem stand or fall together, so it is groups that would be drawn again. What seeds give for a problem is averaged first:
three seeds on a problem are three looks at one problem, not three problems. So `interval` answers: what would other problems give, with these
trained toolkens? `interval_with_seeds` also asks for other seeds of the training: it adds, in squares, Student's reach of the seeds' means, which
with three seeds is 4.3 standard errors. Where seeds hardly differ both are the same.

Few groups often agree, and a bootstrap of groups that agree has no width.

- A share has the exact binomial interval (Clopper and Pearson 1934) of as many independent answers as the groups are worth: those with which a
  binomial would vary as the jackknife over groups says, less for the degrees of freedom of that (Korn and Graubard 1998), never more than there
  are. The degrees are those of groups of one size, and at most the number of groups that differ from most: 200 groups of which three hold a
  failure say as little of how groups vary as four groups do. Where all agree, they are worth as many answers as there are groups.
- An AUROC has the same interval, of as many independent answers as its jackknife over groups says, but of no more than twice as many as the rarer
  kind has groups, and with no more degrees of freedom than these: ten problems that need a tool among a thousand that need none say what ten say.
- A difference has Student's interval of the jackknife with two groups more, one that differs fully to either side (as Bonett and Price 2012 add
  two pairs to paired yes-or-no answers); its p-value flips the signs of whole groups.

bench/toolken_coverage.py says how often these hold: at least 93 % of the time, but an AUROC near 1 of which some positives fail wholly 92 %, and
`interval_with_seeds` a little less where seeds vary by far more than problems and evenly between two ends.
"""

# S seeds, N items (problems or positions), G groups

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pydisp.intervals import LEVEL, Resamples

FEWEST_GROUPS = 2
_SAME = 1e-12
_SAME_MEAN = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A share, or a difference of two.

    Args:
        value: mean over items of the mean over seeds. items, groups: how many it is of.
        interval: over groups; None for fewer than two of them.
        by_seed: the value of each seed. interval_with_seeds: over groups and seeds; None for fewer than two seeds.
        p: of a difference, that of no difference; else None.
    """

    value: float
    items: int
    groups: int
    interval: tuple[float, float] | None = None
    by_seed: tuple[float, ...] = ()
    interval_with_seeds: tuple[float, float] | None = None
    p: float | None = None

    @property
    def widest(self) -> tuple[float, float] | None:
        """The interval with seeds where there is one, else that over groups."""
        return self.interval_with_seeds or self.interval

    def as_dict(self) -> dict:
        """Plain values for JSON; p only of a difference."""
        shown = {
            "value": self.value,
            "interval": _listed(self.interval),
            "interval_with_seeds": _listed(self.interval_with_seeds),
            "by_seed": list(self.by_seed),
            "items": self.items,
            "groups": self.groups,
        }
        return shown if self.p is None else {**shown, "p": self.p}


def share(values: ArrayLike, groups: Sequence[Hashable]) -> Estimate | None:
    """The mean of values between 0 and 1.

    Args:
        values: (S, N) of each seed and item; (1, N) where there are no seeds. groups: (N,) that of each item.
    Returns: None where there is no item.
    """
    values = _checked(values, groups)
    if not values.shape[1]:
        return None
    sums, counts = _by_group(values.mean(0), groups)
    value = min(1.0, max(0.0, float(sums.sum() / counts.sum())))
    interval = share_interval(sums, counts) if len(sums) >= FEWEST_GROUPS else None
    return _with_seeds(value, interval, values.mean(1).tolist(), values.shape[1], len(sums), least=0.0)


def difference(first: ArrayLike, second: ArrayLike, groups: Sequence[Hashable], *, factor: float = 1.0, seed: int = 0) -> Estimate | None:
    """The mean of `first - factor x second` over the same items.

    Args:
        first, second: (S, N) between 0 and 1; numbers of seeds may differ, for the plain model has none.
        groups: (N,). factor: 0 to 1. seed: of the flipped signs.
    Returns: None where there is no item. Of several seeds each, which must be the same ones, the differences by seed are shown.
    """
    first, second = _checked(first, groups), _checked(second, groups)
    if not first.shape[1]:
        return None
    by_seed = first - factor * second if len(first) == len(second) or 1 in (len(first), len(second)) else None
    if by_seed is None:
        raise ValueError(f"there are {len(first)} seeds of the first and {len(second)} of the second; compare the same seeds.")
    sums, counts = _by_group(by_seed.mean(0), groups)
    value = float(sums.sum() / counts.sum())
    if len(sums) < FEWEST_GROUPS:
        return _with_seeds(value, None, by_seed.mean(1).tolist(), by_seed.shape[1], len(sums), least=-1.0)
    p = float(Resamples(len(sums), seed).sign_flip_p(sums[:, None] / counts.sum())[0])
    return _with_seeds(value, difference_interval(sums, counts), by_seed.mean(1).tolist(), by_seed.shape[1], len(sums), least=-1.0, p=p)


def area(scores: ArrayLike, is_positive: ArrayLike, groups: Sequence[Hashable]) -> Estimate | None:
    """The AUROC: how often a positive has a higher score than a negative, of equal scores one half.

    Args:
        scores: (S, N) of each seed and item; compared within a seed only. is_positive: (N,) bool. groups: (N,) that of each item.
    Returns: the mean over seeds, or None without a positive or a negative; without an interval where these stand in fewer than two groups each.
    Raises: ValueError for shapes that differ and for NaN.
    """
    scores, positive = np.atleast_2d(np.asarray(scores, dtype=np.float64)), np.asarray(is_positive, dtype=bool)
    if scores.shape[1:] != positive.shape or len(positive) != len(groups):
        raise ValueError(f"scores are of shape {scores.shape} for {len(positive)} items of {len(groups)} groups; give (seeds, items).")
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum())} of {scores.size} scores are NaN; leave out what has no score.")
    if positive.all() or not positive.any():
        return None
    which = _numbered(groups)
    of_seed = [_Area.of(one, positive, which) for one in scores]
    by_seed = tuple(one.value for one in of_seed)
    fewest = min(len(np.unique(which[positive])), len(np.unique(which[~positive])))
    interval, value = None, float(np.mean(by_seed))
    if fewest >= FEWEST_GROUPS:
        interval = _area_interval(value, np.mean([one.left_out for one in of_seed], 0), len(positive), fewest)
    return _with_seeds(value, interval, by_seed, len(positive), int(which.max()) + 1, least=0.0)


@dataclass(frozen=True, eq=False)
class _Area:
    """The AUROC of one seed: value, and (G,) its value without each group (that of all, where no positive or no negative is left)."""

    value: float
    left_out: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, positive: np.ndarray, which: np.ndarray) -> "_Area":
        wins = np.zeros(len(scores))  # of a positive over negatives, of positives over a negative; equal ones count one half
        for mine, others, sign in ((positive, ~positive, 1), (~positive, positive, -1)):
            ordered = np.sort(sign * scores[others])
            at = sign * scores[mine]
            wins[mine] = (np.searchsorted(ordered, at, "left") + np.searchsorted(ordered, at, "right")) / 2
        pairs, total = int(positive.sum()) * int((~positive).sum()), float(wins[positive].sum())
        lost = np.bincount(which, weights=wins)
        of_group = np.stack([np.bincount(which, weights=positive), np.bincount(which, weights=~positive)])
        for group in np.flatnonzero(of_group.min(0) > 0):  # pairs within a group were taken away twice
            inside = which == group
            mine, others = scores[inside & positive][:, None], scores[inside & ~positive]
            lost[group] -= ((mine > others) + 0.5 * (mine == others)).sum()
        left = (positive.sum() - of_group[0]) * ((~positive).sum() - of_group[1])
        value = total / pairs
        return cls(value, np.where(left > 0, (total - lost) / np.maximum(left, 1), value))


def _area_interval(value: float, left_out: np.ndarray, items: int, fewest: int) -> tuple[float, float]:
    groups = len(left_out)
    variance = float(((left_out - left_out.mean()) ** 2).sum()) * (groups - 1) / groups
    size = float(fewest)
    if variance >= _SAME:
        fewer = value * (1 - value) / variance * (_students_t(items - 1) / _students_t(fewest - 1)) ** 2
        size = max(1.0, min(items, 2 * fewest, fewer))
    return _binomial_interval(value, size)


def share_interval(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """The interval of a share from the sums and counts of groups, (G,) each; G of 2 or more, counts of 1 or more."""
    value = min(1.0, max(0.0, float(sums.sum() / counts.sum())))
    return _binomial_interval(value, _effective_size(value, sums, counts))


def _binomial_interval(value: float, size: float) -> tuple[float, float]:
    """That of Clopper and Pearson for a share of so many independent answers; neither need be whole."""
    from scipy import special

    tail, right = (1 - LEVEL) / 2, value * size
    low = 0.0 if value < _SAME else float(special.betaincinv(right, size - right + 1, tail))
    high = 1.0 if value > 1 - _SAME else float(special.betaincinv(right + 1, size - right, 1 - tail))
    return min(low, value), max(high, value)


def difference_interval(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """The interval of a mean difference from the sums and counts of groups, (G,) each; G of 2 or more."""
    groups = len(sums)
    value = float(sums.sum() / counts.sum())
    middle = value * groups / (groups + 2)
    moves = _left_out(sums, counts) * (groups - 1)
    squares = float((moves**2).sum()) + groups * (value - middle) ** 2 + (1 - middle) ** 2 + (1 + middle) ** 2
    reach = _students_t(groups - 1) * math.sqrt(squares / ((groups + 1) * (groups + 2)))
    return max(-1.0, middle - reach), min(1.0, middle + reach)


def _effective_size(value: float, sums: np.ndarray, counts: np.ndarray) -> float:
    """How many independent yes-or-no answers the groups are worth."""
    groups, items = len(sums), float(counts.sum())
    equal_groups = max(FEWEST_GROUPS, items**2 / float((counts**2).sum()))  # groups of one size that weigh as these do (Kish 1965)
    moves = _left_out(sums, counts)
    variance = float(((moves - moves.mean()) ** 2).sum()) * (groups - 1) / groups
    if variance < _SAME:
        return equal_groups
    means = np.round(sums / counts / _SAME_MEAN)
    others = groups - int(np.unique(means, return_counts=True)[1].max())  # where few groups differ, they say little of how much groups vary
    size = value * (1 - value) / variance
    fewer = size * (_students_t(items - 1) / _students_t(max(1.0, min(equal_groups - 1, others)))) ** 2
    return max(1.0, min(items, max(fewer, min(size, equal_groups))))


def _left_out(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(G,) how much each group moves the mean: that of all minus that of all others."""
    return (sums - sums.sum() / counts.sum() * counts) / (counts.sum() - counts)


def _with_seeds(
    value: float, interval, by_seed: Sequence[float], items: int, groups: int, *, least: float, p: float | None = None
) -> Estimate:
    by_seed = tuple(by_seed)
    wide = None
    if len(by_seed) > 1 and interval is not None:
        reach = _students_t(len(by_seed) - 1) * float(np.std(by_seed, ddof=1)) / math.sqrt(len(by_seed))
        wide = max(least, value - math.hypot(value - interval[0], reach)), min(1.0, value + math.hypot(interval[1] - value, reach))
    return Estimate(value, items, groups, interval, by_seed, wide, p)


def _by_group(values: np.ndarray, groups: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    which = _numbered(groups)
    return np.bincount(which, weights=values), np.bincount(which).astype(np.float64)


def _numbered(groups: Sequence[Hashable]) -> np.ndarray:
    """(N,) int64: the number of each item's group, in the order in which groups come."""
    places: dict[Hashable, int] = {}
    return np.array([places.setdefault(group, len(places)) for group in groups], dtype=np.int64)


def _checked(values: ArrayLike, groups: Sequence[Hashable]) -> np.ndarray:
    values = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if values.ndim != 2 or not len(values) or values.shape[1] != len(groups):
        raise ValueError(f"values are of shape {values.shape} for {len(groups)} groups; give (seeds, items) and the group of each item.")
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"values run from {values.min():g} to {values.max():g}; they must lie between 0 and 1.")
    return values


def _students_t(degrees: float) -> float:
    """How many standard errors an interval reaches to either side."""
    from scipy import special

    return float(special.stdtrit(degrees, (1 + LEVEL) / 2))


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
