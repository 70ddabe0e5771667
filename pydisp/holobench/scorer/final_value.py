"""The final value of an answer whose gold is one cell: the last value it states, so that listing candidates is worth one guess.

final_values(["There are 7 orders above 30."], "integer", plain) -> [Decimal("7")]

The rules stand in data/SCORING.md, part 3.
"""

import re
from decimal import Decimal

from pydisp.holobench.scorer.answer_text import Plain
from pydisp.holobench.scorer.blocks import last_block, without_bullet
from pydisp.holobench.scorer.values import dates_in, folded, name, numbers_in

_CUE = re.compile(r"\b(?:is|are|was|were)\b|[:=]", re.IGNORECASE)
_HAS = re.compile(r" (?:has|have|had)(?= )", re.IGNORECASE)
_SIGN = re.compile(r"[^\W_]")


def final_values(lines: list[str], kind: str, plain: Plain) -> list[str | Decimal]:
    """The value that an answer ends with; for a text first its whole last line and then what that line says of it.

    Args:
        lines: of `answer_lines`. kind: the gold's type, or "code" as in `values.read`.
    Returns: no value, one, or, for texts, up to two of which at most one can be meant.
    """
    if kind in ("text", "code"):
        return [value for value in map(name, _final_texts(lines, plain)) if value]
    find = dates_in if kind == "date" else numbers_in
    for line in map(folded, reversed(lines)):
        if found := find(line):
            return [_stated(found, line)]
    return []


def _stated(found: list[tuple[int, str | Decimal]], line: str) -> str | Decimal:
    """The first value after the last cue that a value follows; without one the last value."""
    cues = [match.end() for match in _CUE.finditer(line) if match.end() <= found[-1][0]]
    return next(value for place, value in found if place >= cues[-1]) if cues else found[-1][1]


def _final_texts(lines: list[str], plain: Plain) -> list[str]:
    block = last_block(lines, plain)
    if block and block.kind == "json" and block.stop == len(lines):
        return _last_leaf(block.values)
    line = next((line for line in reversed(lines) if _SIGN.search(line) or plain.row(line) is not None), "")
    if plain.row(line) is not None:
        return [line]
    line = without_bullet(line, plain)
    if cues := [match.end() for match in _CUE.finditer(line)]:
        return [line, line[cues[-1] :]]
    has = _HAS.search(line)
    return [line, line[: has.start()]] if has else [line]


def _last_leaf(value) -> list[str]:
    """The last single value in what was decoded from JSON; none for null."""
    while isinstance(value, (list, tuple, dict)):
        if not value:
            return []
        value = list(value.values())[-1] if isinstance(value, dict) else value[-1]
    return [] if value is None else [str(value)]
