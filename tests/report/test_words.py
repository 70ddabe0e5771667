"""Numbers in words."""

import pytest

from pydisp.report import Metric
from pydisp.report.words import counted, number, value_text


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


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (5.3, 1, "5.3"),
        (0.0, 1, "0.0"),
        (-0.04, 1, "0.0"),
        (0, 0, "0"),
        (22.4, 0, "22"),
        (1234.5, 2, "1,234.50"),
        (3, 1, "3.0"),
        (1e-9, 3, "0.000"),
    ],
)
def test_numbers_show_so_many_decimals(value, decimals, text):
    assert number(value, decimals) == text


def test_the_decimals_of_a_metric_are_those_of_its_error_and_interval():
    assert value_text(Metric("a", 5.25, standard_error=0.42, interval=(4, 6.06), decimals=1)) == "5.2 ± 0.4 [4.0, 6.1]"
    assert value_text(Metric("a", 5.25, standard_error=0.042, decimals=1)) == "5.2 ± 0.04200"  # an error is never 0 where it is none
    assert value_text(Metric("a", 5.25, interval=(4, 6.06))) == "5.250 [4, 6.060]"
