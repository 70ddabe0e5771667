"""Intervals and p-values whose replicate is the document (in a probe the passage): its tokens are alike, so it is documents that are drawn again.

    interval = Resamples(documents=80, seed=0).interval([Ratio(nats_by_document, tokens_by_document)])

- An average is a ratio of sums over documents. Its interval is a studentized bootstrap (Efron and Tibshirani 1993, chapter 12): documents are
  drawn with replacement, and each draw is compared with its own standard error, which helps where few documents hold most of the loss. The
  interval is as wide as these say in standard errors of a jackknife, on each side at least as wide as Student's t says.
- A mean over types has no such bootstrap: a draw loses every type that stands in a document left out. Its interval is a jackknife that
  leaves out one document at a time (Student's t).
- A p-value of a difference flips the sign of whole documents: under the null hypothesis either model may have the larger loss on each.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
_DRAWS = 2000
_FLIPS = 9999
_MOST_KEPT = 2**23  # float64 values of draws that are kept for the next figure: 64 MiB
_CHUNK_VALUES = 2**22  # float64 values of the draws in memory at once: 32 MiB
_POWER_FACTOR = 1.96 + 0.84  # a difference of so many standard errors is seen (p < 0.05) four times in five


class Ratio(NamedTuple):
    """coefficient x (sum of `sums` / sum of `counts`), both (D,) by document."""

    sums: np.ndarray
    counts: np.ndarray
    coefficient: float = 1.0


@dataclass(frozen=True)
class Estimate:
    """A figure with what is known of its error.

    Args:
        value: the figure.
        interval: 95 % of such intervals hold the true value; None if there are too few documents.
        standard_error: None if there are too few documents.
        p: of a difference, that of no difference; None if it is no difference or there are too few documents.
    """

    value: float
    interval: tuple[float, float] | None = None
    standard_error: float | None = None
    p: float | None = None

    @property
    def smallest_visible(self) -> float | None:
        """The difference that would be seen (p < 0.05) four times in five."""
        return None if self.standard_error is None else _POWER_FACTOR * self.standard_error

    def as_dict(self) -> dict:
        """mean, interval, p; where p is above 0.05 also `smallest_visible`."""
        shown = {"mean": self.value, "interval": self.interval, "p": self.p}
        return shown | ({"smallest_visible": self.smallest_visible} if self.p is not None and self.p > 0.05 else {})


class Resamples:
    """The draws of documents and of signs that all figures of one audit share.

    Args:
        documents: how many there are.
        seed: one seed gives one set of draws.
    """

    def __init__(self, documents: int, seed: int = 0):
        self.documents, self.seed = documents, seed
        self._kept_weights: list[np.ndarray] | None = None

    def interval(self, ratios: Sequence[Ratio]) -> tuple[float, tuple[float, float] | None, float | None]:
        """The sum of the ratios, its interval, and its standard error; None for both if most draws have no spread.

        Args:
            ratios: one or several over the same documents, such as a mean of the tail and minus a mean of all.
        Raises: ValueError if a ratio has no count at all.
        """
        return _studentized(ratios, self._weights())

    def _weights(self) -> Iterable[np.ndarray]:
        """(draws, D) float64 chunks: how often each draw has each document."""
        if _DRAWS * self.documents > _MOST_KEPT:
            return self._new_weights()
        if self._kept_weights is None:
            self._kept_weights = list(self._new_weights())
        return self._kept_weights

    def _new_weights(self) -> Iterator[np.ndarray]:
        generator = np.random.default_rng([self.seed, 1])
        rows = max(1, _CHUNK_VALUES // self.documents)
        for start in range(0, _DRAWS, rows):
            count = min(rows, _DRAWS - start)
            drawn = generator.integers(0, self.documents, size=(count, self.documents))
            drawn += np.arange(count)[:, None] * self.documents
            yield np.bincount(drawn.ravel(), minlength=count * self.documents).reshape(count, self.documents).astype(np.float64)

    def sign_flip_p(self, contributions: np.ndarray, flips: int = _FLIPS) -> np.ndarray:
        """(G,) two-sided p-values of sums over documents, (D, G); 1 / (flips + 1) is the smallest.

        A figure's contributions are those that add up to it: of a ratio, the document's sum / the sum of all counts. All flips are taken, each
        once, where there are no more than `flips` + 1 of them.
        """
        contributions = np.asarray(contributions, dtype=np.float64)
        observed = np.abs(contributions.sum(0))
        tolerance = 1e-12 * np.abs(contributions).sum(0)  # equal sums in another order are equal
        reached = np.zeros(contributions.shape[1], dtype=np.int64)
        is_complete = self.documents < 40 and 2**self.documents <= flips + 1
        count = 2**self.documents if is_complete else flips
        generator = np.random.default_rng([self.seed, 2])
        rows = max(1, _CHUNK_VALUES // max(contributions.shape))
        for start in range(0, count, rows):
            size = min(rows, count - start)
            if is_complete:
                bits = np.arange(start, start + size)[:, None] >> np.arange(self.documents) & 1
            else:
                bits = generator.integers(0, 2, size=(size, self.documents), dtype=np.int8)
            reached += (np.abs((bits * 2.0 - 1.0) @ contributions) >= observed - tolerance).sum(0)
        return reached / count if is_complete else (reached + 1) / (count + 1)


def _studentized(ratios: Sequence[Ratio], weights: Iterable[np.ndarray]) -> tuple[float, tuple[float, float] | None, float | None]:
    from scipy import stats

    count = len(ratios)
    documents = len(ratios[0].sums)
    columns = np.column_stack([column for ratio in ratios for column in (ratio.sums, ratio.counts)]).astype(np.float64)
    coefficients = np.array([ratio.coefficient for ratio in ratios])
    if np.any(columns[:, 1::2].sum(0) <= 0):
        raise ValueError("a ratio has no count in any document; leave it out.")
    # documents' own products, so that a draw's standard error is a matrix product away
    pairs = [(i, j) for i in range(2 * count) for j in range(i, 2 * count)]
    products = np.column_stack([columns[:, i] * columns[:, j] * (1 if i == j else 2) for i, j in pairs])

    def values_and_errors(totals: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sums, counts = totals[:, ::2], totals[:, 1::2]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = sums / counts
            slopes = np.empty((len(totals), 2 * count))
            slopes[:, ::2] = coefficients / counts
            slopes[:, 1::2] = -coefficients * ratio / counts
            variance = sum(slopes[:, i] * slopes[:, j] * squares[:, k] for k, (i, j) in enumerate(pairs))
            error = np.sqrt(np.maximum(variance, 0) * documents / (documents - 1))
            return (ratio * coefficients).sum(1), error

    ((value,), (error,)) = values_and_errors(columns.sum(0)[None], products.sum(0)[None])
    drawn = [values_and_errors(weight @ columns, weight @ products) for weight in weights]
    values, errors = (np.concatenate(part) for part in zip(*drawn, strict=True))
    scale = max(abs(value), 1e-300)
    usable = np.isfinite(values) & (errors > 1e-12 * scale)
    if error <= 1e-12 * scale:
        return float(value), (float(value), float(value)), 0.0
    if usable.sum() < _DRAWS // 2:
        return float(value), None, None
    low, high = np.quantile((values[usable] - value) / errors[usable], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    # On 40 simulated documents of skewed lengths (bench/bench_fairness.py) intervals hold too seldom by 1 to 2 points with `error`, or where
    # the draws' side is shorter than Student's t.
    student = float(stats.t.ppf((1 + LEVEL) / 2, documents - 1))
    low, high, wide = min(low, -student), max(high, student), _jackknife_error(ratios)
    return float(value), (float(value - high * wide), float(value - low * wide)), wide


def _jackknife_error(ratios: Sequence[Ratio]) -> float:
    """The standard error of the sum of ratios when one document at a time is left out, to first order: a long document counts for more."""
    documents = len(ratios[0].sums)
    change = np.zeros(documents)
    for sums, counts, coefficient in ratios:
        total = counts.sum()
        share = np.minimum(counts / total, 1 - 1e-9)
        change += coefficient * (sums - sums.sum() / total * counts) / total / (1 - share)
    return math.sqrt(float(((change - change.mean()) ** 2).sum()) * (documents - 1) / documents)


def balanced_jackknife(document: np.ndarray, type_: np.ndarray, values: np.ndarray) -> tuple[float, tuple[float, float] | None, float]:
    """The mean over types of their mean value, with the interval and the standard error of a jackknife over documents.

    Args:
        document, type_: (U,) numbers of the document and of the type of each unit.
        values: (U,) its value.
    Returns: value, interval (None for fewer than two documents), standard error (NaN then).
    """
    from scipy import stats

    type_ = np.unique(type_, return_inverse=True)[1]
    document = np.unique(document, return_inverse=True)[1]
    documents, types = int(document.max()) + 1, int(type_.max()) + 1
    sums, counts = np.bincount(type_, weights=values, minlength=types), np.bincount(type_, minlength=types)
    means = sums / counts
    value = float(means.mean())
    if documents < 2:
        return value, None, math.nan
    pair, place = np.unique(document * types + type_, return_inverse=True)
    left_sums = sums[pair % types] - np.bincount(place, weights=values)
    left_counts = counts[pair % types] - np.bincount(place)
    is_left = left_counts > 0
    change = np.where(is_left, left_sums / np.maximum(left_counts, 1), 0) - means[pair % types]
    total = means.sum() + np.bincount(pair // types, weights=change, minlength=documents)
    remaining = types - np.bincount(pair // types, weights=~is_left, minlength=documents)
    if np.any(remaining < 1):
        return value, None, math.nan
    without = total / remaining
    error = math.sqrt((documents - 1) / documents * float(((without - without.mean()) ** 2).sum()))
    reach = float(stats.t.ppf((1 + LEVEL) / 2, documents - 1)) * error
    return value, (value - reach, value + reach), error
