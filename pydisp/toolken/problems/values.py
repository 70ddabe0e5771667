"""Values: the numbers, dates and names that are drawn for a problem, by tool.

Numbers have two to four digits or a decimal point: a small model can copy them and cannot compute with them. `counts` says that they count things, so
that they and the result are whole.
"""

import datetime
from collections.abc import Callable
from decimal import Decimal
from math import gcd

from pydisp.draws import Draws

Values = dict[str, str]  # by the name that a template uses

# The words of a template, and the unit as the tool knows it where it is another word.
_UNIT_PAIRS = (
    ("kilometers", "miles"), ("miles", "kilometers"), ("meters", "feet"), ("feet", "meters"), ("inches", "centimeters"), ("centimeters", "inches"),
    ("yards", "meters"), ("kilograms", "pounds"), ("pounds", "kilograms"), ("ounces", "grams"), ("grams", "ounces"), ("gallons", "liters"),
    ("liters", "gallons"), ("pints", "liters"), ("hours", "minutes"), ("minutes", "hours"), ("days", "hours"), ("weeks", "days"), ("minutes", "seconds"),
    ("degrees Celsius", "degrees Fahrenheit"), ("degrees Fahrenheit", "degrees Celsius"), ("acres", "hectares"), ("hectares", "acres"),
    ("km/h", "mph"), ("mph", "km/h"), ("knots", "km/h"), ("megabytes", "kilobytes"), ("gigabytes", "megabytes"), ("bytes", "bits"),
)  # fmt: skip
_WORDS = (
    "sum",
    "product",
    "divide",
    "multiply",
    "minus",
    "square",
    "root",
    "price",
    "table",
    "number",
    "meter",
    "gram",
    "week",
    "Monday",
    "stock",
)
_NUMBER_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")


def values(tool: str, draws: Draws, *, counts: bool) -> Values:
    """What a template of one tool is filled with, names of people apart; `a` and `b` are its arguments in their order where these are numbers."""
    return _DRAWN[tool](draws, counts)


def arguments(tool: str, drawn: Values) -> str:
    """The arguments of the call."""
    return _ARGUMENTS.get(tool, "{a}, {b}").format(**drawn)


def values_of_two(draws: Draws) -> Values:
    """For templates of two calls: b and c are smaller than a."""
    return {"a": str(draws.between(120, 999)), "b": str(draws.between(12, 99)), "c": str(draws.between(12, 99)), **_dates(draws, False)}


def values_of_plain(draws: Draws) -> Values:
    """For templates without a call, with all that follows from what is drawn."""
    a, b = draws.between(12, 2400), draws.between(12, 2400)
    if a == b:
        b += 1
    c, d, n = draws.between(12, 99), draws.between(3, 12), draws.below(len(_NUMBER_WORDS))
    price, cost = draws.sample([_decimal(draws, 3, 90, 2) for _ in range(2)] + [Decimal(draws.between(100, 240))], 2)
    word, dates = draws.choice(_WORDS), _dates(draws, False)
    day = datetime.date.fromisoformat(dates["date"]).weekday()
    return {
        **{"a": str(a), "b": str(b), "c": str(c), "d": str(d), "n": str(n + 2), "n_as_word": _NUMBER_WORDS[n]},
        **{"larger": str(max(a, b)), "smaller": str(min(a, b)), "total": str(a + b), "product": str(c * d), "square": str(c * c)},
        **{"minutes": str(60 * c), "meters": str(1000 * c)},
        **{"a_is_larger": "Yes" if a > b else "No", "a_is_even": "No" if a % 2 else "Yes", "price": str(price), "cost": str(cost)},
        **{"weekday": _DAYS[day], "next_day": _DAYS[(day + 1) % 7], "month": draws.choice(_MONTHS), "year": dates["date"][:4]},
        **{"word": word, "letter": word[0], "capitals": word.upper(), **dates},
    }


def _decimal(draws: Draws, low: int, high: int, places: int | None = None) -> Decimal:
    """With one or two places, the last of them not 0."""
    places = places or draws.between(1, 2)
    size = 10**places
    number = draws.between(low * size, high * size - 1)
    return Decimal(number + (number % 10 == 0)).scaleb(-places)


