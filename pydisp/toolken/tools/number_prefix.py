"""Beginnings of numbers: with which characters a token becomes a number that a call may have.

number_rest("-", False, None, limits) == "0"; number_rest("1", True, [12, 15], limits) == "2"; number_rest("25", False, [Decimal("0.25")], limits) == "e-2"
"""

import re
from decimal import Decimal

from pydisp.toolken.tools.arguments import NUMBER, exponent_fits
from pydisp.toolken.tools.limits import Limits

# Every beginning of what NUMBER matches; ends before a character that no number can have there.
BEGUN = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.(?:[0-9]+(?:[eE](?:[+-]?[0-9]*))?)?|[eE](?:[+-]?[0-9]*))?)?")


def number_rest(token: str, is_whole: bool, choices: list[int | Decimal] | None, limits: Limits) -> str | None:
    """The characters that make a number of the token, "" where it is one, None where nothing does.

    Args:
        token: what BEGUN matches. is_whole: no point and no exponent. choices: the values it can have; None for every one.
    """
    candidates = [""] if token[-1:].isdigit() else ["0"]
    for choice in choices or ():
        candidates += _rests(token, choice, limits)
    return next((rest for rest in candidates if _is_allowed(token + rest, is_whole, choices, limits)), None)


def _is_allowed(text: str, is_whole: bool, choices: list[int | Decimal] | None, limits: Limits) -> bool:
    found = NUMBER.fullmatch(text)
    if found is None or (is_whole and (found[1] or found[2])):
        return False
    mantissa, _, exponent = text.lower().partition("e")
    if sum(map(str.isdigit, mantissa)) > limits.digits or (exponent and not exponent_fits(exponent, limits)):
        return False
    return choices is None or Decimal(text) in choices


def _rests(token: str, choice: int | Decimal, limits: Limits) -> list[str]:
    """Characters that may make the choice of the token; too many are given rather than too few, for each is tried."""
    mantissa, mark, exponent = token.lower().partition("e")
    if mark:
        return [*_exponent_rests(exponent, _shift(mantissa, choice), limits), *_exponent_rests(exponent, 0, limits)]
    value = Decimal(choice)
    wanted = "".join(map(str, value.as_tuple().digits)).rstrip("0") or "0"
    written = mantissa.replace(".", "").lstrip("-0")  # the digits that count
    missing = wanted.removeprefix(written)
    if not wanted.startswith(written):
        missing = ""  # all of them and zeros behind, or other digits
    plain = f"{abs(value):f}"
    rests = [plain.removeprefix(mantissa.lstrip("-"))]
    # Without a point one can be set here, or never, or zeros bring the exponent within its limit; with one, zeros can stand before the digits.
    bodies = [missing, f"{missing}0", f".{missing}", f".{missing}0", f".0{missing}"]
    edge = limits.exponent
    for body in [*bodies]:
        shift = _shift(mantissa + body, choice)
        if shift is not None and abs(shift) > edge and abs(shift) - edge <= limits.digits:
            zeros = "0" * (abs(shift) - edge)
            bodies += [missing + zeros, zeros + missing, f".{zeros}{missing}"]
    for body in bodies:
        shift = _shift(mantissa + body, choice)
        rests += [body] if not shift else [f"{body}e{shift}"]
    return rests


def _shift(mantissa: str, choice: int | Decimal) -> int | None:
    """How many places the point of the mantissa has to move to give the choice, if it has the same digits; None for no number."""
    if NUMBER.fullmatch(mantissa) is None or not Decimal(mantissa):
        return None
    return Decimal(choice).adjusted() - Decimal(mantissa).adjusted()


def _exponent_rests(begun: str, shift: int | None, limits: Limits) -> list[str]:
    """Ends of an exponent of which some characters are there."""
    if shift is None:
        return ["0"]
    sign = begun[:1] if begun[:1] in ("+", "-") else ""
    digits = begun[len(sign) :]
    if not begun and shift < 0:
        return [str(shift)]
    if (sign == "-") != (shift < 0) and shift:
        return []
    size = str(abs(shift))
    padded = [size.zfill(width) for width in range(len(size), len(str(limits.exponent)) + 1)]
    return [one.removeprefix(digits) for one in padded if one.startswith(digits)]
