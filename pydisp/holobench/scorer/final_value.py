"""The final value of an answer whose gold is one cell: the last value it states, so that listing candidates is worth one guess.

final_values(["There are 7 orders above 30."], "integer", plain) -> [Decimal("7")]

The rules stand in data/SCORING.md, parts 3 and 9.
"""

import re
from decimal import Decimal

from pydisp.holobench.scorer.answer_text import Plain
from pydisp.holobench.scorer.blocks import Block, last_block, unnumbered, without_bullet
from pydisp.holobench.scorer.values import SIGN, dates_in, folded, name, numbers_in, read

_CUE = re.compile(r"\b(?:is|are|was|were)\b|[:=]", re.IGNORECASE)
_HAS = re.compile(r" (?:has|have|had)(?= )", re.IGNORECASE)
_SENTENCE = re.compile(r"\b(?:is|are|was|were|has|have)\b", re.IGNORECASE)
# First words of a line that only leads to an answer.
_LEAD = re.compile(
    r"\W*(?:let|let's|i|we|sure|ok|okay|certainly|looking|based|first|here|step|to|well|result|analysis|solution|reasoning|explanation)\b",
    re.IGNORECASE,
)
_HEDGE = re.compile(r"[\W_]*(?:(?:about|approximately|exactly|only|just)\b)?[\W_]*")
_OUT_OF = re.compile(r"\(out of [^()]*\)?")
_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_REASON = re.compile(rf",? (?:because\b|since\b(?! (?:(?:19|20)[0-9]{{2}}\b|(?:[0-9]{{1,2}}[a-z]* (?:of )?)?{_MONTH}))).*")


def final_values(lines: list[str], kind: str, plain: Plain) -> list[str | Decimal]:
    """The value that an answer ends with; for a text first its whole last line and then what that line says of it.

    Args:
        lines: of `answer_lines`. kind: the gold's type, or "code" as in `values.read`.
    Returns: no value, one, or, for texts, up to two of which at most one can be meant.
    """
    if kind in ("text", "code"):
        return [value for value in map(name, _final_texts(lines, plain)) if value]
    return _final_number(_with_block_as_line(lines, kind, plain), kind, plain)


# --- numbers and dates ---


def _with_block_as_line(lines: list[str], kind: str, plain: Plain) -> list[str]:
    """The lines with the value of the last JSON or table in its place, if that block has one value."""
    block = last_block(lines, plain)
    values = _block_values(block, False, plain) if block and block.kind != "lines" else None
    if not values or read(values[0], kind) is None:
        return lines
    return [*lines[: block.first], values[0], *lines[block.stop :]]


def _final_number(lines: list[str], kind: str, plain: Plain) -> list[str | Decimal]:
    """The one value that stands alone on a line, unless a later line states another; otherwise that of the last line with one."""
    find = dates_in if kind == "date" else numbers_in
    looked_at = [_without_reason(folded(line), find) for line in lines]
    alone = [(place, value) for place, line in enumerate(looked_at) if (value := read(without_bullet(line, plain), kind)) is not None]
    found = [(find(line), line) for line in looked_at]
    if len({value for _, value in alone}) == 1 and not any(values and _states(values, line) for values, line in found[alone[-1][0] + 1 :]):
        return [alone[-1][1]]
    return next(([_stated(values, line)] for values, line in reversed(found) if values), [])


def _without_reason(line: str, find) -> str:
    """The line without "(out of 12)" and without what follows "because" or "since", if a value is left then."""
    line = _OUT_OF.sub(" ", line)
    short = _REASON.sub("", line)
    return short if short != line and find(short) else line


def _last_cue(found: list[tuple[int, str | Decimal]], line: str) -> int | None:
    """Where the last cue that a value follows ends."""
    return max((match.end() for match in _CUE.finditer(line) if match.end() <= found[-1][0]), default=None)


def _stated(found: list[tuple[int, str | Decimal]], line: str) -> str | Decimal:
    """The first value after the last cue that a value follows; without one the last value."""
    cue = _last_cue(found, line)
    return found[-1][1] if cue is None else next(value for place, value in found if place >= cue)


def _states(found: list[tuple[int, str | Decimal]], line: str) -> bool:
    """Whether the value follows its cue at once, as in "there were 3 orders", but not in "these are the orders above 30"."""
    cue = _last_cue(found, line)
    return cue is not None and _HEDGE.fullmatch(line, cue, next(place for place, _ in found if place >= cue)) is not None


# --- texts ---


def _final_texts(lines: list[str], plain: Plain) -> list[str]:
    last = next((line for line in reversed(lines) if SIGN.search(line) or plain.row(line) is not None), "")
    if plain.row(last) is not None:
        return [last]
    block = last_block(lines, plain)
    if block and all(len(line.split()) >= 4 or _SENTENCE.search(line) for line in lines[block.stop :]):
        values = _block_values(block, block.stop == len(lines), plain)
        if values is not None:
            return values
    return _said(lines[0] if _begins_with_value(lines) else last, plain)


def _begins_with_value(lines: list[str]) -> bool:
    return len(lines) > 1 and _is_value(lines[0]) and all(len(line.split()) >= 8 for line in lines[1:])


def _is_value(line: str) -> bool:
    """Whether a line may be a name alone: short, no sentence, no heading, no lead-in."""
    return len(line.split()) <= 6 and any(map(str.isalpha, line)) and not (_SENTENCE.search(line) or _LEAD.match(line) or line[0] == "#")


def _said(line: str, plain: Plain) -> list[str]:
    """A line without its bullet, and what it says after its last cue or before its first "has"."""
    line = without_bullet(line, plain)
    if plain.row(line) is not None:
        return [line]
    if cues := [match.end() for match in _CUE.finditer(line)]:
        return [line, line[cues[-1] :]]
    has = _HAS.search(line)
    return [line, line[: has.start()]] if has else [line]


# --- blocks ---


def _block_values(block: Block, ends_answer: bool, plain: Plain) -> list[str] | None:
    """The last value of a block, none for JSON's null; None: the block is not the answer.

    A list of several before a last sentence is what the sentence was found from, so that it does not count.
    """
    if block.kind == "json":
        return _last_leaf(block.values) if ends_answer or _has_one_leaf(block.values) else None
    if block.kind == "table":
        cells = unnumbered(block, 1).cells
        return [cells[-1][-1]] if ends_answer or len(cells) == len(cells[-1]) == 1 else None
    line = block.lines[0]
    is_value = plain.row(line) is not None or (_is_value(line) and not _CUE.search(line))
    return [line] if len(block.lines) == 1 and is_value and not ends_answer else None


def _has_one_leaf(value) -> bool:
    """Whether no array in JSON has several values; an object's last value is that of the object."""
    while isinstance(value, (list, tuple, dict)):
        if len(value) != 1 and not (isinstance(value, dict) and value):
            return False
        value = list(value.values())[-1] if isinstance(value, dict) else value[-1]
    return True


def _last_leaf(value) -> list[str]:
    """The last single value in what was decoded from JSON; none for null."""
    while isinstance(value, (list, tuple, dict)):
        if not value:
            return []
        value = list(value.values())[-1] if isinstance(value, dict) else value[-1]
    return [] if value is None else [str(value)]
