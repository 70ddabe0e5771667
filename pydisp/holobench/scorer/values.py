"""Values: what one cell of an answer says, as a text, a number or a date.

read("1,234.50 euros", "decimal(2)") -> Decimal("1234.50")
read("March 5, 2021", "date") -> "2021-03-05"; read("“The  Lamp”.", "text") -> "lamp"

A cell that its type cannot be read from is None. The rules stand in data/SCORING.md, parts 5 and 6.
"""

import datetime
import re
import unicodedata
from decimal import ROUND_HALF_UP, Context, Decimal

MOST_DIGITS = 40  # a longer number is nobody's answer
_EXACT = Context(prec=120, rounding=ROUND_HALF_UP)
_SAME_SIGN = str.maketrans("‘’‚‛′“”„‟″«»`´‐‑‒–—―−", "'''''\"\"\"\"\"\"\"''-------")
_OUTER = " \t\n\"'*()[]{}<>.,;:!?|-_~"

SIGN = re.compile(r"[^\W_]")  # a letter or a digit

_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"]
_WORDS += ["fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"]
_WORD = "(?:" + "|".join(sorted(_WORDS, key=len, reverse=True)) + ")"
_SCALE = "(?:hundred|thousand|million|billion|trillion|dozen)"
_DIGITS = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})++|[0-9]{1,3}(?: [0-9]{3})++|[0-9]++)(?:\.[0-9]++)?|\.[0-9]++)"
_MONEY = "[$€£¥₹₩₽₺₪฿¢]"
_CODE = "(?:usd|eur|gbp|jpy|chf|cny|inr|aud|cad)"
_UNIT = rf"(?: (?!(?:{_SCALE}|{_WORD})\b)[^\W\d_][^\s,;:|=]*+)"
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
# Words before a number that make it another number, a limit, a date or a heading.
_NOT_BEFORE = (
    rf"(?:{_SCALE}|{_WORD}|not|minus|negative|half|above|over|below|under|than|least|most|of|to|or|step)\b"
    rf"|no [^\W\d_]|{_MONTH.replace('?P<month>', '?:')} "
)
_NOUN = rf"(?:(?!{_NOT_BEFORE})[^\W\d_][^\s\d,;:|=]*+(?: |(?<=\bn[or]\.)))"
_CELL = re.compile(
    rf"{_NOUN}{{0,2}}(?:(?:about|approximately|exactly|[~≈]) ?)?#?(?P<sign>[+-]?)(?:(?:{_MONEY} ?|{_CODE} )(?P<inner>[+-]?))?"
    rf"(?:(?P<digits>{_DIGITS}) ?(?:{_MONEY}|%)?|(?P<word>{_WORD})){_UNIT}{{0,2}}"
)
_STARS = re.compile(r"(?<![\w*])\*{1,3}(?=[\w#$])|(?<=\w)\*{1,3}(?![\w*])")
# What looks like a number in a sentence and is none comes first, so that its parts are not found.
_TOKEN = re.compile(
    rf"(?P<none>(?<![^\W_])(?:[0-9]++/[0-9]++|twenty[- ]{_WORD}\b|(?:{_DIGITS}|{_WORD})[ -]{_SCALE}s?\b))"
    rf"|(?<![^\W_])(?<![0-9]\.)(?P<sign>(?<![0-9)])[+-](?:{_MONEY} ?)?)?(?P<digits>{_DIGITS})(?![^\W_])(?!\.[0-9])"
    rf"|(?<![\w-])(?P<word>{_WORD})(?![\w-])"
)

_MONTHS = {
    name: number for number, name in enumerate(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)
}
_DAY = r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?"
_EDGES = r"(?<![^\W_])(?<![0-9][./-]){}(?![^\W_])(?![./-][0-9])"
_DATES = tuple(
    re.compile(_EDGES.format(pattern))
    for pattern in (
        r"(?P<year>[0-9]{4})(?P<mark>[-/.])(?P<month>[0-9]{1,2})(?P=mark)(?P<day>[0-9]{1,2})(?:[ t]00:00(?::00(?:\.0{1,9})?)?)?",
        rf"{_DAY} (?:of )?{_MONTH},? (?P<year>[0-9]{{4}})",
        rf"{_MONTH} {_DAY},? (?P<year>[0-9]{{4}})",
        r"(?P<first>[0-9]{1,2})(?P<mark>[/.-])(?P<second>[0-9]{1,2})(?P=mark)(?P<year>[0-9]{4})",
    )
)
_IDLE_COMMAS = re.compile(
    rf"(?<![0-9])[0-9]{{1,3}}(?:,[0-9]{{3}})+(?![0-9])|(?<![^\W_]){_MONTH} {_DAY},(?= ?[0-9]{{4}}(?![0-9]))", re.IGNORECASE
)


