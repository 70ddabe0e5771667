"""Scores: what one model did on each unit of a text, in the windows that `pydisp eval` takes.

A unit counts only if all its tokens were scored: the first token of a window is not, nor what is left at the end of the text.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from pydisp.fairness.documents import Documents, ReadTokens
from pydisp.fairness.token_stats import TokenStats, UnitValues
from pydisp.fairness.token_values import TokenValues, token_values
from pydisp.fairness.units import Units
from pydisp.progress import silence


@dataclass(frozen=True, eq=False)
class Scores:
    """What one model did on each unit.

    Args:
        units: the units of the text.
        values: (U,) their values; meaningless where `is_whole` is False.
        is_whole: (U,) whether all its tokens were scored.
        first_choices: (T,) the model's first choice at each token, -1 where it was not scored.
        nats_by_document, tokens_by_document: (D,) sums over all scored tokens, those of parts of units too.
    """

    units: Units
    values: UnitValues
    is_whole: np.ndarray
    first_choices: np.ndarray
    nats_by_document: np.ndarray
    tokens_by_document: np.ndarray

    @property
    def nats_per_token(self) -> float:
        """The mean loss of a token: the figure of `pydisp eval`."""
        return float(self.nats_by_document.sum() / self.tokens_by_document.sum())

    @property
    def is_touched(self) -> np.ndarray:
        """(U,) whether at least one token was scored."""
        units = self.units.of_token[self.first_choices >= 0]
        return np.bincount(units, minlength=len(self.units)) > 0

    def agrees(self, other: "Scores") -> np.ndarray:
        """(U,) whether both models have the same first choice at every token of a unit; for one tokenizer."""
        same = (self.first_choices == other.first_choices) | (self.first_choices < 0)
        inside = self.units.of_token >= 0
        return np.bincount(self.units.of_token[inside], weights=~same[inside], minlength=len(self.units)) == 0

    def stats(self, vocabulary: str = "", chosen: np.ndarray | None = None) -> TokenStats:
        """The sums by type, of all whole units or of those `chosen` ((U,) bool), such as one document's."""
        chosen = self.is_whole if chosen is None else self.is_whole & chosen
        units = self.units
        values = UnitValues(*(column[chosen] for column in self.values))
        return TokenStats.of(units.unit, units.keys[units.type[chosen]], values, vocabulary=vocabulary)


def numbered_windows(read: ReadTokens, context_tokens: int, most_tokens: int | None = None, like: np.ndarray | None = None) -> np.ndarray:
    """(N, T) int64: the places among all tokens of those of each window that `pydisp.evaluation.evaluate_text` would score.

    Args:
        like: (M, 2) first and last character of each window of another tokenizer: then those windows that share a character with them.
    Raises: ValueError, as `Tokens.windows`.
    """
    tokens = read.tokens
    places = replace(tokens, ids=torch.arange(len(tokens)))
    if like is None:
        return places.windows(context_tokens, most_tokens).numpy()
    numbered = places.windows(context_tokens).numpy()
    edges = characters_of(read, numbered)
    # windows stand in the order of the text: the first that ends behind the other's start, and the first that begins behind its end
    first = np.searchsorted(like[:, 1], edges[:, 0])
    return numbered[first < np.searchsorted(like[:, 0], edges[:, 1], side="right")]


def characters_of(read: ReadTokens, numbered: np.ndarray) -> np.ndarray:
    """(N, 2) int64: the first and the last character of each window."""
    return np.stack([read.begins[numbered[:, 0]], read.last_characters[numbered[:, -1]]], axis=1)


def score_units(
    model: nn.Module,
    documents: Documents,
    read: ReadTokens,
    units: Units,
    numbered: np.ndarray,
    *,
    batch_size: int | None = None,
    padding_id: int | None = None,
    say: Callable[[str], None] = silence,
    title: str = "score",
) -> Scores:
    """Score a text by one model.

    Args:
        read, units: the tokens of the model's own tokenizer, and the units with these tokens.
        numbered: (N, T) the places of the tokens of each window, from `numbered_windows`.
        batch_size: as `pydisp.evaluation.evaluate_text`.
        padding_id: a token of this id is not scored.
    Raises: ValueError if nothing is left to score, or for a loss that is not finite (it names the place).
    """
    tokens = read.tokens
    windows = tokens.ids[torch.from_numpy(numbered)]
    targets = numbered[:, 1:].ravel()
    is_scored = np.ones(len(targets), dtype=bool)
    if padding_id is not None:
        is_scored = windows[:, 1:].reshape(-1).numpy() != padding_id
    if not is_scored.any():
        raise ValueError(f"{tokens.name} holds nothing but padding (token {padding_id}); give a text with words in it.")
    found = token_values(model, windows, batch_size=batch_size, say=say, title=title)
    found = TokenValues(*(column.ravel()[is_scored] for column in found))
    _check_finite(found.nats, targets[is_scored], title, documents, read)
    return _by_unit(found, targets[is_scored], documents, read, units)


def _by_unit(found: TokenValues, places: np.ndarray, documents: Documents, read: ReadTokens, units: Units) -> Scores:
    """Add up the values of scored tokens, which stand at `places` among all tokens, by unit."""
    unit = units.of_token[places]
    count = len(units)

    def total(column) -> np.ndarray:
        return np.bincount(unit, weights=column, minlength=count)

    worst = np.zeros(count, dtype=np.int64)
    np.maximum.at(worst, unit, found.rank)
    with np.errstate(divide="ignore"):
        log_confidence = np.log(found.confidence.astype(np.float64))
    is_hit = found.first_choice == read.tokens.ids.numpy()[places]
    # a word is right if each of its tokens is; its rank is that of its worst token, its confidence the product of theirs
    values = UnitValues(total(found.nats), total(~is_hit) == 0, worst, total(found.entropy), np.exp(total(log_confidence)))
    first_choices = np.full(len(read.tokens), -1, dtype=np.int32)
    first_choices[places] = found.first_choice
    document = documents.holding(read.last_characters[places])
    return Scores(
        units, values, np.bincount(unit, minlength=count) == units.tokens, first_choices,
        np.bincount(document, weights=found.nats, minlength=len(documents)), np.bincount(document, minlength=len(documents)),
    )  # fmt: skip


def _check_finite(nats: np.ndarray, places: np.ndarray, model: str, documents: Documents, read: ReadTokens) -> None:
    wrong = ~np.isfinite(nats)
    if wrong.any():
        place = int(places[int(wrong.argmax())])
        document = int(documents.holding(read.last_characters[place]))
        raise ValueError(
            f"{documents.text.name}: the loss of {model} at token {place} (document {document + 1}: '{documents.excerpt(document)}') is {nats[wrong][0]}; "
            "check the weights, or run in float32 if the model runs in half precision."
        )
