"""Scoring: how much of the gold answer a model's answer has, without a judge.

score(gold, "group", "Rome: 12.50\\nOslo: 9", answer_marker=False)
-> Score(f1=0.75, recall=0.75, strict=0, exact=0.5, unparsable=False, rows=2)

The rules stand in data/SCORING.md. The labels exact, partial and none are those of HoloBench (https://arxiv.org/abs/2410.11996), where a
language model gives them and where rows too many cost nothing.
"""

import math
import re
from dataclasses import dataclass

from pydisp.holobench.items import CLASSES, Gold
from pydisp.holobench.scorer.answer_text import Plain, answer_lines, write_gold
from pydisp.holobench.scorer.blocks import without_bullet
from pydisp.holobench.scorer.final_value import final_values
from pydisp.holobench.scorer.matching import Matched, Wanted
from pydisp.holobench.scorer.readings import readings
from pydisp.holobench.scorer.values import SIGN, compared, date, folded, is_close, name

__all__ = ["Score", "ScoringError", "score", "write_gold"]

_NO_ANSWERS = {
    "no answer",
    "no answers",
    "none",
    "no row",
    "no rows",
    "no result",
    "no results",
    "no match",
    "no matches",
    "nothing",
    "null",
    "n/a",
    "no matching rows",
    "no such rows",
    "there are none",
    "there is none",
    "empty",
    "empty list",
    "empty set",
    "empty result",
    "[]",
    "{}",
}
_TYPE = re.compile(r"text|integer|identifier|date|decimal\([0-9]{1,2}\)")


class ScoringError(ValueError):
    """A gold or an answer that cannot be scored; the message is one sentence."""


@dataclass(frozen=True)
class Score:
    """The figures of one answer, each of 0 to 1.

    Args:
        f1: of recall and precision, where a partial row counts half. recall: the sum of labels over the gold's rows.
        strict: 1 if every gold row is exact and there is nothing else. exact: the share of gold rows with an exact match.
        unparsable: nothing could be read. rows: of the answer, in the reading that counts.
    """

    f1: float
    recall: float
    strict: int
    exact: float
    unparsable: bool
    rows: int


_NOTHING = Score(0.0, 0.0, 0, 0.0, False, 0)
_UNPARSABLE = Score(0.0, 0.0, 0, 0.0, True, 0)


def score(gold: Gold, kind: str, answer: str, *, answer_marker: bool) -> Score:
    """How much of the gold an answer has.

    Args:
        gold: what SQL answers. kind: the item's class; the order of rows counts for "top_k". answer: all that the model wrote.
        answer_marker: whether it was asked to reason first and then write "Answer:".
    Raises: ScoringError for an unknown class or a gold that breaks its own types; never for what a model wrote.
    """
    _check(gold, kind, answer)
    plain = Plain.of(gold)
    if gold.rows and len(answer) <= plain.limit and tuple(folded(line) for line in answer.splitlines() if line.strip()) == plain.lines:
        return Score(1.0, 1.0, 1, 1.0, False, len(gold.rows))
    lines = answer_lines(answer, answer_marker, plain)
    is_gold_row = any(plain.row(own) is not None for line in lines for own in (line, without_bullet(line, plain)))
    if not is_gold_row and _is_no_answer(lines, plain):
        return _NOTHING if gold.rows else Score(1.0, 1.0, 1, 1.0, False, 0)
    if not is_gold_row and not any(map(SIGN.search, lines)):
        return _UNPARSABLE
    if not gold.rows:
        return _NOTHING
    wanted = Wanted(gold, kind)
    return _score_of_value(lines, wanted, plain) if gold.is_scalar else _score_of_rows(lines, gold, wanted, plain)


def _check(gold: Gold, kind: str, answer: str) -> None:
    if kind not in CLASSES:
        raise ScoringError(f"the class of the question is {kind!r}; it must be one of: {', '.join(CLASSES)}.")
    if not isinstance(answer, str):
        raise ScoringError(f"the answer is a {type(answer).__name__}; it must be text.")
    if not gold.columns or len(gold.columns) != len(gold.types) or any(len(row) != len(gold.types) for row in gold.rows):
        raise ScoringError(
            f"the gold has {len(gold.columns)} columns and {len(gold.types)} types; each column needs a type and each row a value."
        )
    for known in gold.types:
        if not _TYPE.fullmatch(known):
            raise ScoringError(f"the gold has the type {known!r}; it must be text, integer, identifier, date or decimal(n).")
    for row in gold.rows:
        for value, known in zip(row, gold.types, strict=True):
            if value is None or isinstance(value, bool) or not isinstance(value, (str, int, float)):
                raise ScoringError(f"the gold has the value {value!r}; a cell must be a text or a number.")
            if not _is_of_type(value, known):
                raise ScoringError(
                    f"the gold has the value {value!r} in a column of the type {known}; give it that type or correct the value."
                )


def _is_of_type(value: str | int | float, kind: str) -> bool:
    if kind == "date":
        return isinstance(value, str) and date(value) == value
    if isinstance(value, str):
        return kind in ("text", "identifier")
    return math.isfinite(value)


def _is_no_answer(lines: list[str], plain: Plain) -> bool:
    if len(lines) != 1 or len(lines[0]) > 100:
        return False
    line = without_bullet(lines[0], plain)
    return name(line) in _NO_ANSWERS or re.sub(r"[\s*`.]", "", line) in _NO_ANSWERS


def _score_of_value(lines: list[str], wanted: Wanted, plain: Plain) -> Score:
    """One cell: right, close or wrong."""
    kind, right = wanted.kinds[0], wanted.rows[0][0]
    values = final_values(lines, kind, plain)
    if not values:
        return _NOTHING if kind in ("text", "code") else _UNPARSABLE
    if any(compared(value, kind) == right for value in values):
        return Score(1.0, 1.0, 1, 1.0, False, 1)
    share = 0.5 if any(is_close(value, right, kind) for value in values) else 0.0
    return Score(share, share, 0, 0.0, False, 1)


def _score_of_rows(lines: list[str], gold: Gold, wanted: Wanted, plain: Plain) -> Score:
    """The reading with the best F1; of equal ones the first."""
    count = len(gold.rows)
    best = Matched(0, 0, -1)
    for rows in readings(lines, gold.columns, plain):
        matched = wanted.match(rows)
        if best.rows < 0 or matched.halves * (count + best.rows) > best.halves * (count + matched.rows):
            best = matched
    is_strict = best.exact == best.rows == count
    return Score(best.halves / (count + best.rows), best.halves / (2 * count), int(is_strict), best.exact / count, False, best.rows)
