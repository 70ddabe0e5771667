"""Calibration: the temperature of the second scores and the threshold below which no tool is called; chosen on validation problems only, at all
positions where a tool fires.

    calibrated(scores, right, fires, k=3)     # {"temperature": 1.31, "threshold": 0.62, "k": 3, ...}

Temperature: that of the lowest loss (Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2). Threshold: that with the most right decisions.
"""

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy

from pydisp.toolken.calibration_measures import auroc, ece

NEVER = 1.01  # a threshold above every probability
LEAST_FIRED = 20  # of fewer positions a threshold says more about these than about others
_LARGEST = 20.0  # scores that separate perfectly would be divided by 0


def best_temperature(scores: Tensor, right: Tensor) -> float:
    """The temperature, from 0.05 to 20, of the lowest mean loss of scores / temperature.

    Args:
        scores: (M, k + 1), REJ last. right: (M,) column, -1 where none is; these do not count. Without any it is 1.
    """
    scores, right = scores[right >= 0].double(), right[right >= 0]
    if not len(right):
        return 1.0

    def loss(log_temperature: float) -> float:
        return cross_entropy(scores / math.exp(log_temperature), right).item()

    bounds = (-math.log(_LARGEST), math.log(_LARGEST))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4}).x)


def best_threshold(confidence: Tensor, is_right_call: Tensor, is_right_rejection: Tensor) -> tuple[float, float]:
    """The threshold with the largest share of right decisions, where a tool is called if its confidence reaches it; and that share.

    Args:
        confidence: (M,) of the best tool. is_right_call, is_right_rejection: (M,) bool: whether calling it, or calling none, is right.
    Returns: of equally good thresholds the largest, one of the confidences, or NEVER.
    """
    levels = torch.cat([confidence.double().unique(), torch.tensor([NEVER], dtype=torch.float64)])  # ascending
    shares = [torch.where(confidence.double() >= level, is_right_call, is_right_rejection).double().mean().item() for level in levels]
    best = max(range(len(levels)), key=lambda number: (shares[number], number))
    return levels[best].item(), shares[best]


def calibrated(scores: Tensor, right: Tensor, fires: Tensor, k: int, positions: int | None = None) -> dict:
    """The calibration of toolkens from M validation positions, chosen where a tool fires: no decision is made elsewhere.

    Args:
        scores: (M, k + 1) second scores, REJ last. right: (M,) as in `Examples`.
        fires: (M,) bool; of those where a tool fires none may be missing, or the threshold is that of another ratio of tools and words.
        positions: of all that were looked through for them; by default M.
    Returns: plain values: temperature, threshold, k, how many positions there were, how many fired, at how many of these a tool is gold, and how the
        choice does on the same positions; or the defaults with a note, where too few fired.
    """
    scores, right = scores[fires].double(), right[fires]
    gold = int((right != k).sum())
    facts = {"temperature": 1.0, "threshold": 0.5, "k": k, "positions": len(fires) if positions is None else positions}
    facts |= {"fired": len(right), "gold_fired": gold}
    if len(right) < LEAST_FIRED or gold in (0, len(right)):
        note = (
            f"temperature and threshold are the defaults: a tool fired at {len(right)} of {facts['positions']} validation positions, at {gold} of them "
            f"rightly, and a choice needs {LEAST_FIRED} with some of both kinds; give more problems."
        )
        return facts | {"note": note}
    temperature = best_temperature(scores, right)
    confidence, best = torch.softmax(scores / temperature, -1)[:, :-1].max(-1)
    threshold, share = best_threshold(confidence, best == right, right == k)
    right_call = (best == right).numpy()
    return facts | {
        "temperature": temperature,
        "threshold": threshold,
        "right_decisions": share,
        "ece": ece(confidence.numpy(), right_call),
        "auroc": auroc(confidence.numpy(), right_call),
    }
