"""Answers: a generated answer against the gold one, by fixed rules.

    judged(" 84 apples\nQuestion: ...", gold="84")  # Judged(answer="84", is_exact=True, is_within=True)

- The answer stands in the first line that is not empty; where the solution has several lines (GSM8K) in all of them before the next question,
  and there behind the last "####", where one stands.
- A gold answer of numbers is compared with the last numbers of the answer, as many as it has, in order: "84 and 12" needs both. Currency and
  per cent signs, thousands commas and units beside a number are let be. Exact: of equal value. Within: each at most 0.1 % of the gold one away.
  The parts of a date, a time or a fraction ("2024-05-03", "14:35", "1/2") are no numbers.
- Any other gold answer (a date, a day, a word) must be the answer, or its beginning up to a punctuation mark, or stand so behind the last "=", ":",
  "is" or "comes": "2024-05-03 is a Friday". Yes and no must begin the answer. "Tuesday, then Friday" is the same list as "Tuesday and Friday".
  Case, spaces and the final full stop do not count. Within is the same as exact there.
"""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

TOLERANCE = Decimal("0.001")
_JOINS = r"[-:/\u2212\u2013]"  # between two digits: the parts of a date, a time, a fraction, a range
_NUMBER = re.compile(
    rf"(?<![\w.])(?<!\d{_JOINS})[-+\u2212]?(?>(?:\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{{1,3}}(?!\d))?(?!\d|{_JOINS}\d)"
)
# what may stand before an answer that is no number; an article may follow
_LEAD = re.compile(r".*(?:=|:\s|\b(?:is|are|comes|equals)\s)\s*(?:(?:an?|the)\s)?", re.DOTALL)
_LIST = re.compile(r"\s*[,;]\s*(?:(?:and|then)\s+)?|\s+(?:and|then)\s+")
_YES_OR_NO = ("yes", "no")
_BESIDE = r"[$€£¥%]"
# the whole of a gold answer of numbers: numbers with signs of currency or per cent and units behind them, joined by "and" or commas
_UNIT = r"(?:\s*[^\W\d_]{1,20}(?:[/ ][^\W\d_]{1,20}){0,2}[23]?)?"
_OF_NUMBERS = re.compile(rf"\s*{_BESIDE}?\s*(NUMBER)\s*{_BESIDE}?{_UNIT}?\.?\s*".replace("NUMBER", _NUMBER.pattern))
_DIGITS = 400  # a longer number is no answer


@dataclass(frozen=True)
class Judged:
    """An answer and what it is worth.

    Args:
        answer: what was taken as the answer, "" where there is none.
        is_exact, is_within: None where there is no gold answer.
    """

    answer: str
    is_exact: bool | None
    is_within: bool | None


def judged(text: str, gold: str | None, *, has_lines: bool = False) -> Judged:
    """The answer of a generated text.

    Args:
        text: what stands behind the prompt. gold: the gold answer. has_lines: whether solutions of this kind have several lines.
    """
    given = answer_part(text, has_lines=has_lines)
    if gold is None:
        return Judged(given, None, None)
    wanted = numbers_of(gold)
    if wanted is None:
        is_right = _says(given, gold)
        return Judged(given, is_right, is_right)
    found = last_numbers(given, len(wanted))
    if len(found) < len(wanted):
        return Judged(given, False, False)
    pairs = list(zip(found, wanted, strict=True))
    is_within = all(abs(one - other) <= TOLERANCE * abs(other) for one, other in pairs)
    return Judged(" and ".join(map(_plain, found)), all(one == other for one, other in pairs), is_within)


def answer_part(text: str, *, has_lines: bool = False) -> str:
    """The part of a generated text in which its answer stands."""
    if not has_lines:
        return next((line.strip() for line in text.splitlines() if line.strip()), "")
    text = re.split(r"\n\s*Question:", text, maxsplit=1)[0]
    _, mark, last = text.rpartition("####")
    return next((line.strip() for line in last.splitlines() if line.strip()), "") if mark else text.strip()


def numbers_of(gold: str) -> list[Decimal] | None:
    """The numbers that a gold answer consists of, or None where it is another text, such as a date."""
    parts = re.split(r"\s+and\s+|,\s+|;\s*", gold.strip())
    matches = [_OF_NUMBERS.fullmatch(part) for part in parts]
    return [_decimal(match[1]) for match in matches] if all(matches) else None


def last_numbers(text: str, count: int) -> list[Decimal]:
    """The last numbers of a text, at most `count`, in their order."""
    return [_decimal(match[0]) for match in _NUMBER.finditer(text) if len(match[0]) <= _DIGITS][-count:]


def normalised(text: str) -> str:
    """Lower case, one space for any, without a final full stop and quotation marks around it."""
    return re.sub(r"\s+", " ", text).strip().strip("\"'`“”").rstrip(".").strip().casefold()


def _says(given: str, gold: str) -> bool:
    given, wanted = (_LIST.sub(", ", normalised(text)) for text in (given, gold))
    lead = None if wanted in _YES_OR_NO else _LEAD.match(given)
    return _begins(given, wanted) or lead is not None and _begins(given[lead.end() :], wanted)


def _begins(text: str, wanted: str) -> bool:
    return bool(wanted) and text.startswith(wanted) and re.match(r"$|[,;:!?)]|\.(?!\d)|\s*\(", text[len(wanted) :]) is not None


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text.replace(",", "").replace("\u2212", "-"))
    except InvalidOperation:  # only what the pattern does not let through
        return Decimal("NaN")


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}" if abs(value.adjusted()) < 30 else f"{value.normalize()}"
