"""Example answers: the worst and the best answer of a class each, for readers of a report."""

import re
from collections.abc import Sequence

from pydisp.holobench.figures.scored_items import ScoredItem
from pydisp.holobench.items import Gold
from pydisp.holobench.scorer.scoring import write_gold

MOST = 12
_LETTERS = 160  # of a text in a table
# controls, halves of letters, and marks that turn the direction of what follows them, which a reader would see in another order
_UNFIT = re.compile(r"[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def worst_and_best(scored: Sequence[ScoredItem]) -> tuple[list[ScoredItem], list[ScoredItem]]:
    """Answers that are not all right, and answers that are not all wrong: six classes each at most, one answer of a class.

    Of equal ones that in the shortest context, which is the easiest to check, then the first.
    """
    answers = [one for one in scored if one.score is not None]
    worst = _one_a_class(sorted((one for one in answers if one.score.f1 < 1), key=lambda one: (one.score.f1, one.item.length)))
    best = _one_a_class(sorted((one for one in answers if one.score.f1 > 0), key=lambda one: (-one.score.f1, one.item.length)))
    return worst, best


def _one_a_class(ordered: Sequence[ScoredItem]) -> list[ScoredItem]:
    found: dict[str, ScoredItem] = {}
    for one in ordered:
        found.setdefault(one.item.kind, one)
    return list(found.values())[: MOST // 2]


def row(one: ScoredItem) -> list:
    """Class, length, question, gold, answer and F1 in per cent, as cells of a table."""
    item = one.item
    texts = [shown(text) for text in (item.question, gold_words(item.gold), one.answer or "")]
    return [item.kind.replace("_", " "), item.length, *texts, round(100 * one.score.f1)]


def gold_words(gold: Gold) -> str:
    """The rows of the gold answer with semicolons between, cells with commas."""
    return "; ".join(write_gold(gold).splitlines())


def shown(text: str) -> str:
    """A text for a cell: its lines as one, its middle left out if it is long, without characters that a page cannot hold or that turn its text."""
    text = _UNFIT.sub("\ufffd", re.sub(r"\s*\n\s*", " ⏎ ", text.strip()))
    half = _LETTERS // 2
    return text if len(text) <= _LETTERS else f"{text[:half].rstrip()} … {text[-half:].lstrip()}"
