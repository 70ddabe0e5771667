"""Questions: a question with its SQL, and the tables on which questions of each class can be asked."""

from dataclasses import dataclass
from functools import lru_cache

from pydisp.holobench.contexts.conditions import without_nulls
from pydisp.holobench.database.tables import Column, Database, Table

MOST_ROWS = 8  # rows of an answer: more would ask for patience, not for reading


JOINS = ("join", "join_aggregate")


@dataclass(frozen=True)
class Topic:
    """The tables that the questions of a context may touch.

    Args:
        table: whose rows are asked about. parent: the table that it refers to, for joins; or None. reference: the column that refers.
    """

    table: str
    parent: str | None = None
    reference: str | None = None

    @property
    def tables(self) -> tuple[str, ...]:
        return (self.table,) if self.parent is None else (self.table, self.parent)


@dataclass(frozen=True)
class Question:
    """A question with its SQL.

    Args:
        sources: of each column of the answer its (table, column), from which near misses are drawn; None for a number that is computed.
        tables: those that the SQL touches.
        summed: the (table, column) whose values a computed number adds up. averaged: how many values an average is of; 1 for a sum.
    """

    text: str
    sql: str
    kind: str
    sources: tuple[tuple[str, str] | None, ...]
    tables: tuple[str, ...]
    summed: tuple[str, str] | None = None
    averaged: int = 1


def name_of(table: Table) -> Column | None:
    """The column by which an answer names a row: its label, if no two rows share one, else its key."""
    for role in ("label", "key"):
        for column in without_nulls(table, role):
            values = list(table.values(column.name))
            if len(set(values)) == len(values):
                return column
    return None


def tables_for(kind: str, topic: Topic, database: Database) -> list[str]:
    """The tables of a topic whose rows a question of a class can be about; none if the topic does not suit the class."""
    if kind in JOINS:
        return [topic.table] if topic in topics(database, kind) else []
    return [name for name in topic.tables if Topic(name) in topics(database, kind)]


@lru_cache(maxsize=256)  # it reads every row
def topics(database: Database, kind: str) -> tuple[Topic, ...]:
    """Every topic on which a class of questions can be asked, by the roles of the columns."""
    found = []
    for table in database.tables:
        if not table.rows or name_of(table) is None:
            continue
        single = Topic(table.name)
        if kind not in JOINS:
            found += [single] if _suits(kind, table) else []
            continue
        for reference in table.references:
            parent = database.table(reference.table)
            can_be_asked = parent.name != table.name and parent.rows and without_nulls(parent, "category", "year", "measure", "date")
            if can_be_asked and (kind == "join" or without_nulls(table, "measure") or without_nulls(parent, "category")):
                found.append(Topic(table.name, parent.name, reference.column))
    return tuple(found)


def _suits(kind: str, table: Table) -> bool:
    has_category, has_measure = bool(without_nulls(table, "category")), bool(without_nulls(table, "measure"))
    if kind in ("filter", "count"):
        return has_category or has_measure
    return has_category if kind == "group" else has_measure
