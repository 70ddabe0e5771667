"""From DuckDB's values to a Gold: values that an answer in words cannot have are refused, floating-point numbers are rounded exactly.

    as_gold(columns, types, rows, ranks=[0] * len(rows))

Rows that the statement does not order are sorted column by column, numbers by size and texts by code points: gold is the same each time.
"""

import math
import re
from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import Decimal

from pydisp.holobench.items import Gold
from pydisp.holobench.sql.answer_columns import AnswerColumn
from pydisp.holobench.sql.exact_rounding import half_up
from pydisp.holobench.sql.locked_database import GoldError, UnfitRows

DIGITS = 2  # of a number that the statement does not round
_NEAR = Decimal("1e-6")  # two ways to add the same numbers may differ by less
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")
_NUMBER = re.compile(r"\s*[+-]?([0-9]+(,[0-9]{3})*\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?\s*%?\s*", re.IGNORECASE)
_EXACT_DIGITS = 15  # of a decimal number that a float of JSON holds


def as_gold(columns: Sequence[AnswerColumn], types: Sequence[str], rows: Sequence[tuple], ranks: Sequence[int]) -> Gold:
    """Gold of rows as DuckDB gives them.

    Args:
        types: DuckDB's names, such as "BIGINT" or "DECIMAL(38,2)"; a value of a "DOUBLE" may be a Decimal that is rounded already.
        ranks: one a row, for the order that the statement asks for; rows of one rank are sorted.
    Raises: GoldError naming the column that cannot be gold, and what to write instead; UnfitRows if that is because of its values.
    """
    kinds, values = [], []
    for place, (column, kind) in enumerate(zip(columns, types, strict=True)):
        of_column = [row[place] for row in rows]
        if any(value is None for value in of_column):
            raise UnfitRows(f"column {column.name!r} of the answer has no value (NULL) in some row; leave such rows out with IS NOT NULL.")
        known, written = _column(column, kind, of_column)
        kinds.append(known)
        values.append(written)
    ordered = sorted(zip(ranks, zip(*values, strict=True), strict=True))
    return Gold(tuple(column.name for column in columns), tuple(kinds), tuple(row for _, row in ordered))


def _column(column: AnswerColumn, kind: str, values: list) -> tuple[str, list]:
    """The gold's type and values of one column."""
    if kind in _WHOLE:
        return "identifier" if column.is_identifier else "integer", values
    if kind == "VARCHAR":
        return "text", _texts(column.name, values)
    if kind == "DATE":
        return "date", [_date(column.name, value) for value in values]
    if kind == "TIMESTAMP" and all(value.time() == time() for value in values if isinstance(value, datetime)):
        return "date", [_date(column.name, value) for value in values]
    if kind.startswith("DECIMAL"):
        return _decimals(column, int(kind.rstrip(")").rsplit(",", 1)[1]), values)
    if kind == "DOUBLE":
        return _floats(column, values)
    raise GoldError(f"column {column.name!r} of the answer is of the type {kind}; select a text, a number or a date.")


def _texts(name: str, values: list[str]) -> list[str]:
    if values and all(_NUMBER.fullmatch(value) for value in values):
        raise GoldError(f"column {name!r} of the answer has numbers stored as text (numbers-as-text); cast them to INTEGER or DECIMAL.")
    if any(not value.strip() for value in values):
        raise UnfitRows(f"column {name!r} of the answer has an empty text; leave such rows out.")
    return values


def _date(name: str, value) -> str:
    if not isinstance(value, date) or (value.year, value.month, value.day) == (9999, 12, 31):  # DuckDB's infinity, which may also be a text
        raise UnfitRows(f"column {name!r} of the answer has the date {value}; a date must lie in the years 1 to 9999.")
    return (value.date() if isinstance(value, datetime) else value).isoformat()


def _decimals(column: AnswerColumn, scale: int, values: list[Decimal]) -> tuple[str, list]:
    if scale == 0:
        return "identifier" if column.is_identifier else "integer", [int(value) for value in values]
    return f"decimal({scale})", [_json_number(column.name, value) for value in values]


def _floats(column: AnswerColumn, values: list[float | Decimal]) -> tuple[str, list]:
    for value in values:
        if not math.isfinite(value):
            raise UnfitRows(f"column {column.name!r} of the answer has the value {value}; leave such rows out.")
    if column.decimals == 0:
        return "integer", [int(value) for value in values]
    if column.decimals is not None:
        exact = [value if isinstance(value, Decimal) else Decimal(repr(value)) for value in values]
        return f"decimal({column.decimals})", [_json_number(column.name, value) for value in exact]
    return f"decimal({DIGITS})", [_json_number(column.name, _rounded(column.name, value)) for value in values]


def _rounded(name: str, value: float) -> Decimal:
    """Half-up to DIGITS digits; far from a half there is one way only."""
    rounded = half_up(value, DIGITS)
    if abs(abs(Decimal(repr(value)) - rounded) - Decimal(1).scaleb(-DIGITS) / 2) < _NEAR:
        raise UnfitRows(
            f"column {name!r} of the answer has {value!r}, which lies between two numbers of {DIGITS} digits; "
            f"say how to round in the SQL, by ROUND(…, {DIGITS}) for half-up or with more digits."
        )
    return rounded


def _json_number(name: str, value: Decimal) -> float:
    if len(value.normalize().as_tuple().digits) > _EXACT_DIGITS:
        raise UnfitRows(f"column {name!r} of the answer has {value}, which has more than {_EXACT_DIGITS} digits; round it in the SQL.")
    return float(value) + 0.0  # no minus before zero
