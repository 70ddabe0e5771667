"""Phrases: the parts that questions of several classes share, in words and in SQL."""

from collections import Counter
from fractions import Fraction
from typing import NamedTuple

from pydisp.draws import Draws
from pydisp.holobench.contexts.conditions import Conditions, quoted, without_nulls
from pydisp.holobench.contexts.questions import MOST_ROWS
from pydisp.holobench.database.tables import Column, Table


def called(table: Table, name: Column) -> str:
    """What a question calls the column that names a row: "name" where it would be "the customer of each customer"."""
    return "name" if name.words in (table.one, table.many) and name.kind == "text" else name.words


def parent_words(table: Table, parent: Table, reference: str) -> str:
    """What a question calls the row that is referred to: a train; but the home club where a match has a guest too."""
    is_only = sum(one.table == parent.name for one in table.references) == 1
    return parent.one if is_only else table.column(reference).words


def select_sql(table: Table, what: str, condition: Conditions | None = None) -> str:
    """SELECT `what` FROM the table, with the condition if there is one."""
    where = f" WHERE {condition.sql()}" if condition else ""
    return f"SELECT {what} FROM {quoted(table.name)}{where}"


def measure_of(table: Table, draws: Draws) -> Column | None:
    """A number in which the rows differ: what is 1 in most of them is not worth asking for."""
    found = [one for one in without_nulls(table, "measure") if 2 * max(Counter(table.values(one.name)).values()) <= len(table.rows)]
    return draws.choice(found) if found else None


def most_of(table: Table) -> int:
    """How many rows an answer may have: not all of them."""
    return min(MOST_ROWS, len(table.rows) - 1)


def several_of(table: Table) -> int:
    """How many rows are to be counted or summed at least."""
    return 2 if len(table.rows) > 3 else 1


class Total(NamedTuple):
    """A sum or an average: what a question calls it, its SQL, and how many values it is an average of (1: a sum)."""

    words: str
    sql: str
    averaged: int


def total_of(column: Column, values: list, draws: Draws, alias: str = "") -> Total:
    """A sum, or an average if its rounding is beyond doubt."""
    name = f"{alias}.{quoted(column.name)}" if alias else quoted(column.name)
    hundredths = Fraction(sum(values)) * 100 / len(values)
    if draws.below(2) or hundredths % 1 == Fraction(1, 2):
        return Total(total_words(column), f"SUM({name})", 1)
    return Total(f"average {column.words}, rounded to two decimals,", f"CAST(ROUND(AVG({name}), 2) AS DECIMAL(18, 2))", len(values))


def total_words(column: Column) -> str:
    """What a question calls the sum of a column."""
    return f"sum of the {column.words}" if column.words.startswith("total") else f"total {column.words}"


def parent_rows(table: Table, parent: Table, reference: str) -> list[int | None]:
    """Of each row of the table the number of its parent's row that is shown."""
    target = next(one.target for one in table.references if one.column == reference)
    rows = {value: number for number, value in enumerate(parent.values(target))}
    return [rows.get(value) for value in table.values(reference)]


def from_join(table: Table, parent: Table, reference: str) -> str:
    """FROM the table AS a JOIN its parent AS b."""
    target = next(one.target for one in table.references if one.column == reference)
    return f"FROM {quoted(table.name)} AS a JOIN {quoted(parent.name)} AS b ON a.{quoted(reference)} = b.{quoted(target)}"
