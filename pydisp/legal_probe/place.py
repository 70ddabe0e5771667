"""Place: how much a head gives to a token because of where it stands, whatever the word, fitted over all passages of a reading.

Uniform attention corrects a share for the number of queries that see a token. It does not correct for heads that look at near or at first tokens:
in the demo model the mean enrichment rises from 0.6 at the start of a passage to 13 at its end. Spans of different places would then rank apart
without any regard to their words. So ranks are of what a span received over what its places receive.

The trend of a head is log(received / received under uniform attention) as a function of the place: hinges in the log of the distance from the
first and from the last token, by ridge regression within passages (a passage has a level of its own).
"""

# T tokens, K columns of the design, H heads of one layer, G heads of all layers

import numpy as np

_EDGES = np.log([2, 4, 8, 16, 32, 64, 128])  # where the trend may bend, in tokens from either end, the token itself counted
COLUMNS = 2 * (1 + len(_EDGES))
_RIDGE = 3.0  # as many tokens speak for no trend
_FLOOR = 1e-6  # of uniform attention: less is as much as nothing


def design(tokens: int) -> np.ndarray:
    """(T, K) float64: the place of each token of a text, not centred."""
    behind, ahead = np.log(np.arange(1, tokens + 1)), np.log(np.arange(tokens, 0, -1))
    columns = [column for place in (behind, ahead) for column in (place, *(np.maximum(place - edge, 0) for edge in _EDGES))]
    return np.stack(columns, 1)


class Trend:
    """Sums over passages, from which the trend of each head is solved.

    Args:
        heads: G.
    """

    def __init__(self, heads: int):
        self.squares = np.zeros((COLUMNS, COLUMNS))
        self.products = np.zeros((COLUMNS, heads))

    def add_(self, mass: np.ndarray, uniform: np.ndarray, counts: np.ndarray, heads: slice) -> None:
        """Add the counted tokens of one text for some heads, and its design once, with the first heads.

        Args:
            mass: (H, T) received. uniform: (T,) under uniform attention; tokens that receive nothing there are left out. counts: (T,) bool.
        """
        used = counts & (uniform > 0)
        if used.sum() < 2:
            return
        places = design(len(counts))[used]
        places -= places.mean(0)
        values = np.log(np.maximum(mass[:, used] / uniform[used], _FLOOR))
        self.products[:, heads] += places.T @ (values - values.mean(1, keepdims=True)).T
        if heads.start == 0:
            self.squares += places.T @ places

    def solved(self) -> np.ndarray:
        """(K, G) coefficients."""
        scale = np.sqrt(np.maximum(np.diag(self.squares), 1e-12))
        scaled = self.squares / np.outer(scale, scale)
        tokens = max(1.0, float(self.squares[0, 0]))
        return np.linalg.solve(scaled + _RIDGE / tokens * np.eye(COLUMNS), self.products / scale[:, None]) / scale[:, None]
