"""Numbers in words."""

import pytest

from pydisp.report.words import counted, number


@pytest.mark.parametrize(("count", "words"), [(0, "0 threads"), (1, "1 thread"), (1024, "1,024 threads")])
def test_counted(count, words):
    assert counted(count, "thread") == words


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0, "0"), (1234567, "1,234,567"), (24.0841, "24.08"), (0.00012, "0.0001200"), (1e-9, "1.000e-09"), (-846.26, "-846.3"),
     (2.5e20, "2.500e+20"), (99999.6, "100,000")],
)  # fmt: skip
def test_numbers_show_four_digits(value, text):
    assert number(value) == text
