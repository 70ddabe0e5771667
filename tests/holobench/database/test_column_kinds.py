"""Column kinds: found from the values, exactly, or refused with a reason."""

import random
from decimal import Decimal

import pytest

from pydisp.holobench.database.column_kinds import Unusable, typed


@pytest.mark.parametrize(
    ("values", "kind", "decimals", "converted"),
    [
        ([1, None, -3], "integer", 0, [1, None, -3]),
        ([2.0, 10.0], "integer", 0, [2, 10]),
        ([0.1, 2, None, -0.25], "decimal", 2, [Decimal("0.10"), Decimal("2.00"), None, Decimal("-0.25")]),
        ([100.0, 1e-6], "decimal", 6, [Decimal("100.000000"), Decimal("0.000001")]),
        ([2**63 - 1, -(2**63)], "integer", 0, [2**63 - 1, -(2**63)]),
        (
            ["2020-02-29", None, "2021-01-01 00:00:00", "2021-01-02T00:00:00.000"],
            "date",
            0,
            ["2020-02-29", None, "2021-01-01", "2021-01-02"],
        ),
        (["2021-02-29"], "text", 0, ["2021-02-29"]),
        (["2021-01-01 10:00:00"], "text", 0, ["2021-01-01 10:00:00"]),
        (["2021-01-01", ""], "text", 0, ["2021-01-01", ""]),
        (["٢٠٢١-٠١-٠١"], "text", 0, ["٢٠٢١-٠١-٠١"]),
        (["12", "1.5"], "text", 0, ["12", "1.5"]),
    ],
)
def test_kinds(values, kind, decimals, converted):
    column, found = typed("x", values)
    assert (column.kind, column.decimals, found) == (kind, decimals, converted)
    assert [str(value) for value in found] == [str(value) for value in converted]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "no values"),
        ([None], "no values"),
        ([1, "1"], "numbers and texts"),
        ([1.5, "x"], "numbers and texts"),
        ([b"x", "x"], "bytes"),
        ([float("-inf")], "not finite"),
        ([0.1234567], "more than 6 digits"),
        ([1e300], "64 bits"),
        ([2.0**63], "64 bits"),
        ([10.0**17, 0.01], "more than 18 digits"),
        (["x" * 1001], "more than 1000 characters"),
    ],
)
def test_what_no_table_has_is_refused(values, reason):
    with pytest.raises(Unusable, match=reason):
        typed("x", values)


def test_decimals_are_what_somebody_wrote():
    seed = random.randrange(10**6)
    print("seed", seed)
    draws = random.Random(seed)
    texts = [f"{draws.randrange(-9999, 9999)}.{draws.randrange(1000):03d}" for _ in range(200)] + ["0.001"]
    column, found = typed("x", [float(text) for text in texts])
    assert column.decimals == 3
    assert found == [Decimal(text) for text in texts]