def folded(text: str) -> str:
    """A text in one form: NFKC, lower case, one kind of quotes and dashes, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).translate(_SAME_SIGN).casefold()).split())


def name(text: str) -> str:
    """A text as it is compared: folded, without quotes, brackets and punctuation around it and without a first "the"."""
    whole = folded(text)
    inner = whole.strip(_OUTER)
    if inner.startswith("the "):
        inner = inner[4:].strip(_OUTER) or inner
    return inner or whole  # a name of signs only stays as it is


def digits_of(kind: str) -> int:
    """How many digits a "decimal(n)" has."""
    return int(kind[8:-1])


def rounded(number: Decimal, kind: str) -> Decimal:
    """A number with the digits of its "decimal(n)", half away from zero."""
    return _EXACT.quantize(number, Decimal(1).scaleb(-digits_of(kind)))


def _number(match: re.Match) -> Decimal | None:
    if match["word"]:
        return Decimal(_WORDS.index(match["word"]))
    digits = match["digits"].replace(",", "").replace(" ", "")
    return Decimal(digits) if len(digits.replace(".", "")) <= MOST_DIGITS else None


def number(text: str) -> Decimal | None:
    """The number that a whole cell states, with or without currency, thousands separators, a unit, and words such as "Order No." before it."""
    text = _STARS.sub("", folded(text[:200])).strip(" \"'*()[]{}<>,;:!?|_").rstrip(".")
    match = _CELL.fullmatch(text) if len(text) <= 100 else None
    found = match and _number(match)
    return found.copy_negate() if found and "-" in (match["sign"], match["inner"]) else found


def _day(match: re.Match) -> str | None:
    """The date of a match as ISO text; None where day and month can be taken in two ways or do not exist."""
    parts = match.groupdict()
    if "first" in parts:
        options = {(int(parts["second"]), int(parts["first"])), (int(parts["first"]), int(parts["second"]))}
    else:
        month = parts["month"]
        options = {(int(month) if month.isdigit() else _MONTHS[month[:3]], int(parts["day"]))}
    found = []
    for month, day in options:
        try:
            found.append(datetime.date(int(parts["year"]), month, day).isoformat())
        except ValueError:
            continue
    return found[0] if len(found) == 1 else None


def date(text: str) -> str | None:
    """The date that a whole cell states, in ISO form."""
    text = folded(text[:100]).strip(_OUTER)
    matches = (pattern.fullmatch(text) for pattern in _DATES)
    return next((_day(match) for match in matches if match), None)


def read(cell: str | None, kind: str) -> str | Decimal | None:
    """What a cell says as a value of its type; decimals keep the digits they were written with. None: nothing of that type.

    "code" is one type more than golds have: identifiers that are texts; they are compared as texts and never close.
    """
    if cell is None:
        return None
    if kind in ("text", "code"):
        return name(cell) or None
    return date(cell) if kind == "date" else number(cell)


def compared(value: str | Decimal | None, kind: str) -> str | Decimal | None:
    """A value in the form in which equal values are equal."""
    return rounded(value, kind) if isinstance(value, Decimal) and kind.startswith("decimal") else value


def dates_in(line: str) -> list[tuple[int, str]]:
    """The dates of a folded line and where they begin, in the order of the line."""
    found = ((match.start(), _day(match)) for pattern in _DATES for match in pattern.finditer(line))
    return sorted((place, day) for place, day in found if day)


def numbers_in(line: str) -> list[tuple[int, Decimal]]:
    """The numbers of a folded line and where they begin; a date holds none."""
    for pattern in _DATES:
        line = pattern.sub(lambda match: " " * len(match[0]), line)
    found = []
    for match in _TOKEN.finditer(line):
        if not match["none"] and (value := _number(match)) is not None:
            found.append((match.start(), value.copy_negate() if match["sign"] and match["sign"][0] == "-" else value))
    return found


def hidden_commas(line: str) -> str:
    """The line with "\ue001" for commas that separate nothing: those of "1,234" and of "March 5, 2021"."""
    return _IDLE_COMMAS.sub(lambda match: match[0].replace(",", "\ue001"), line) if "," in line else line


def is_close(answer, gold, kind: str) -> bool:
    """Whether a wrong value is nearly the right one: one edit in a name, or a number less than 5 % off."""
    if kind == "text":
        return sum(map(str.isalpha, gold)) >= 5 and _is_one_edit(answer, gold)
    if (kind == "integer" or kind.startswith("decimal")) and gold != 0:
        return _EXACT.multiply(_EXACT.subtract(answer, gold).copy_abs(), 20) < gold.copy_abs()
    return False


def _is_one_edit(one: str, other: str) -> bool:
    """Whether one sign was inserted, deleted, changed or swapped with its neighbour, and no digit was touched."""
    if abs(len(one) - len(other)) > 1 or [sign for sign in one if sign.isdigit()] != [sign for sign in other if sign.isdigit()]:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    rests = one[start:], other[start:]
    if len(one) != len(other):
        short, long = sorted(rests, key=len)
        return short == long[1:]
    left, right = rests
    return left[1:] == right[1:] or (left[:2] == right[1::-1] and left[2:] == right[2:])
