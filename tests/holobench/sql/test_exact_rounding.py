"""Exact rounding: half-up of the number that people see, whatever the float beneath it is."""

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisp.holobench.sql.exact_rounding import half_up


@given(st.integers(-(10**12), 10**12), st.integers(0, 6))
def test_decimals_that_are_floats_round_as_decimals(number, digits):
    exact = Decimal(number).scaleb(-digits - 1)
    assert half_up(float(exact), digits) == exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)


@pytest.mark.parametrize(
    ("value", "digits", "rounded"),
    [
        (2.675, 2, "2.68"),
        (1.005, 2, "1.01"),
        (-1.005, 2, "-1.01"),
        (12.334999999999999, 2, "12.34"),  # a sum of floats that is 12.335
        (12.33499, 2, "12.33"),
        (0.5, 0, "1"),
        (1250.0, -2, "1300"),
        (1e300, 2, "1e300"),
        (5e-324, 2, "0"),
    ],
)
def test_halves_go_away_from_zero(value, digits, rounded):
    assert half_up(value, digits) == Decimal(rounded)
