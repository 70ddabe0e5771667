"""Likelihood: the log-probability of each choice of an item, from one reading of its prompt."""

# C choices that are scored at once, T tokens, V vocabulary

from collections.abc import Sequence

import torch
from torch import Tensor

from pydisp.holobench.answers.asked_items import Asked
from pydisp.modeling.cached_model import CachedModel, Past


def choice_log_likelihoods(reader: CachedModel, past: Past, asked: Asked, most_choices: int) -> tuple[float, ...]:
    """Nats of each choice, summed over its `asked.scored` tokens; of the log-softmax in float32 (float64 for a float64 model).

    Args:
        past: the model after the first `asked.read` tokens of the prompt; it is not changed.
        most_choices: at a time; only choices of equal length are scored together, so that nothing is padded.
    Raises: ValueError if a sum is not finite.
    """
    sums = [0.0] * len(asked.choices)
    for places in _of_equal_length(asked.choices, most_choices):
        tokens = torch.stack([asked.choices[place] for place in places])  # (C, T)
        logits = reader.read(past.repeated(len(places)), tokens[:, :-1], keep=asked.scored[places[0]])
        for place, value in zip(places, _sums(logits, tokens).tolist(), strict=True):
            sums[place] = value
    if not torch.tensor(sums).isfinite().all():
        raise ValueError(
            f"item {asked.item.id!r}: the log-probabilities of its choices are not finite; "
            "check the weights, or run in float32 if the model runs in half precision."
        )
    return tuple(sums)


def _sums(logits: Tensor, tokens: Tensor) -> Tensor:
    """(C,) float64, from the logits (C, scored, V) of the last tokens."""
    targets = tokens[:, -logits.shape[1] :, None].to(logits.device)
    nats = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    return nats.gather(-1, targets).double().sum((1, 2))


def _of_equal_length(choices: Sequence[Tensor], most: int) -> list[list[int]]:
    """Places of choices of one length, at most so many together."""
    by_length: dict[int, list[int]] = {}
    for place, tokens in enumerate(choices):
        by_length.setdefault(len(tokens), []).append(place)
    return [places[start : start + most] for places in by_length.values() for start in range(0, len(places), most)]
