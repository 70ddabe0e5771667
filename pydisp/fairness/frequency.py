"""Frequency: where a type (a token id or a word) stands, by how often a text has it.

    >>> bins_of(np.array([0, 1, 2, 3, 8, 9])).tolist()          # powers of 3; bin 0 is for types that the text does not have
    [0, 1, 1, 2, 2, 3]
    >>> bin_limits(3)
    (9, 26)

A place depends on the count alone, so that two types of one count always stand together.
"""

import numpy as np

PARTS = ("head", "torso", "tail")
_PART_ENDS = (0.50, 0.95, 1.0)  # shares of the occurrences at which a part ends, from the most frequent type on
_BASE = 3
_POWERS = _BASE ** np.arange(40, dtype=np.int64)  # 3**39 is the last below 2**63


def bins_of(counts: np.ndarray) -> np.ndarray:
    """(V,) int64: 0 for a count of 0, k for 3**(k - 1) <= count < 3**k."""
    return np.searchsorted(_POWERS, counts, side="right")


def bin_limits(number: int) -> tuple[int, int]:
    """The lowest and the highest count of a bin."""
    return (0, 0) if number == 0 else (int(_POWERS[number - 1]), int(_POWERS[number]) - 1)


def parts_of(counts: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """(V,) int64 places in PARTS: the most frequent types that make up 50 % of the occurrences, the next 45 %, the last 5 %.

    A part ends with the count at which its share is reached. Types with a count of 0 are in the tail.

    Args:
        counts: (V,) the types to place.
        among: counts of all types of the counted text, if `counts` are some of them only.
    """
    return _by_share(counts, counts if among is None else among, _PART_ENDS)


def deciles_of(counts: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """(V,) int64 from 0 (the most frequent types) to 9: tenths of the occurrences. One very frequent type may fill several; these stay empty.

    Args: as `parts_of`.
    """
    return _by_share(counts, counts if among is None else among, tuple(tenth / 10 for tenth in range(1, 11)))


def _by_share(counts: np.ndarray, among: np.ndarray, ends: tuple[float, ...]) -> np.ndarray:
    """For each count the first end that is above the share of the occurrences which more frequent types have."""
    values, types = np.unique(among[among > 0], return_counts=True)
    if not len(values):
        return np.full(len(counts), len(ends) - 1)
    occurrences = (values * types)[::-1].astype(np.float64)
    reached = np.cumsum(occurrences)
    more_frequent = ((reached - occurrences) / reached[-1])[::-1]
    places = np.searchsorted(np.array(ends[:-1]), more_frequent, side="right")
    return np.where(counts > 0, places[np.searchsorted(values, counts).clip(max=len(values) - 1)], len(ends) - 1)
