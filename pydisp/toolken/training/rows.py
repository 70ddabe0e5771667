"""Rows: the first rows W_T, a softmax regression over words and tools on cached features.

    fit = train_rows(features, validation, tools=16, form=form, settings=FitSettings(), seed=0)

The model is frozen, so all words together are one choice, whose logit is the cached log-sum-exp of theirs: softmax([W_V; W_T] h) and
softmax([lse, W_T h]) give a tool the same probability. A word's loss is that of "some word" plus the constant lse - its logit.
Source: ToolkenGPT, https://arxiv.org/abs/2305.11554, section 3.2; that the words can be summed up beforehand is ours.
"""

# N positions, D hidden, T tools

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from pydisp.ops import linear_cross_entropy
from pydisp.progress import silence
from pydisp.toolken.training.coordinates import Coordinates
from pydisp.toolken.training.features import Features
from pydisp.toolken.training.fitting import Fit, FitSettings, fitted, random_rows
from pydisp.toolken.training.logit_form import LogitForm


def tool_logits(hidden: Tensor, rows: Tensor, form: LogitForm) -> Tensor:
    """(N, T) float32 logits of tools as the model with a ToolkenHead gives them, rounding included; without gradients through it."""
    return form.rounded(linear(hidden, rows))


def choice_losses(rows: Tensor, hidden: Tensor, lse: Tensor, target: Tensor, form: LogitForm) -> Tensor:
    """(N,) nats: -log of the probability of the tool, or of any word.

    Args:
        rows: (T, D); gradients flow to them. hidden: (N, D). lse: (N,). target: (N,) tool, or -1 for a word.
    """
    if form.softcap is not None:  # the op would cap the one row of words again, whose log-sum-exp is of capped logits already
        logits = torch.cat([lse[:, None], form(linear(hidden, rows))], 1)
        return torch.nn.functional.cross_entropy(logits, target + 1, reduction="none")
    states = torch.cat([hidden, lse[:, None] / form.scale], 1)
    some_word = torch.zeros(1, states.shape[1], dtype=states.dtype)
    some_word[0, -1] = 1
    return linear_cross_entropy(states, some_word, target + 1, appended=pad(rows, (0, 1)), logit_scale=form.scale)


def full_losses(rows: Tensor, features: Features, form: LogitForm) -> Tensor:
    """(N,) nats: the losses of an uncached pass at the same positions; a position without a known word counts any."""
    target = features.positions.target
    loss = choice_losses(rows, features.hidden, features.lse, target, form)
    return loss + torch.where(target < 0, features.lse - features.word_logit, 0)


def train_rows(
    train: Features,
    validation: Features,
    tools: int,
    form: LogitForm,
    settings: FitSettings,
    *,
    seed: int,
    say: Callable[[str], None] = silence,
) -> Fit:
    """W_T (T, D) float32 with the lowest validation loss.

    Raises: ValueError for a loss that is not finite.
    """
    space = Coordinates.of(train.hidden, settings.coordinates)
    hidden, target = space.hidden(train.hidden), train.positions.target
    checked = space.hidden(validation.hidden)

    def losses(rows: Tensor, batch: Tensor) -> Tensor:
        return choice_losses(rows, hidden[batch], train.lse[batch], target[batch], form)

    def validation_loss(rows: Tensor) -> float:
        return choice_losses(rows, checked, validation.lse, validation.positions.target, form).double().mean().item()

    fit = fitted(
        random_rows(tools, hidden.shape[1], seed), losses, len(train), validation_loss, settings, seed=seed, say=say, title="first rows"
    )
    return Fit(**{**vars(fit), "rows": space.rows(fit.rows)})
