"""Drawn columns: how each kind of column of a generated table gets its values.

    Word("city", of="cities").values(Draws(0, "shop", "customers", "city"), Beside(count=50))

A column has a stream of its own and reads it from the first row to the last, so a longer table begins with the rows of a shorter one.
"""

import json
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import lru_cache
from itertools import accumulate, islice
from pathlib import Path

from pydisp.draws import Draws
from pydisp.holobench.database.tables import Column, Value

_TENS = ((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"))
_ROMAN = (*_TENS, (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))
FIRST_NUMBER = 101  # of rows that have numbers: no key looks like a small count


@lru_cache
def _word_lists() -> dict[str, list[str]]:
    text = (Path(__file__).parents[1] / "data" / "words.json").read_text(encoding="utf-8")
    return {name: words.split() for name, words in json.loads(text).items()}


def words_of(name: str) -> list[str]:
    """A closed list of words, such as "cities"."""
    return _word_lists()[name]


class Skew:
    """Places of a list of which the first are common: place k is drawn as often as 1 / (k + offset), in whole numbers."""

    def __init__(self, length: int, offset: int):
        self._totals = list(accumulate(10**12 // (place + offset) for place in range(length)))

    def place(self, draws: Draws, within: int) -> int:
        """One of the first `within` places."""
        return bisect_right(self._totals, draws.below(self._totals[within - 1]))


def share(rows: int, every: int) -> int:
    """The rows of a table that has one for `every` of the largest table's `rows`, begun ones counted."""
    return -(-rows // every)


@dataclass(frozen=True)
class Window:
    """The rows of a parent that a child's row may refer to: those in the smallest database that has this child's row.

    Every larger database has the same ones first, so the reference holds there too.

    Args:
        child, parent: there is one row for so many rows of the largest table. smallest: rows of the largest table in any database.
    """

    child: int
    parent: int
    smallest: int

    def rows(self, number: int) -> int:
        """For the child's row `number`, from 0."""
        return share(max(self.smallest, self.child * number + 1), self.parent)


@dataclass(frozen=True)
class Beside:
    """What a column may look at while it is drawn.

    Args:
        count: rows wanted. columns: the values of the table's columns so far. parents: by the name of a table, its keys and the window on them.
    """

    count: int
    columns: dict[str, list[Value]] = field(default_factory=dict)
    parents: dict[str, tuple[list[Value], Window]] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """A column of a domain.

    Args:
        name: as SQL has it. words: what a question calls it; by default the name with spaces.
    """

    name: str
    words: str = ""

    @property
    def column(self) -> Column:
        raise NotImplementedError

    def values(self, draws: Draws, beside: Beside) -> list[Value]:
        raise NotImplementedError


@dataclass(frozen=True)
class Number(Drawn):
    """The number of the row, its key."""

    @property
    def column(self) -> Column:
        return Column(self.name, "integer", role="key", words=self.words)

    def values(self, draws, beside):
        return list(range(FIRST_NUMBER, FIRST_NUMBER + beside.count))


def roman(number: int) -> str:
    """IV for 4."""
    text = ""
    for value, sign in _ROMAN:
        text += sign * (number // value)
        number %= value
    return text


@dataclass(frozen=True)
class Name(Drawn):
    """Two words that no other row has. When all pairs are taken they come again with II behind them, then with III.

    Args:
        starts, ends: lists of words. is_key: whether rows are known by it; otherwise it is a label.
    """

    starts: str = ""
    ends: str = ""
    is_key: bool = True

    @property
    def column(self) -> Column:
        return Column(self.name, "text", role="key" if self.is_key else "label", words=self.words)

    def values(self, draws, beside):
        return list(islice(self._unique(draws), beside.count))

    def _unique(self, draws):
        pairs = [f"{start} {end}" for start in words_of(self.starts) for end in words_of(self.ends) if start != end]
        turn = 1
        while True:
            suffix = "" if turn == 1 else f" {roman(turn)}"
            yield from (pair + suffix for pair in draws.child(turn).shuffled(pairs))
            turn += 1


@dataclass(frozen=True)
class Word(Drawn):
    """A word of a closed list; the seed says which ones are common."""

    of: str = ""

    @property
    def column(self) -> Column:
        return Column(self.name, "text", role="category", words=self.words)

    def values(self, draws, beside):
        order = draws.child("order").shuffled(words_of(self.of))
        skew = Skew(len(order), offset=2)
        return [order[skew.place(draws, len(order))] for _ in range(beside.count)]


@dataclass(frozen=True)
class Refers(Drawn):
    """The key of a row of another table; the first rows are the common ones.

    Args:
        table: whose key. kind: the key's. besides: an earlier column of the row that must hold another key.
    """

    table: str = ""
    kind: str = "text"
    besides: str = ""

    @property
    def column(self) -> Column:
        return Column(self.name, self.kind, role="reference", words=self.words)

    def values(self, draws, beside):
        keys, window = beside.parents[self.table]
        skew = Skew(len(keys), offset=1)
        others = beside.columns[self.besides] if self.besides else [None] * beside.count
        values = []
        for number, other in enumerate(others):
            within = window.rows(number)
            while (key := keys[skew.place(draws, within)]) == other:
                pass
            values.append(key)
        return values


def _measure(draws: Draws, low: int, high: int) -> int:
    """Mostly around a third of the range, sometimes anywhere in it."""
    span = high - low + 1
    if draws.below(4) == 0:
        return low + draws.below(span)
    third = span // 3 + 1
    return low + draws.below(third) + draws.below(third)


@dataclass(frozen=True)
class Whole(Drawn):
    """A whole number to sum and compare."""

    low: int = 0
    high: int = 0

    @property
    def column(self) -> Column:
        return Column(self.name, "integer", role="measure", words=self.words)

    def values(self, draws, beside):
        return [_measure(draws, self.low, self.high) for _ in range(beside.count)]


@dataclass(frozen=True)
class Cents(Drawn):
    """A number with two digits after the point to sum and compare; the range is in hundredths."""

    low: int = 0
    high: int = 0

    @property
    def column(self) -> Column:
        return Column(self.name, "decimal", decimals=2, role="measure", words=self.words)

    def values(self, draws, beside):
        return [Decimal(_measure(draws, self.low, self.high)).scaleb(-2) for _ in range(beside.count)]


@dataclass(frozen=True)
class Year(Drawn):
    """A year, each as likely."""

    low: int = 0
    high: int = 0

    @property
    def column(self) -> Column:
        return Column(self.name, "integer", role="year", words=self.words)

    def values(self, draws, beside):
        return [draws.between(self.low, self.high) for _ in range(beside.count)]


@dataclass(frozen=True)
class Day(Drawn):
    """A date from the first to the last year, each as likely."""

    low: int = 0
    high: int = 0

    @property
    def column(self) -> Column:
        return Column(self.name, "date", role="date", words=self.words)

    def values(self, draws, beside):
        first, last = date(self.low, 1, 1).toordinal(), date(self.high, 12, 31).toordinal()
        return [date.fromordinal(draws.between(first, last)).isoformat() for _ in range(beside.count)]
