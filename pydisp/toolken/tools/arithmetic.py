"""Arithmetic on decimals, exact where the result has an end: add(0.1, 0.2) is 0.3.

    divide(7, 8) == Decimal("0.875"); choose(5, 2) == 10

Numbers are int or Decimal, as `arguments.parse` gives them. What has no end keeps 28 digits. A function with a keyword `limits` is held to them
before it computes: the size of a result is known from its arguments.
"""

import math
from decimal import Context, Decimal, Inexact, InvalidOperation
from fractions import Fraction

from pydisp.toolken.tools.limits import LimitError, Limits

Number = int | Decimal
DIGITS = 28  # of results without an end
_GUARD_DIGITS = 12  # more than a logarithm or a power loses on its way
_LARGEST_EXPONENT = 999_999


def _context(digits: int) -> Context:
    return Context(prec=digits, Emin=-_LARGEST_EXPONENT, Emax=_LARGEST_EXPONENT)


def _plain(value: Number | Fraction) -> Number:
    """An int where the value is whole."""
    return int(value) if value == int(value) else value


def _exact(operation: str, a: Number, b: Number) -> Number:
    if isinstance(a, int) and isinstance(b, int):
        return {"add": a + b, "subtract": a - b, "multiply": a * b}[operation]
    # Two numbers within the limits span some hundreds of digits; a sum that needs more than these is refused, never rounded.
    context = Context(prec=10_000, Emin=-_LARGEST_EXPONENT, Emax=_LARGEST_EXPONENT, traps=[Inexact, InvalidOperation])
    try:
        return _plain(getattr(context, operation)(Decimal(a), Decimal(b)))
    except Inexact:
        raise LimitError("the numbers lie too far apart to be put together exactly; give numbers of similar size.") from None


def add(a: Number, b: Number) -> Number:
    """The sum of two numbers."""
    return _exact("add", a, b)


def subtract(a: Number, b: Number) -> Number:
    """The first number less the second."""
    return _exact("subtract", a, b)


def multiply(a: Number, b: Number) -> Number:
    """The product of two numbers."""
    return _exact("multiply", a, b)


def divide(a: Number, b: Number) -> Number:
    """The first number divided by the second.

    Raises: ValueError for a division by zero.
    """
    if b == 0:
        raise ValueError("a division by zero has no result; divide by another number.")
    quotient = Fraction(a) / Fraction(b)
    if quotient.denominator == 1:
        return quotient.numerator
    whole_digits = max(0, Decimal(a).adjusted() - Decimal(b).adjusted())  # none of these is rounded
    return _context(DIGITS + whole_digits).divide(Decimal(a), Decimal(b))


def remainder(a: Number, b: Number) -> Number:
    """What is left of the first number after as many whole second numbers as fit; it has the sign of the second.

    Raises: ValueError for a division by zero.
    """
    if b == 0:
        raise ValueError("a division by zero has no remainder; divide by another number.")
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    first, second = Fraction(a), Fraction(b)
    left = first - second * (first // second)
    # tenths, hundredths, ... of both: so has what is left
    places = max(0, -Decimal(a).as_tuple().exponent, -Decimal(b).as_tuple().exponent)
    return _plain(Decimal(int(left * 10**places)).scaleb(-places, _context(10_000)))


def power(a: Number, b: Number, *, limits: Limits = Limits()) -> Number:  # noqa: B008 (frozen)
    """The first number to the power of the second; 0 to the power of 0 is 1.

    Raises: LimitError; ValueError for a root of a negative number and for 0 to a negative power.
    """
    if abs(b) > limits.exponent:
        raise LimitError(f"the exponent is {b}; it can be {limits.exponent} at most.")
    if a == 0 and b < 0:
        raise ValueError("0 to a negative power is a division by zero; give another base.")
    if a < 0 and b != int(b):
        raise ValueError(f"{a} to the power of {b} is no real number; give a base of 0 or more, or a whole exponent.")
    if b == int(b) and b >= 0:
        exponent = int(b)
        _check_size(a, exponent, limits)
        if isinstance(a, int):
            return a**exponent
        if len(a.as_tuple().digits) * exponent <= limits.result_length:
            return _plain(_context(10 * limits.result_length).power(a, exponent)) if exponent else 1
    _check_size(a, b, limits)
    value = _context(DIGITS + _GUARD_DIGITS).power(Decimal(a), Decimal(b))
    if (whole_digits := max(0, value.adjusted())) > 0:  # none of these is rounded
        value = _context(DIGITS + _GUARD_DIGITS + whole_digits).power(Decimal(a), Decimal(b))
    return _plain(_context(DIGITS + whole_digits).plus(value))


def _check_size(a: Number, exponent: Number, limits: Limits) -> None:
    """Raises: LimitError for a power that is surely too long; one at the border is computed, and measured as every result."""
    if a != 0 and Decimal(abs(a)).log10() * exponent > limits.result_length:
        raise LimitError(f"the power would have more than {limits.result_length} digits; give a smaller base or exponent.")


def sqrt(a: Number) -> Number:
    """The square root of a number.

    Raises: ValueError for a negative number.
    """
    if a < 0:
        raise ValueError(f"the square root of {a} is no real number; give a number of 0 or more.")
    if isinstance(a, int) and math.isqrt(a) ** 2 == a:
        return math.isqrt(a)
    return _plain(_context(DIGITS + max(0, Decimal(a).adjusted() // 2)).sqrt(Decimal(a)))


def ln(a: Number) -> Number:
    """The natural logarithm of a number.

    Raises: ValueError for a number that is not above 0.
    """
    if a <= 0:
        raise ValueError(f"{a} has no logarithm; give a number above 0.")
    return _plain(_context(DIGITS).ln(Decimal(a)))


def log(a: Number, base: Number = 10) -> Number:
    """The logarithm of a number to a base, 10 where none is given.

    Raises: ValueError for a number or a base that is not above 0, and for the base 1.
    """
    if a <= 0:
        raise ValueError(f"{a} has no logarithm; give a number above 0.")
    if base <= 0 or base == 1:
        raise ValueError(f"{base} is no base of a logarithm; give a base above 0 other than 1.")
    context = _context(DIGITS + _GUARD_DIGITS)
    return _plain(_context(DIGITS).plus(context.divide(context.ln(Decimal(a)), context.ln(Decimal(base)))))


def gcd(a: int, b: int) -> int:
    """The largest whole number that divides both."""
    return math.gcd(a, b)


def lcm(a: int, b: int) -> int:
    """The smallest whole number that both divide."""
    return math.lcm(a, b)


def choose(n: int, k: int, *, limits: Limits = Limits()) -> int:  # noqa: B008
    """In how many ways k of n things can be picked when their order does not matter.

    Raises: LimitError; ValueError for negative numbers.
    """
    _check_counts(n, k, limits)
    return math.comb(n, k)


def permute(n: int, k: int, *, limits: Limits = Limits()) -> int:  # noqa: B008
    """In how many orders k of n things can be lined up.

    Raises: LimitError; ValueError for negative numbers.
    """
    _check_counts(n, k, limits)
    return math.perm(n, k)


def _check_counts(n: int, k: int, limits: Limits) -> None:
    if n < 0 or k < 0:
        raise ValueError(f"n is {n} and k is {k}; numbers of things are 0 or more.")
    if n > limits.factorial:
        raise LimitError(f"n is {n}; it can be {limits.factorial} at most.")
