"""Dates of the Gregorian calendar as texts: add_days("2024-02-28", 2) is "2024-03-01"."""

import datetime
import re

# date.fromisoformat also takes weeks and dates without hyphens, and `\d` digits of every script
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _date(text: str) -> datetime.date:
    try:
        if _DATE.fullmatch(text):
            return datetime.date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError(f"{text[:40]!r} is no date; give one as year-month-day, such as '2024-02-29'.")


def add_days(date: str, days: int) -> str:
    """The date that many days after another, or before it where the number is negative.

    Raises: ValueError for what is no date, and for a result outside the years 1 to 9999.
    """
    try:
        return (_date(date) + datetime.timedelta(days=days)).isoformat()
    except OverflowError:
        raise ValueError(f"{days} days from {date} lie outside the years 1 to 9999; give fewer days.") from None


def days_between(first: str, second: str) -> int:
    """How many days the second date is after the first; negative where it is before it.

    Raises: ValueError for what is no date.
    """
    return (_date(second) - _date(first)).days


def weekday(date: str) -> str:
    """The day of the week of a date, in English.

    Raises: ValueError for what is no date.
    """
    names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    return names[_date(date).weekday()]
