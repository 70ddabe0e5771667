"""Scored items: each item with what became of it: the scores of its answer, the choice that a model finds likeliest, or why it was skipped.

scored = score_items(items, predictions, is_reasoned=False)
scored[0].value("f1"), scored[0].value("accuracy")
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydisp.holobench.answers.predictions import Prediction
from pydisp.holobench.items import Item
from pydisp.holobench.scorer.scoring import Score, score

ANSWER_MEASURES = ("f1", "recall", "strict", "exact")
CHOICE_MEASURES = ("accuracy", "chance", "margin")


class ResultsError(ValueError):
    """Predictions that give no results; the message is one sentence."""


@dataclass(frozen=True, eq=False)
class Choice:
    """How the choices of an item were ranked.

    Args:
        accuracy: 1 if the gold answer is likelier than all others, 0 if one is likelier than it. In a tie for the first place each gets an
            equal part, so that a model to which all choices are alike has chance. chance: 1 / the number of choices.
        margin: nats of the gold answer minus those of the best other one.
        tokens_are_equal: whether the choices have as many tokens as each other; None if the predictions do not say.
    """

    accuracy: float
    chance: float
    margin: float
    tokens_are_equal: bool | None = None


@dataclass(frozen=True, eq=False)
class ScoredItem:
    """One item.

    Args:
        answer, score: None if no answer was asked for. is_unfinished: whether the room for the answer ran out.
        choice: None if its choices were not scored. skipped: why it was not asked; None if it was.
    """

    item: Item
    answer: str | None = None
    score: Score | None = None
    is_unfinished: bool = False
    choice: Choice | None = None
    skipped: str | None = None

    def value(self, measure: str) -> float | None:
        """A measure of ANSWER_MEASURES or CHOICE_MEASURES; None if the item has none."""
        of = self.choice if measure in CHOICE_MEASURES else self.score
        return None if of is None else float(getattr(of, measure))


def score_items(
    items: Sequence[Item], predictions: Sequence[Prediction], *, is_reasoned: bool, told: Callable[[], None] = lambda: None
) -> tuple[ScoredItem, ...]:
    """The items that have a prediction, in the order of the items.

    Args:
        is_reasoned: whether the model was to reason first, so that its answer stands behind a marker. told: is called after each.
    Raises: ResultsError if there is no prediction, two of one item, or one of no item.
    """
    by_id: dict[str, Prediction] = {}
    for one in predictions:
        if one.id in by_id:
            raise ResultsError(f"item {one.id!r} has two predictions; leave one of them out.")
        by_id[one.id] = one
    unknown = sorted(by_id.keys() - {item.id for item in items})
    if unknown:
        raise ResultsError(
            f"a prediction is of item {unknown[0]!r}, which the benchmark does not have; give the predictions of this benchmark."
        )
    if not by_id:
        raise ResultsError("there is no prediction; ask the model first.")
    scored = []
    for item in items:
        if item.id in by_id:
            scored.append(_scored(item, by_id[item.id], is_reasoned))
            told()
    return tuple(scored)


def _scored(item: Item, one: Prediction, is_reasoned: bool) -> ScoredItem:
    if one.skipped is not None:
        return ScoredItem(item, skipped=one.skipped)
    found = None if one.answer is None else score(item.gold, item.kind, one.answer, answer_marker=is_reasoned)
    choice = None if one.log_likelihoods is None else rank(one.log_likelihoods, item, one.choice_tokens)
    return ScoredItem(item, one.answer, found, one.answer is not None and not one.finished, choice)


def rank(log_likelihoods: Sequence[float], item: Item, choice_tokens: Sequence[int] | None = None) -> Choice:
    """The gold answer among its near misses.

    Args:
        choice_tokens: how many tokens each choice has, if that is known.
    Raises: ResultsError if the item has no such choices or a log-likelihood is not finite.
    """
    count = len(item.choices or ())
    if item.correct is None or count < 2 or len(log_likelihoods) != count:
        raise ResultsError(
            f"item {item.id!r} has {count} choices and {len(log_likelihoods)} log-likelihoods; score each of two choices or more."
        )
    if not all(map(math.isfinite, log_likelihoods)):
        raise ResultsError(f"item {item.id!r} has a log-likelihood that is not a finite number; run the model anew, in float32.")
    gold = log_likelihoods[item.correct]
    best_other = max(value for place, value in enumerate(log_likelihoods) if place != item.correct)
    tied = sum(value == gold for value in log_likelihoods)
    return Choice(
        1 / tied if gold >= best_other else 0.0,
        1 / count,
        gold - best_other,
        None if choice_tokens is None else len(set(choice_tokens)) == 1,
    )
