"""Uniform attention: what each key would receive if every query gave the same to all keys that it sees."""

# T tokens

import numpy as np


def uniform_received(tokens: int, window: int | None = None, *, later: bool = False) -> np.ndarray:
    """(T,) float64: the mass that each key of a causal text receives, summed over the queries; T in all.

    Args:
        window: the newest keys that a query sees, itself included; None: all.
        later: without what a query gives to its own key.
    """
    given = 1 / np.minimum(np.arange(1, tokens + 1), tokens if window is None else window)  # by query, to each key that it sees
    sums = np.concatenate([[0.0], np.cumsum(given)])
    key = np.arange(tokens)
    last = np.minimum(key + (tokens if window is None else window), tokens)
    return np.maximum(sums[last] - sums[key + later], 0)