def _number(draws: Draws, counts: bool, low: int, high: int) -> Decimal:
    """Whole, or in one of three a decimal where it counts nothing."""
    if counts or draws.below(3):
        return Decimal(draws.between(low, high))
    return _decimal(draws, max(2, low // 8), max(20, high // 8))


def _pair(a, b) -> Values:
    return {"a": str(a), "b": str(b)}


def _add(draws: Draws, counts: bool) -> Values:
    return _pair(_number(draws, counts, 23, 4800), _number(draws, counts, 23, 4800))


def _subtract(draws: Draws, counts: bool) -> Values:
    less = _number(draws, counts, 12, 900)
    return _pair(less + _number(draws, counts, 7, 3000), less)


def _multiply(draws: Draws, counts: bool) -> Values:
    return _pair(_number(draws, counts, 13, 640), draws.between(12, 98))


def _divide(draws: Draws, counts: bool) -> Values:
    b = draws.between(6, 48)
    if counts or draws.below(2):
        return _pair(b * draws.between(12, 160), b)
    return _pair(_number(draws, False, 120, 4000), b)


def _power(draws: Draws, counts: bool) -> Values:
    return _pair(draws.between(6, 60) if counts or draws.below(4) else _decimal(draws, 1, 12, 1), draws.between(2, 4))


def _sqrt(draws: Draws, counts: bool) -> Values:
    return {"a": str(draws.between(13, 140) ** 2 if draws.below(2) else draws.between(40, 9000))}


def _log(draws: Draws, counts: bool) -> Values:
    if counts or draws.below(2):
        base = draws.between(2, 12)
        return _pair(base ** draws.between(3, {2: 12, 3: 8}.get(base, 5)), base)
    return _pair(draws.between(20, 5000), draws.between(2, 20))


def _ln(draws: Draws, counts: bool) -> Values:
    return {"a": str(_number(draws, False, 12, 6000))}


def _shared_factor(draws: Draws, counts: bool) -> Values:
    factor = draws.between(3, 24)
    first = draws.between(3, 40)
    return _pair(factor * first, factor * draws.choice([second for second in range(3, 41) if gcd(first, second) == 1]))


def _multiple(draws: Draws, counts: bool) -> Values:
    factor = draws.between(2, 9)
    first, second = draws.sample(range(3, 16), 2)
    return _pair(factor * first, factor * second)


def _remainder(draws: Draws, counts: bool) -> Values:
    b = draws.between(7, 75)
    return _pair(b * draws.between(4, 60) + draws.between(2, b - 1), b)


def _counted(draws: Draws, counts: bool) -> Values:
    return _pair(draws.between(9, 32), draws.between(3, 5))


def _convert(draws: Draws, counts: bool) -> Values:
    source, target = draws.choice(_UNIT_PAIRS)
    value = _number(draws, source in ("bytes", "days", "weeks"), 14, 960)
    return {"a": str(value), "source": source, "target": target, "from": _unit(source), "to": _unit(target)}


def _unit(words: str) -> str:
    return words.removeprefix("degrees ")


def _dates(draws: Draws, counts: bool) -> Values:
    first = datetime.date(1950, 1, 1) + datetime.timedelta(days=draws.below(365 * 90))
    days = draws.between(11, 720)
    return {"date": str(first), "days": str(days), "until": str(first + datetime.timedelta(days=days))}


def _cell(draws: Draws, counts: bool) -> Values:
    from pydisp.toolken.tools.lookup import tables

    table = draws.choice(sorted(tables()))
    return {"table": table, "row": draws.choice(list(tables()[table]["rows"])), "column": draws.choice(tables()[table]["columns"])}


_DRAWN: dict[str, Callable[[Draws, bool], Values]] = {
    "add": _add, "subtract": _subtract, "multiply": _multiply, "divide": _divide, "power": _power, "sqrt": _sqrt, "log": _log, "ln": _ln,
    "lcm": _multiple, "gcd": _shared_factor, "remainder": _remainder, "choose": _counted, "permute": _counted, "convert": _convert,
    "add_days": _dates, "days_between": _dates, "weekday": _dates, "look_up": _cell,
}  # fmt: skip
_ARGUMENTS = {
    "sqrt": "{a}",
    "ln": "{a}",
    "convert": '{a}, "{from}", "{to}"',
    "add_days": '"{date}", {days}',
    "days_between": '"{date}", "{until}"',
    "weekday": '"{date}"',
    "look_up": '"{table}", "{row}", "{column}"',
}
TOOL_NAMES = tuple(_DRAWN)
