"""ROUND as people do it: half-up, on the decimal number. DuckDB rounds 2.675 to 2.67 in one version and to 2.68 in another.

    half_up(2.675, 2)              # Decimal("2.68")
    rounded_argument(expression)   # the tree of "avg(price)" for that of "ROUND(avg(price), 2)"

What a statement rounds at last, by ROUND or CAST AS DECIMAL, is selected unrounded too and rounded here if it is a floating-point number.
"""

import math
from decimal import ROUND_HALF_UP, Context, Decimal

from pydisp.holobench.sql.answer_columns import round_digits
from pydisp.holobench.sql.sql_tree import arguments, same_case

_NOISE = Decimal("1e-9")  # by which a sum of floating-point numbers is off, at most
_WIDE = Context(prec=400)  # the largest float has 309 digits before the point


def half_up(value: float, digits: int) -> Decimal:
    """The number rounded to digits after the point, away from zero at a half.

    Args:
        value: finite; the shortest decimal that is this float is rounded, or a half if it is as near as noise.
    """
    exact = Decimal(repr(value))
    half = exact.quantize(Decimal(1).scaleb(-digits - 1), context=_WIDE)
    if abs(exact - half) <= _NOISE * max(1, abs(exact)):
        exact = half
    return exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, context=_WIDE)


def rounded_argument(item: dict) -> dict | None:
    """What an expression rounds, by ROUND with digits that are written out or by CAST AS DECIMAL, or by both; None if it is neither."""
    inner = _inner(item)
    if round_digits(inner) is not None:
        return arguments(inner)[0]
    return item["child"] if _is_cast(item) else None


def exactly(item: dict, rounded, argument):
    """The value of such an expression, rounded half-up if its argument is a floating-point number; otherwise as DuckDB gives it."""
    if not isinstance(argument, float) or not math.isfinite(argument) or rounded is None:
        return rounded
    digits = round_digits(_inner(item))
    if not isinstance(rounded, Decimal):
        return half_up(argument, digits)
    places = -rounded.as_tuple().exponent
    value = half_up(argument, places if digits is None else digits)
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, context=_WIDE)


def _is_cast(item: dict) -> bool:
    if item["class"] != "CAST":
        return False
    name = item["type_expr"]["type_name"] if "type_expr" in item else item["cast_type"]["id"]
    return same_case(name) in ("decimal", "numeric")


def _inner(item: dict) -> dict:
    """The ROUND within a CAST AS DECIMAL, if there is one: it rounds first."""
    return item["child"] if _is_cast(item) and round_digits(item["child"]) is not None else item
