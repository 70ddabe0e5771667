"""The loss of one model on one text by how often the train text has each type: the figures of one point of a learning curve.

stats = scored(model, windows, vocabulary)
figures = by_frequency(stats, counts)
figures["average_nats"], figures["parts"]["tail"]["average_nats"], figures["bins"]["3"]["balanced_nats"]
"""

from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

from pydisp.fairness.frequency import PARTS, bins_of, parts_of
from pydisp.fairness.token_stats import TokenStats, UnitValues
from pydisp.fairness.token_values import TokenValues, token_values

_WINDOW_TOKENS = 8192  # tokens between two calls of `after_part`: about a second


def scored(
    model: nn.Module, windows: Tensor, vocabulary: str = "", after_part: Callable[[], None] = lambda: None, batch_size: int | None = None
) -> TokenStats:
    """The sums by id over the windows.

    Args:
        windows: (N, T) int64.
        vocabulary: the digest of the tokenizer.
        batch_size: windows a forward, see `token_values`.
        after_part: called about every second; an exception that it raises stops the scoring.
    """
    size = max(1, _WINDOW_TOKENS // windows.shape[1])
    parts = []
    for start in range(0, len(windows), size):
        parts.append(token_values(model, windows[start : start + size], batch_size=batch_size))
        after_part()
    found = TokenValues(*(np.concatenate(column).ravel() for column in zip(*parts, strict=True)))
    ids = windows[:, 1:].reshape(-1).numpy()
    values = UnitValues(found.nats, found.first_choice == ids, found.rank, found.entropy, found.confidence)
    return TokenStats.of("token", ids, values, vocabulary=vocabulary)


def by_frequency(stats: TokenStats, counts: np.ndarray) -> dict:
    """Plain figures: of all tokens, of each bin that has tokens (`bins`, by its number as text) and of head, torso and tail (`parts`).

    Args:
        stats: sums by id.
        counts: (V,) how often the train text has each id.
    Each group has `tokens`, `types`, `average_nats` and `accuracy` (means over tokens), `balanced_nats` (mean over types).
    """
    bins, parts = bins_of(counts)[stats.keys], parts_of(counts)[stats.keys]
    return {
        **_group(stats, np.ones(len(stats), dtype=bool)),
        "balanced_accuracy": stats.balanced_accuracy,
        "bins": {str(number): _group(stats, bins == number) for number in np.unique(bins).tolist()},
        "parts": {name: _group(stats, parts == place) for place, name in enumerate(PARTS) if (parts == place).any()},
    }


def _group(stats: TokenStats, chosen: np.ndarray) -> dict:
    tokens = int(stats.count[chosen].sum())
    return {
        "tokens": tokens,
        "types": int(chosen.sum()),
        "average_nats": float(stats.nats[chosen].sum()) / tokens,
        "balanced_nats": float(stats.mean_nats[chosen].mean()),
        "accuracy": int(stats.correct[chosen].sum()) / tokens,
    }
