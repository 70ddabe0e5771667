"""Answer text: the lines of a model's text that are its answer: without reasoning, markers, lead-ins, and what the model wrote after it.

answer_lines("Let me see.\\n**Answer:** Rome\\n", False, Plain(…)) -> ["Rome"]

The rules stand in data/SCORING.md, part 1.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from pydisp.holobench.items import Gold
from pydisp.holobench.scorer.values import SIGN, folded, rounded

LIMIT = 20_000  # characters of an answer that are read, from its end; of the text around it ten times as many are looked at
NO_ANSWER = "No answer"

_NEXT_QUESTION = re.compile(r"^[ \t]{0,8}[*#_]{0,3} ?(?:question|facts)[*_]{0,2} ?:", re.IGNORECASE | re.MULTILINE)
_MARKER = re.compile(
    r"(?:(?:\bthe\s)?\b(?:final|correct|short)\s{1,3}|\bthe\s)?(?<!\bno )\banswer(?:\s{1,3}is)?[\s*_]{0,4}[:\uff1a][*_]{0,3}"
    r"|^[ \t]{0,8}[*#_]{0,6} ?(?:the )?(?:final |correct |short )?answer[ \t*_]{0,6}$",
    re.IGNORECASE | re.MULTILINE,
)
_SPOKEN = re.compile(r"\bthe\s{1,3}(?:final\s{1,3}|correct\s{1,3})?answer\s{1,3}is\b", re.IGNORECASE)
_REMARK = re.compile(r"^[ \t]{0,8}[*#_]{0,3} ?(?:explanation|note|reasoning)[*_]{0,2} ?:", re.IGNORECASE | re.MULTILINE)
_FENCE = re.compile(r"(?:```|~~~)\w{0,20}")
# A closed fence around one line that is no block by itself.
_FENCED_LINE = re.compile(
    r"^[ \t]*(```|~~~)(?:text|txt|plaintext|json|markdown)?[ \t]*\n[ \t]*(?![\[{|`~]|[-*•+] |[0-9]{1,3}[.)] )(\S[^\n]*)\n[ \t]*\1[ \t]*$",
    re.MULTILINE,
)
_LATEX = (
    (re.compile(r"(?<=[0-9])\{,\}(?=[0-9])"), ","),
    (re.compile(r"\\(?:text|mathrm)\{([^{}]{0,200})\}"), r"\1"),
    (re.compile(r"\\boxed\{([^{}]{0,200})\}"), r"\1"),
    (re.compile(r"(?<![\w$])\$(?=[^\s$])([^$]{1,200})(?<=\S)\$(?![\w$])"), r"\1"),
    (re.compile(r"\\[(\[][ \t]*([^\\]{1,200}?)[ \t]*\\[)\]]"), r"\1"),
)


def _plain_cell(value: str | int | float, kind: str) -> str:
    if kind.startswith("decimal"):
        return format(rounded(Decimal(str(value)), kind), "f")
    return " ".join(str(value).split())


def write_gold(gold: Gold) -> str:
    """The gold as a perfect answer: one row a line, cells joined by ", ", decimals with all their digits; "No answer" if it has no rows.

    It scores 1 in all figures, whatever signs its names have, if each of its rows has at least one sign.
    """
    return "\n".join(", ".join(map(_plain_cell, row, gold.types)) for row in gold.rows) or NO_ANSWER


@dataclass(frozen=True)
class Plain:
    """The lines of a gold as `write_gold` writes them; a line of an answer that is one of them is never taken for anything else.

    Args:
        lines: folded. row_of: the number of a row by its line. longest: characters of the longest line.
        limit: how many characters of an answer are read. is_scalar: whether the gold is one cell.
    """

    lines: tuple[str, ...]
    row_of: dict[str, int] = field(repr=False)
    longest: int
    limit: int
    is_scalar: bool

    @classmethod
    def of(cls, gold: Gold) -> "Plain":
        written = write_gold(gold).splitlines() if gold.rows else []
        lines = tuple(map(folded, written))
        longest = max(map(len, written), default=0)
        return cls(
            lines,
            {line: row for row, line in reversed(list(enumerate(lines)))},
            longest,
            max(LIMIT, 4 * sum(len(line) + 1 for line in written)),
            gold.is_scalar,
        )

    def row(self, line: str) -> int | None:
        """The gold row that a line is."""
        return self.row_of.get(folded(line)) if len(line) <= 2 * self.longest + 20 else None

    def holds(self, text: str, place: int) -> bool:
        """Whether the line around a place of the text is a gold row."""
        reach = 2 * self.longest + 20
        around = text[max(0, place - reach) : place].rpartition("\n")[2] + text[place : place + reach].partition("\n")[0]
        return self.row(around) is not None


def _matches(pattern: re.Pattern, text: str, plain: Plain) -> Iterator[re.Match]:
    """The matches of a pattern outside of gold rows."""
    if any(map(pattern.search, plain.lines)):
        return (match for match in pattern.finditer(text) if not plain.holds(text, match.start()))
    return pattern.finditer(text)


def _is_thought(text: str, place: int) -> tuple[bool, int]:
    """Whether a place lies before a </think> that nothing opens after it, and where to look on."""
    stop = text.find("</think>", place)
    inside = stop >= 0 and text.find("<think>", place, stop) < 0
    return inside, stop if inside else place


def _before_next_question(text: str, marker_asked: bool, plain: Plain) -> str:
    first = next(_matches(_MARKER, text, plain), None) if marker_asked else SIGN.search(text)
    if first is None:
        return text
    looked = first.end()
    for match in _matches(_NEXT_QUESTION, text, plain):
        if match.start() >= looked:
            inside, looked = _is_thought(text, match.start())
            if not inside:
                return text[: match.start()]
    return text


def _last_piece(text: str, plain: Plain) -> str:
    """What follows the last marker that something follows."""
    spans = [match.span() for match in _matches(_MARKER, text, plain)]
    spans = spans or [match.span() for match in _matches(_SPOKEN, text, plain)]
    stop = len(text)
    for start, end in reversed(spans):
        if text[end:stop].strip(" \t\r\n*_#"):
            return text[end:stop]
        stop = start
    return text[:stop]


def _before_remark(text: str, plain: Plain) -> str:
    first = SIGN.search(text)
    remarks = (match.start() for match in _matches(_REMARK, text, plain))
    return text[: next((place for place in remarks if first and first.start() < place), len(text))]


def _kept_lines(text: str, plain: Plain) -> Iterator[str]:
    """The lines that say something, from the last to the first."""
    for line in reversed(text.splitlines()):
        line = line.strip()
        if not line:
            continue
        if plain.row(line) is None and (line.rstrip("*_ ").endswith((":", "\uff1a")) or _FENCE.fullmatch(line)):
            continue
        yield line


def _unwrapped(line: str) -> str:
    """The line without the LaTeX around its values."""
    for pattern, plain_form in _LATEX if any(sign in line for sign in "\\${") else ():
        line = pattern.sub(plain_form, line)
    return line


def answer_lines(text: str, answer_marker: bool, plain: Plain) -> list[str]:
    """The lines of the answer in a text.

    Args:
        text: all that a model wrote. answer_marker: whether it was asked to reason first and then write "Answer:".
    Returns: lines without spaces around them, none of them blank.
    """
    text = "\n".join(text[-10 * plain.limit :].splitlines())
    text = _before_next_question(text, answer_marker, plain).rpartition("</think>")[2]
    text = _before_remark(_last_piece(text, plain), plain)
    if plain.is_scalar:  # for the one value a fence is as good as a bullet
        text = _FENCED_LINE.sub(r"- \2", text)
    kept, room = [], plain.limit
    for line in _kept_lines(text, plain):
        line = line[-room:]
        kept.append(line if plain.row(line) is not None else _unwrapped(line))
        room -= len(line) + 1
        if room <= 0:
            break
    return kept[::-1]
