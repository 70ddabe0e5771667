"""Dates: the calendar, and only dates that are written in one way."""

import pytest

from pydisp.toolken.tools.dates import add_days, days_between, weekday


def test_days_are_added_across_months_leap_years_and_backwards():
    assert add_days("2024-02-28", 2) == "2024-03-01"
    assert add_days("2023-02-28", 1) == "2023-03-01"
    assert add_days("2000-01-01", -1) == "1999-12-31"
    assert days_between("2024-01-15", "2024-03-01") == 46
    assert days_between("2024-03-01", "2024-01-15") == -46
    assert [weekday(add_days("2024-01-01", n))[:3] for n in range(8)] == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Mon"]


@pytest.mark.parametrize(
    "text",
    [
        "2023-02-29",
        "2024-13-01",
        "20240101",
        "2024-W01-1",
        "2024-1-1",
        "2024-01-01T00:00",
        "\u0662024-01-01",
        "",
        "2024-01-01\n",
        "0000-01-01",
    ],
)
def test_what_is_no_date_is_refused(text):
    for call in (lambda: weekday(text), lambda: add_days(text, 1), lambda: days_between("2024-01-01", text)):
        with pytest.raises(ValueError, match="is no date"):
            call()


@pytest.mark.parametrize("days", [3_000_000, -1_000_000, 10**30, -(10**12)])
def test_results_outside_the_calendar_are_refused(days):
    with pytest.raises(ValueError, match="outside the years 1 to 9999"):
        add_days("2024-01-01", days)
