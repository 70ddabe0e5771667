"""Column kinds: what a column of a database file holds, found from its values, because SQLite declares types and does not hold to them.

typed("Price", [44, 35.5, None])     # Column("Price", "decimal", decimals=1), [Decimal("44.0"), Decimal("35.5"), None]
"""

import math
import re
from datetime import date
from decimal import Decimal

from pydisp.holobench.database.nouns import words_for
from pydisp.holobench.database.tables import Column, Value

MAX_DECIMALS = 6
MAX_DIGITS = 18  # of a DECIMAL in 64 bits
MAX_CHARACTERS = 1000  # of a text; longer ones are documents, not facts
_DATE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[ T]00:00:00(?:\.0+)?)?")


class Unusable(ValueError):
    """Why a column is left out: the end of a sentence that begins with its name."""


def typed(name: str, values: list[int | float | str | bytes | None]) -> tuple[Column, list[Value]]:
    """The column and its values as a table has them. Its role is still "other".

    Raises: Unusable if the values are of no kind that a table has.
    """
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        raise Unusable("has no values")
    if bytes in kinds:
        raise Unusable("holds bytes or text that is not Unicode")
    if kinds == {str}:
        return _of_texts(name, values)
    if str in kinds:
        raise Unusable("holds numbers and texts")
    return _of_numbers(name, values)


def _column(name: str, kind: str, decimals: int = 0) -> Column:
    return Column(name, kind, decimals, words=words_for(name))


def _day(text: str) -> str | None:
    """The date of an ISO date, alone or at midnight."""
    if found := _DATE.fullmatch(text):
        try:
            return date.fromisoformat(found[1]).isoformat()
        except ValueError:  # 2021-02-30
            return None
    return None


def _of_texts(name: str, values: list) -> tuple[Column, list[Value]]:
    if any(value is not None and len(value) > MAX_CHARACTERS for value in values):
        raise Unusable(f"holds a text of more than {MAX_CHARACTERS} characters")
    days = [None if value is None else _day(value) for value in values]
    if all((day is None) == (value is None) for day, value in zip(days, values, strict=True)):
        return _column(name, "date"), days
    return _column(name, "text"), values


def _of_numbers(name: str, values: list) -> tuple[Column, list[Value]]:
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        raise Unusable("holds a number that is not finite")
    # The shortest text that gives a float back is what somebody once wrote: 0.1, and not 0.1000000000000000055.
    exact = [None if value is None else Decimal(repr(value)) for value in values]
    decimals = max(_digits(value) for value in exact if value is not None)
    if decimals > MAX_DECIMALS:
        raise Unusable(f"holds a number with more than {MAX_DECIMALS} digits after the point")
    if not decimals:
        if any(value is not None and not -(2**63) <= value < 2**63 for value in exact):
            raise Unusable("holds a number of more than 64 bits")
        return _column(name, "integer"), [None if value is None else int(value) for value in exact]
    if any(value is not None and abs(value) >= 10 ** (MAX_DIGITS - decimals) for value in exact):
        raise Unusable(f"holds numbers that together need more than {MAX_DIGITS} digits")
    unit = Decimal(1).scaleb(-decimals)
    return _column(name, "decimal", decimals), [None if value is None else value.quantize(unit) for value in exact]


def _digits(value: Decimal) -> int:
    """After the point, without zeros at the end."""
    return max(0, -value.normalize().as_tuple().exponent)
