"""Slope: whether losses follow the law that theory gives for rare classes under weight decay: log(1 - e^-loss) = constant - 1/2 log n.

    slope = slope_of(stats)                  # a TokenStats of the text that the model was trained on
    slope.slope, slope.interval, slope.is_readable

The law (The Fair Language Model Paradox, https://arxiv.org/abs/2410.11985; derived again for unconstrained features) says that a type with n
occurrences keeps the loss -log(1 - c / √n). It assumes a model wide enough to memorise one context a type. It is for small losses: from
about 1 nat on, log(1 - e^-loss) comes near 0 whatever n is, and a slope near 0 then says nothing about rare types.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np

from pydisp.arguments import SEED, instance_of, takes, whole
from pydisp.fairness.token_stats import TokenStats
from pydisp.given_value import short

THEORY = -0.5
LARGEST_READABLE_NATS = 1.0  # there a change of the loss by 1 % moves log(1 - e^-loss) by 0.58 %; at 4 nats by 0.07 %
_FEWEST_TYPES = 10
_LEVEL = 0.95
_MOST_DRAWS = 10**6


@dataclass(frozen=True)
class Slope:
    """A line through the types of a text, by least squares.

    Args:
        slope: of log(1 - e^-loss) over log n; each type counts the same.
        interval: 95 %, by drawing types with replacement.
        types: that the line was drawn through.
        left_out: types with enough occurrences but a loss of exactly 0, whose logarithm does not exist.
        least_count: types with fewer occurrences are not used.
        median_nats: the median loss of the types used.
    """

    slope: float
    interval: tuple[float, float]
    types: int
    left_out: int
    least_count: int
    median_nats: float

    @property
    def is_readable(self) -> bool:
        """Whether losses are small enough for the slope to say something."""
        return self.median_nats <= LARGEST_READABLE_NATS

    def as_dict(self) -> dict:
        """Plain values for JSON."""
        return asdict(self) | {"interval": list(self.interval), "is_readable": self.is_readable}


@takes(stats=instance_of(TokenStats, "give TokenStats"), least_count=whole(1), draws=whole(1, _MOST_DRAWS), seed=SEED)
def slope_of(stats: TokenStats, counts: np.ndarray | None = None, *, least_count: int = 5, draws: int = 1000, seed: int = 0) -> Slope:
    """The slope over the types of a text.

    Args:
        stats: sums by type, best of the text that the model was trained on.
        counts: (V,) occurrences of each key of `stats` in the training text; by default those in `stats`.
        least_count: the mean loss of a type with fewer occurrences is mostly noise.
        draws, seed: of the bootstrap.
    Raises: ValueError if fewer than 10 types can be used, or if all of them have one count.
    """
    counts = stats.count if counts is None else _checked(counts, len(stats))
    nats = stats.mean_nats
    is_frequent = (counts >= least_count) & (stats.count > 0)
    used = is_frequent & (nats > 0)
    if used.sum() < _FEWEST_TYPES:
        raise ValueError(
            f"{int(used.sum())} types have {least_count} occurrences or more and a loss above 0, a slope needs {_FEWEST_TYPES}; "
            "give more text or a smaller least_count."
        )
    x, y = np.log(counts[used].astype(np.float64)), np.log(-np.expm1(-nats[used]))
    if np.ptp(x) == 0:
        raise ValueError(f"all types that can be used occur {int(counts[used][0])} times; a slope over the count needs different counts.")
    low, high = _interval(x, y, draws, np.random.default_rng(seed))
    types, left_out = int(used.sum()), int(is_frequent.sum() - used.sum())
    return Slope(_least_squares(x, y), (low, high), types, left_out, least_count, float(np.median(nats[used])))


def _checked(counts, length: int) -> np.ndarray:
    found = np.asarray(counts) if isinstance(counts, np.ndarray | list | tuple) else None
    if found is None or found.shape != (length,) or found.dtype.kind not in "iu":
        raise ValueError(f"counts is {' '.join(short(counts).split())}; it must hold one whole number for each of the {length} types.")
    return found


def _least_squares(x: np.ndarray, y: np.ndarray) -> float:
    apart = x - x.mean()
    spread = float((apart * apart).sum())
    return float((apart * y).sum()) / spread if spread > 0 else math.nan


def _interval(x: np.ndarray, y: np.ndarray, draws: int, generator: np.random.Generator) -> tuple[float, float]:
    slopes = np.empty(draws)
    for number in range(draws):
        drawn = generator.integers(0, len(x), len(x))
        slopes[number] = _least_squares(x[drawn], y[drawn])
    low, high = np.nanquantile(slopes, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])  # NaN: a draw of one count alone
    return float(low), float(high)
