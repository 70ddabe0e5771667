"""Random small tables for tests of gold answers, and what SQLite answers on the same rows."""

import sqlite3
from decimal import Decimal
from fractions import Fraction

from hypothesis import strategies as st

from pydisp.holobench.database.tables import Column, Table

NAMES = (
    "order",
    "Select",
    "group by",
    "Größe",
    "名前",
    "a.b",
    "it's",
    'say "x"',
    "TABLE",
    "_1",
    "價 格",
    "Mixed Case",
    "user",
    "rowid",
    "id",
)
_TEXTS = ("Rome", "oslo", "Ünna", "O'Brien", 'the "x"', "a,b", "北京", "x%y", "tab\there", "Rome ", "null", "é")

keys = st.integers(-3, 12)
_values = {
    "integer": st.integers(-(10**6), 10**6),
    "decimal": st.integers(-(10**6), 10**6).map(lambda cents: Decimal(cents).scaleb(-2)),
    "text": st.sampled_from(_TEXTS),
    "date": st.dates().map(str),
}


def column(name: str, kind: str, role: str = "other") -> Column:
    return Column(name, kind, decimals=2 if kind == "decimal" else 0, role=role)


@st.composite
def pairs(draw) -> tuple[Table, Table]:
    """Two tables: `first` has a unique key, a number, a text that repeats and a date; `second` a column of keys and a number."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=8, max_size=8, unique_by=str.lower))
    number = draw(st.sampled_from(("integer", "decimal")))
    kinds = ("integer", number, "text", "date")
    rows = draw(st.lists(st.tuples(*(_values[kind] for kind in kinds[1:])), max_size=12))
    hole = draw(st.integers(0, 30))  # one value is missing now and then
    rows = [(key, None if key == hole else row[0], *row[1:]) for key, row in enumerate(rows)]
    first = Table(names[0], tuple(map(column, names[1:5], kinds)), tuple(rows), key=names[1])
    links = draw(st.lists(st.tuples(keys, _values["integer"]), max_size=12))
    second = Table(names[5], tuple(map(column, names[6:8], ("integer", "integer"))), tuple(links))
    return first, second


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def sqlite(tables, sql: str) -> list[tuple]:
    """SQLite's rows; decimals are kept as whole cents there, so that nothing is rounded."""
    with sqlite3.connect(":memory:") as connection:
        for table in tables:
            columns = ", ".join(quoted(one.name) for one in table.columns)
            connection.execute(f"CREATE TABLE {quoted(table.name)} ({columns})")
            marks = ", ".join("?" * len(table.columns))
            rows = [tuple(int(value * 100) if isinstance(value, Decimal) else value for value in row) for row in table.rows]
            connection.executemany(f"INSERT INTO {quoted(table.name)} VALUES ({marks})", rows)
        return connection.execute(sql).fetchall()


def half_up(value: Fraction, digits: int) -> float:
    """The fraction rounded away from zero at a half."""
    scaled = abs(value) * 10**digits
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return float(Fraction(whole, 10**digits)) * (1 if value > 0 else -1) + 0.0
