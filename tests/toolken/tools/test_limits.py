"""Limits that allow nothing, or more than can be kept, are refused."""

import pytest

from pydisp.toolken.tools.limits import Limits


@pytest.mark.parametrize(
    "values",
    [{"digits": 0}, {"digits": 5000}, {"nesting": 51}, {"seconds": 0}, {"seconds": float("inf")}, {"seconds": float("nan")}, {"memory_mib": 1.5},
     {"list_length": True}, {"exponent": "9"}, {"result_length": -1}],
)  # fmt: skip
def test_limits_that_cannot_be_are_refused(values):
    with pytest.raises(ValueError, match=f"the limit {next(iter(values))} is "):
        Limits(**values)


def test_fractions_of_seconds_are_limits():
    assert Limits(seconds=0.25).seconds == 0.25
