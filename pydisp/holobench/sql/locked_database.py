"""A DuckDB in memory that reaches nothing outside itself: no files, no network, no extensions, no variables of Python, no other settings.

    connection = connect(memory_mib=256)
    fill(connection, table)
    with reading(connection, seconds=5) as rows_of:
        columns, types, rows = rows_of("SELECT count(*) FROM orders", 100)

DuckDB's own advice is to treat SQL like a program, so this is one of two walls; `sql_guard` is the other.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pydisp.distribution import install_command
from pydisp.holobench.database.tables import Column, Table, Value

_SETTINGS = {
    "threads": 1,  # sums of floating-point numbers would depend on which thread adds what
    "temp_directory": "",  # nothing is spilled to disk
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
}
# In notebooks DuckDB would draw a progress bar.
_LOCK = "SET enable_progress_bar = false; SET enable_external_access = false; SET lock_configuration = true;"
_MOST_COLUMNS = 50
_LONGEST_MESSAGE = 200  # characters
_MOST_TEXT = 10_000_000  # characters
_INCOMING = "\ue000rows"  # a private character: no table of a user has this name


class GoldError(ValueError):
    """SQL that cannot be a question's, or an answer that cannot be gold; the message is one sentence."""


class StatementFailed(GoldError):
    """DuckDB cannot run it."""


class UnfitRows(GoldError):
    """These rows give no gold answer; others may."""


class TooSlow(UnfitRows):
    """The time is up; on other rows it would be too."""


def connect(memory_mib: int):
    """A locked DuckDB of its own; about 12 ms. Raises: GoldError if DuckDB is not installed."""
    try:
        import duckdb
        import pyarrow  # noqa: F401  tables are handed over through it
    except ImportError as error:
        raise GoldError(f"gold answers need {error.name}, which is not installed; {install_command('holobench')}.") from None
    with as_keyboard_interrupt():
        connection = duckdb.connect(":memory:", config={"memory_limit": f"{memory_mib}MiB", **_SETTINGS})
        connection.execute(_LOCK)
    return connection


@contextmanager
def as_keyboard_interrupt() -> Iterator[None]:
    """DuckDB swallows a Ctrl-C and raises a RuntimeError of its own; this raises the right one."""
    try:
        yield
    except RuntimeError as error:
        if "interrupted" in str(error):
            raise KeyboardInterrupt from None
        raise


def quoted(name: str) -> str:
    """The name as SQL writes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def as_sentence(error: Exception | str) -> str:
    """The first sentence of what DuckDB says, without a full stop."""
    text = str(error).strip().split("\n")[0]
    text = re.sub(r"^[A-Z][A-Za-z ]+ Error: ", "", text).split(". ")[0].rstrip(" .!")
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "…"


def fill(connection, table: Table, schema: str = "main") -> None:
    """Creates the table with its rows; about 1 ms for some hundred rows.

    Raises: GoldError if a value is not what its column says, naming table and column, or if a row has not one value for each column.
    """
    import duckdb
    import pyarrow

    if not table.columns or any(len(row) != len(table.columns) for row in table.rows):
        raise GoldError(
            f"table {table.name!r} has no columns, or a row with another number of values; each row must have one for each column."
        )
    columns = zip(*table.rows, strict=True) if table.rows else [()] * len(table.columns)
    arrays = [_array(table, column, values) for column, values in zip(table.columns, columns, strict=True)]
    connection.register(_INCOMING, pyarrow.table(arrays, names=[column.name for column in table.columns]))
    try:
        with as_keyboard_interrupt():
            connection.execute(f"CREATE TABLE {quoted(schema)}.{quoted(table.name)} AS SELECT * FROM {quoted(_INCOMING)}")
    except duckdb.Error as error:
        raise GoldError(f"table {table.name!r} does not go into DuckDB: {as_sentence(error)}.") from None
    finally:
        connection.unregister(_INCOMING)


def _array(table: Table, column: Column, values: tuple[Value, ...]):
    """One column as Arrow has it: int64, decimal128(18, decimals), string or date32."""
    import pyarrow

    types = {"integer": pyarrow.int64(), "text": pyarrow.string(), "date": pyarrow.string()}
    kind = pyarrow.decimal128(18, column.decimals) if column.kind == "decimal" else types[column.kind]
    try:
        array = pyarrow.array(values, kind)
        return array.cast(pyarrow.date32()) if column.kind == "date" else array
    except (pyarrow.ArrowException, ValueError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise GoldError(f"column {column.name!r} of table {table.name!r} has a value that is no {column.kind}: {reason}.") from None


class _Stopper(threading.Thread):
    """Interrupts what a connection runs once the time is over, again and again: one call can fall between two statements and do nothing."""

    def __init__(self, connection, seconds: float):
        super().__init__(daemon=True)
        self.connection, self.seconds = connection, seconds
        self.over = threading.Event()
        self.is_late = False

    def run(self) -> None:
        if not self.over.wait(self.seconds):
            self.is_late = True
            while not self.over.wait(0.02):
                self.connection.interrupt()


@contextmanager
def reading(connection, seconds: float) -> Iterator[Callable[[str, int], tuple]]:
    """Gives a function (sql, most rows) -> (names, DuckDB's types, rows), in one transaction that can only read, within one time limit.

    It raises StatementFailed, or UnfitRows if that takes too much of anything.
    """
    import duckdb

    stopper = _Stopper(connection, seconds)

    def rows_of(sql: str, most: int) -> tuple[tuple[str, ...], tuple[str, ...], list[tuple]]:
        try:
            if stopper.is_late:
                raise duckdb.InterruptException
            result = connection.execute(sql)
            if len(result.description) > _MOST_COLUMNS:
                raise StatementFailed(f"the SQL has {len(result.description)} columns; a question needs at most {_MOST_COLUMNS}.")
            names, types = zip(*((column[0], str(column[1])) for column in result.description), strict=True)
            return names, types, _fetched(result, most)
        except RuntimeError as error:
            if "interrupted" in str(error):  # DuckDB has swallowed the Ctrl-C
                raise KeyboardInterrupt from None
            raise
        except duckdb.Error as error:
            if stopper.is_late or isinstance(error, duckdb.InterruptException):
                raise TooSlow(f"the SQL takes longer than {seconds:g} seconds; make it simpler or raise the limit.") from None
            if isinstance(error, duckdb.OutOfMemoryException):
                raise UnfitRows("the SQL needs more memory than it may have; make it simpler or raise the limit.") from None
            raise StatementFailed(f"DuckDB refuses the SQL: {as_sentence(error)}.") from None

    connection.execute("BEGIN TRANSACTION READ ONLY")
    stopper.start()
    try:
        yield rows_of
    finally:
        stopper.over.set()
        stopper.join()
        _end(connection)


def _fetched(result, most: int) -> list[tuple]:
    """All rows, one by one: Python copies every text, so what is huge must not be fetched at once."""
    rows, characters = [], 0
    while row := result.fetchone():
        rows.append(row)
        characters += sum(len(value) for value in row if isinstance(value, str))
        if len(rows) > most:
            raise UnfitRows(f"the SQL has more than {most:,} rows; a question needs an answer of few rows.")
        if characters > _MOST_TEXT:
            raise UnfitRows(f"the SQL has more than {_MOST_TEXT:,} characters of text in its rows; a question needs a short answer.")
    return rows


def _end(connection) -> None:
    import duckdb

    with suppress(duckdb.Error):  # a fatal error has ended the transaction
        connection.execute("ROLLBACK")
