"""Gold answers: what SQL answers on exactly the rows that were written, by DuckDB in memory.

    with Session(tables) as session:
        session.answer("SELECT city, count(*) FROM customers GROUP BY city")   # Gold
    tables_of("SELECT …", database)

An answer is refused if it could be another one for the same rows: if rows tie where ORDER BY and LIMIT choose, if it changes with the
order in which the rows were put in, or if a number lies between two rounded ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydisp.draws import Draws
from pydisp.holobench.database.tables import Table
from pydisp.holobench.items import Gold
from pydisp.holobench.sql.answer_columns import columns_of
from pydisp.holobench.sql.answer_values import as_gold
from pydisp.holobench.sql.locked_database import GoldError, TooSlow, UnfitRows, connect, fill, quoted, reading
from pydisp.holobench.sql.near_averages import nudged
from pydisp.holobench.sql.sql_guard import Question, read, tables_of
from pydisp.holobench.sql.sql_tree import modifier, nodes, same_case
from pydisp.holobench.sql.total_order import check_inner_limits, ranked

__all__ = ["GoldError", "Limits", "Session", "TooSlow", "UnfitRows", "tables_of"]

_OTHER_ORDERS = ("reversed", "shuffled")


@dataclass(frozen=True)
class Limits:
    """What one answer may take: seconds in all, MiB of memory, rows."""

    seconds: float = 5
    memory_mib: int = 256
    rows: int = 10_000


class Session:
    """One set of rows that can be asked; a context manager. About 20 ms for 2,000 rows.

    Raises: GoldError if two tables have one name, or a value is not what its column says.
    """

    def __init__(self, tables: Sequence[Table], limits: Limits = Limits()):  # noqa: B008  frozen
        self.tables, self.limits = tuple(tables), limits
        _check_names("tables", [table.name for table in self.tables])
        for table in self.tables:
            _check_names(f"columns of table {table.name!r}", [column.name for column in table.columns])
        self._connection = connect(limits.memory_mib)
        self._has_other_orders = False
        try:
            for table in self.tables:
                fill(self._connection, table)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def answer(self, sql: str) -> Gold:
        """What the statement answers; the same on every machine, whatever order the rows were given in.

        Raises: GoldError if the statement is not allowed or fails; UnfitRows, one kind of it, if it is these rows that give no gold answer.
        """
        question = read(sql, self.tables)
        has_limit = any("modifiers" in node and modifier(node, "LIMIT") for node in nodes(question.tree))
        if has_limit:
            self._fill_other_orders()
        with reading(self._connection, self.limits.seconds) as rows_of:
            check_inner_limits(question, rows_of)
            gold = self._gold(question, rows_of)
            self._check_averages(question, rows_of)
            if has_limit:
                self._check_other_orders(question, rows_of)
        return gold

    def _gold(self, question: Question, rows_of) -> Gold:
        names, types, rows = rows_of(question.sql, self.limits.rows)
        columns = columns_of(question, names, self.tables)
        asked = ranked(question, rows_of, self.limits.rows)
        if asked is None:
            return as_gold(columns, types, rows, [0] * len(rows))
        ranks, ordered = asked
        if sorted(map(repr, rows)) != sorted(repr(row.values) for row in ordered):
            raise GoldError("the SQL gives other rows when it is asked again with its ORDER BY keys; write it more simply.")
        return as_gold(columns, types, [row.exact for row in ordered], ranks)

    def _check_averages(self, question: Question, rows_of) -> None:
        statements = nudged(question.tree)
        if statements:
            found = {tuple(sorted(map(_rough, rows_of(sql, self.limits.rows)[2]))) for sql in (question.sql, *statements)}
            if len(found) > 1:
                raise UnfitRows("the answer hangs on the last digits of an average, which a row equals; compare with a rounded average.")

    def _check_other_orders(self, question: Question, rows_of) -> None:
        """A second look at statements with a LIMIT, which does not trust what is known about them."""
        found = []
        for schema in ("main", *_OTHER_ORDERS):
            try:
                self._connection.execute(f"USE {schema}")
                rows = [_plain(row) for row in rows_of(question.sql, self.limits.rows)[2]]
            finally:
                self._connection.execute("USE main")
            is_ordered = modifier(question.tree, "ORDER") and modifier(question.tree, "LIMIT")
            found.append(rows if is_ordered else sorted(rows))
        if found[1:] != [found[0]] * len(_OTHER_ORDERS):
            raise UnfitRows("the answer depends on the order in which the rows were put in; order by more columns.")

    def _fill_other_orders(self) -> None:
        """The same tables twice more, with their rows in other orders."""
        if self._has_other_orders:
            return
        for schema in _OTHER_ORDERS:
            self._connection.execute(f"CREATE SCHEMA {quoted(schema)}")
        for table in self.tables:
            numbers = range(len(table.rows))
            fill(self._connection, table.with_rows(reversed(numbers)), "reversed")
            fill(self._connection, table.with_rows(Draws(0, "order of rows", table.name).shuffled(numbers)), "shuffled")
        self._has_other_orders = True


def _plain(row: tuple) -> tuple[str, ...]:
    """The row as texts; sums of floating-point numbers differ in their last digits with the order of rows."""
    return tuple(f"{value:.9g}" if isinstance(value, float) else repr(value) for value in row)


def _rough(row: tuple) -> tuple[str, ...]:
    """The row as texts, without the digits that a nudge of an average may change."""
    return tuple(f"{value:.6g}" if isinstance(value, float) else repr(value) for value in row)


def _check_names(what: str, names: list[str]) -> None:
    seen = set()
    for name in names:
        if same_case(name) in seen:
            raise GoldError(f"two {what} have the name {name!r}, letter case aside; rename one.")
        seen.add(same_case(name))
