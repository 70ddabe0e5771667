"""Arithmetic: exact where the result has an end, refused where it would be too large."""

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisp.toolken.tools.arithmetic import add, choose, divide, gcd, lcm, ln, log, multiply, permute, power, remainder, sqrt, subtract
from pydisp.toolken.tools.limits import LimitError, Limits

D = Decimal
numbers = st.integers(-(10**20), 10**20) | st.decimals(-(10**9), 10**9, places=6, allow_nan=False)


@given(numbers, numbers)
def test_sums_differences_products_and_remainders_are_exact(a, b):
    x, y = Fraction(a), Fraction(b)
    assert (Fraction(add(a, b)), Fraction(subtract(a, b)), Fraction(multiply(a, b))) == (x + y, x - y, x * y)
    if b:
        assert Fraction(remainder(a, b)) == x - y * (x // y)


@given(numbers, numbers.filter(bool))
def test_a_quotient_is_exact_if_whole_and_else_right_to_28_digits(a, b):
    exact = Fraction(a) / Fraction(b)
    found = divide(a, b)
    assert (
        (isinstance(found, int) and found == exact)
        if exact.denominator == 1
        else abs(Fraction(found) - exact) <= abs(exact) * Fraction(1, 10**27)
    )


@pytest.mark.parametrize(
    "found, expected",
    [(add(D("0.1"), D("0.2")), D("0.3")), (add(D("0.5"), D("0.5")), 1), (subtract(1, D("0.9")), D("0.1")), (multiply(D("1.1"), D("1.1")), D("1.21")),
     (add(D("1e50"), D("1e-50")), D("1" + "0" * 50 + "." + "0" * 49 + "1")), (divide(84, 12), 7), (divide(7, 8), D("0.875")),
     (divide(10**40, 10**39), 10), (divide(1, 3), D("0." + "3" * 28)), (divide(10**40, 3), D("3" * 40 + "." + "3" * 28)), (remainder(-7, 3), 2),
     (remainder(7, -3), -2), (remainder(D("5.5"), 2), D("1.5")), (remainder(6, D("1.5")), 0), (power(2, 10), 1024), (power(D("1.05"), 3), D("1.157625")),
     (power(2, -2), D("0.25")), (power(4, D("0.5")), 2), (power(-2, 3), -8), (power(0, 0), 1), (power(D("2.5"), 0), 1), (power(D("-1.5"), 2), D("2.25")),
     (power(9, D("1.5")), 27), (power(-2, -1), D("-0.5")), (power(D("2.0"), D("3.0")), 8), (sqrt(1521), 39), (sqrt(D("6.25")), D("2.5")), (sqrt(0), 0),
     (sqrt(10**40), 10**20), (sqrt(2), D("1.414213562373095048801688724")), (sqrt(2 * 10**40), D("141421356237309504880.168872420969807856967187538")), (log(1000), 3), (log(64, 2), 6), (log(243, 3), 5), (log(D("0.01")), -2), (log(2, 4), D("0.5")), (ln(1), 0), (lcm(12, 18), 36),
     (gcd(84, 36), 12), (lcm(0, 5), 0), (gcd(-4, 6), 2), (choose(10, 3), 120), (choose(3, 5), 0), (permute(8, 3), 336), (permute(3, 5), 0), (choose(0, 0), 1)],
)  # fmt: skip
def test_results_written_out(found, expected):
    assert found == expected
    assert isinstance(found, int) == (expected == int(expected)), "whole results are ints"


@pytest.mark.parametrize("value", [D("0.37"), 2, 20, 150, 12345])
def test_roots_and_logarithms_agree_with_floats(value):
    assert float(sqrt(value)) == pytest.approx(math.sqrt(value), rel=1e-14)
    assert float(ln(value)) == pytest.approx(math.log(value), rel=1e-14)
    assert float(log(value, 7)) == pytest.approx(math.log(value, 7), rel=1e-14)
    assert float(power(value, D("1.7"))) == pytest.approx(float(value) ** 1.7, rel=1e-14)


def test_whole_logarithms_and_roots_are_whole():
    for base in range(2, 40):
        for exponent in (1, 2, 3, 7, 13):
            assert log(base**exponent, base) == exponent and isinstance(log(base**exponent, base), int)
        assert power(base**2, D("0.5")) == base and isinstance(power(base**2, D("0.5")), int)


@pytest.mark.parametrize(
    "call, says",
    [(lambda: divide(1, 0), "by zero"), (lambda: divide(1, D("0.0")), "by zero"), (lambda: remainder(1, 0), "by zero"), (lambda: sqrt(-1), "square root"),
     (lambda: ln(0), "no logarithm"), (lambda: log(-1), "no logarithm"), (lambda: log(5, 1), "no base"), (lambda: log(5, -2), "no base"),
     (lambda: power(0, -1), "by zero"), (lambda: power(-2, D("0.5")), "no real"), (lambda: choose(-1, 1), "0 or more"), (lambda: permute(3, -1), "0 or more")],
)  # fmt: skip
def test_what_has_no_result_says_why(call, says):
    with pytest.raises(ValueError, match=says) as caught:
        call()
    assert not isinstance(caught.value, LimitError)


@pytest.mark.parametrize(
    "call",
    [lambda: power(10, 201), lambda: power(2, -201), lambda: power(10**50, 100), lambda: power(D("1e50"), 100), lambda: choose(1001, 5),
     lambda: permute(10**50, 2), lambda: power(D("1.5"), D("1e50")), lambda: add(D("1e9000"), D("1e-9000"))],
)  # fmt: skip
def test_what_is_too_large_is_refused_before_it_is_computed(call):
    with pytest.raises(LimitError):
        call()


def test_a_power_is_measured_by_its_digits():
    assert power(123456, 170) == 123456**170, "866 digits"
    assert Fraction(power(D("9.99"), 150)) == Fraction("9.99") ** 150
    assert power(-99999, 200, limits=Limits(result_length=1000)) == 99999**200, "1,000 digits"
    assert power(0, 200) == 0 and power(-1, 199) == -1
    with pytest.raises(LimitError, match="more than 999 digits"):
        power(10**5, 200, limits=Limits(result_length=999))


def test_digits_in_front_of_the_point_are_right_in_every_power():
    assert int(power(12345, D("10.5"))) == math.isqrt(12345**21)
    assert int(power(D("12345.5"), D("10.5"))) == math.isqrt(24691**21 // 2**21)
    with pytest.raises(LimitError):
        power(D("1e50"), D("150.5"))


def test_the_limits_of_a_call_hold():
    assert power(2, 300, limits=Limits(exponent=300)) == 2**300
    assert choose(2000, 1, limits=Limits(factorial=2000)) == 2000
    with pytest.raises(LimitError):
        permute(20, 3, limits=Limits(factorial=19))


def test_digits_within_a_power_are_not_lost():
    assert Fraction(power(D("1.2345"), 7)) == Fraction("1.2345") ** 7
    assert Fraction(power(D("1.000000000000001"), 60)) == Fraction("1.000000000000001") ** 60
