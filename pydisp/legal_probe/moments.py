"""Moments: what is said of the values of all heads at once: mean, median, spread, skewness, kurtosis, and the entropy of their histogram.

Moments.of(differences).as_dict()             # {"count": 1024, "mean": …, "skewness": …}

Source: https://arxiv.org/abs/2410.12001, the section on metrics. A positive skewness does not mean more attention: it says that the few values
far from the mean are above it, while the mean itself may be below 0. Read the mean for that.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from pydisp.arguments import takes, whole

ENTROPY_BINS = 11
_LARGEST = 1e150  # its square is still a float64


def skewness(values: np.ndarray | Sequence[float]) -> float | None:
    """m3 / m2**1.5, with mk the mean of (value - mean)**k; None if all values are equal, where it has no meaning.

    Args:
        values: any shape, one value or more.
    Raises: ValueError for no value, and for one that is not finite.
    """
    spread = _scaled(_checked(values))[0]
    return float(np.mean(spread**3) / np.mean(spread**2) ** 1.5) if spread.any() else None


def kurtosis(values: np.ndarray | Sequence[float]) -> float | None:
    """m4 / m2**2 (Pearson's: 3 for a normal distribution); None if all values are equal. Args and errors as `skewness`."""
    spread = _scaled(_checked(values))[0]
    return float(np.mean(spread**4) / np.mean(spread**2) ** 2) if spread.any() else None


@takes(bins=whole(1))
def histogram_entropy(values: np.ndarray | Sequence[float], bins: int = ENTROPY_BINS) -> float:
    """Nats: the Shannon entropy of the counts in bins of equal width from the least value to the greatest; 0 if all values are equal.

    It is the plug-in estimate: no correction for few values. Scale and mean of the values do not matter.

    Raises: ValueError as `skewness`, and for fewer than 1 bin.
    """
    values = _checked(values)
    above = values - values.min()
    if not above.any():
        return 0.0
    counts, _ = np.histogram(above / above.max(), bins, range=(0.0, 1.0))
    shares = counts[counts > 0] / len(values)
    return max(0.0, float(-np.sum(shares * np.log(shares))))  # not -0.0


@dataclass(frozen=True)
class Moments:
    """Figures of a sample.

    Args:
        count: of values.
        mean, median: in the values' unit.
        standard_deviation: the root of m2: divided by the count, not by one less.
        skewness, kurtosis: as the functions of these names; None if all values are equal.
        entropy: nats, of the histogram with 11 bins.
    """

    count: int
    mean: float
    median: float
    standard_deviation: float
    skewness: float | None
    kurtosis: float | None
    entropy: float

    @classmethod
    def of(cls, values: np.ndarray | Sequence[float]) -> "Moments":
        """Args and errors as `skewness`."""
        values = _checked(values)
        spread, scale = _scaled(values)
        deviation = scale * float(np.sqrt(np.mean(spread**2)))
        shape = skewness(values), kurtosis(values), histogram_entropy(values)
        return cls(len(values), float(values.mean()), float(np.median(values)), deviation, *shape)

    def as_dict(self) -> dict[str, int | float | None]:
        return asdict(self)


def _checked(values: np.ndarray | Sequence[float]) -> np.ndarray:
    """(N,) float64."""
    values = np.asarray(values, dtype=np.float64).ravel()
    if not len(values):
        raise ValueError("moments: there is no value; give one or more.")
    wrong = values[~(np.abs(values) <= _LARGEST)]
    if len(wrong):
        raise ValueError(f"moments: a value is {wrong[0]}; each must be a finite number of at most {_LARGEST:g}.")
    return values


def _scaled(values: np.ndarray) -> tuple[np.ndarray, float]:
    """The values without their mean and with 1 as the largest, so that no power of them is too small or too large, and what they were divided by."""
    # One of the values first: where they are close together this is exact, while their mean has a rounding error that may exceed the spread
    spread = values - values[0]
    spread = spread - spread.mean()
    scale = float(np.abs(spread).max())
    return (spread / scale, scale) if scale > 0 else (np.zeros_like(values), 0.0)
