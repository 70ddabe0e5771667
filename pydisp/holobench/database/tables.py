"""Tables: a small relational database in memory, as facts to be written down and asked about.

Column("price", "decimal", decimals=2, role="measure", words="price")
Table("orders", columns, rows, key="order_id", references=(Reference("customer_id", "customers", "customer_id"),))
Database("shop", (customers, orders))

Values: int for "integer", decimal.Decimal with exactly `decimals` digits for "decimal", str for "text", an ISO str such as "2021-03-05" for
"date", and None for NULL in any column. No floats: sums of integers and decimals are the same on every machine.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

KINDS = ("integer", "decimal", "text", "date")
ROLES = ("key", "reference", "label", "category", "measure", "year", "date", "other")

Value = int | Decimal | str | None


class TableError(ValueError):
    """A database or a row that cannot be used; the message is one sentence."""


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        name: as SQL has it. kind: one of KINDS. decimals: digits after the point of a "decimal".
        role: what can be asked of it. "key": identifies a row; "reference": holds the key of another table's row; "label": a text that names
            a row to people; "category": a text that many rows share; "measure": a number to sum and compare; "year", "date"; "other".
        words: what a question calls it, such as "unit price"; by default the name with spaces for underscores.
    """

    name: str
    kind: str
    decimals: int = 0
    role: str = "other"
    words: str = ""

    def __post_init__(self):
        if self.kind not in KINDS:
            raise TableError(f"column {self.name!r} has the kind {self.kind!r}; it must be one of: {', '.join(KINDS)}.")
        if self.role not in ROLES:
            raise TableError(f"column {self.name!r} has the role {self.role!r}; it must be one of: {', '.join(ROLES)}.")
        if not self.words:
            object.__setattr__(self, "words", self.name.replace("_", " "))

    @property
    def sql_type(self) -> str:
        """Its type in DuckDB and SQLite."""
        return {"integer": "BIGINT", "decimal": f"DECIMAL(18,{self.decimals})", "text": "VARCHAR", "date": "DATE"}[self.kind]


@dataclass(frozen=True)
class Reference:
    """A foreign key of one column: `column` holds `target` of a row of `table`."""

    column: str
    table: str
    target: str


@dataclass(frozen=True, eq=False)
class Table:
    """Rows under typed columns.

    Args:
        rows: tuples of values in the order of the columns. key: the column that identifies a row, if there is one.
        wordings: templates of one sentence, such as "{name} is a customer from {city}."; each names every column once. Empty: plain ones.
        one, many: what a question calls a row and rows, such as "order" and "orders".
    """

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    key: str | None = None
    references: tuple[Reference, ...] = ()
    wordings: tuple[str, ...] = ()
    one: str = ""
    many: str = ""

    def __post_init__(self):
        for field, default in (("one", f"row of {self.name}"), ("many", f"rows of {self.name}")):
            if not getattr(self, field):
                object.__setattr__(self, field, default)

    @cached_property
    def places(self) -> dict[str, int]:
        """The place of each column by its name."""
        return {column.name: place for place, column in enumerate(self.columns)}

    def column(self, name: str) -> Column:
        return self.columns[self.places[name]]

    def values(self, name: str) -> Iterator[Value]:
        place = self.places[name]
        return (row[place] for row in self.rows)

    def with_rows(self, numbers) -> "Table":
        """The same table with some of its rows, by their numbers, in that order."""
        from dataclasses import replace

        return replace(self, rows=tuple(self.rows[number] for number in numbers))

    def row_with(self, column: str, value: Value) -> int | None:
        """The number of the row whose column, which has each value once, has this value."""
        if column not in self._rows:
            self._rows[column] = {other: number for number, other in enumerate(self.values(column))}
        return self._rows[column].get(value)

    @cached_property
    def _rows(self) -> dict[str, dict[Value, int]]:
        return {}


@dataclass(frozen=True, eq=False)
class Database:
    """Tables under one name; names of tables and of columns differ in more than letter case."""

    name: str
    tables: tuple[Table, ...]

    def table(self, name: str) -> Table:
        """Raises: TableError naming the tables there are; SQL's names are the same in other letter case."""
        for table in self.tables:
            if table.name.casefold() == name.casefold():
                return table
        raise TableError(f"{self.name} has no table {name!r}; it has: {', '.join(repr(table.name) for table in self.tables)}.")
