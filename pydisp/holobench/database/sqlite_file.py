"""SQLite files: their tables as typed rows, and a sentence on each thing that was left out.

    database, notes = read_sqlite("wine.sqlite")

The file is only read: never written, not even its journal, and nothing in it runs, because only plain SELECTs on its stored tables are allowed.
"""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pydisp.holobench.database.column_kinds import MAX_CHARACTERS, Unusable, typed
from pydisp.holobench.database.column_roles import Declared, Draft, tables_of
from pydisp.holobench.database.tables import Column, Database, Reference, TableError, Value

MAX_BYTES = 256 * 2**20
MAX_CELLS = 3_000_000  # half a minute until all rows are sentences, and half a GB of memory
_HEADER = b"SQLite format 3\0"
_PRAGMAS = {"table_xinfo", "foreign_key_list"}


def read_sqlite(path: str | os.PathLike, *, max_cells: int = MAX_CELLS) -> tuple[Database, list[str]]:
    """The tables of a SQLite file.

    Args:
        path: a file of at most 256 MiB. max_cells: rows times columns, of all tables together.
    Returns: the database, named as the file, and sentences on what was left out or concluded.
    Raises: TableError if there is no such file, it is no SQLite database, it is too large, or no table of it can be used.
    """
    path = Path(path)
    size = _checked_size(path)
    try:
        with closing(_opened(path, size)) as connection:
            drafts, notes = _drafts(connection, path, max_cells)
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter from sqlite3 itself, for a schema that is not Unicode
        raise TableError(f"{path} cannot be read as a SQLite database ({' '.join(str(error).split())}); give one that is whole.") from None
    if not drafts:
        raise TableError(f"{path} has no table with rows that can be used; give a database with facts in it.")
    tables, more = tables_of(drafts)
    return Database(path.stem, tables), notes + more


def _checked_size(path: Path) -> int:
    try:
        # Not blocking, because opening a pipe would wait for somebody to write into it.
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as stream:
            status = os.fstat(stream.fileno())
            header = stream.read(len(_HEADER)) if stat.S_ISREG(status.st_mode) else b""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TableError(f"{path} cannot be read ({reason}); give a SQLite file.") from None
    if header != _HEADER:
        raise TableError(f"{path} is no SQLite file; give a SQLite 3 database.")
    if status.st_size > MAX_BYTES:
        raise TableError(f"{path} has {status.st_size} bytes and at most {MAX_BYTES} are read; make a smaller one of the rows that matter.")
    file = path.resolve()  # a link has no journal of its own
    for ending in ("-wal", "-journal"):
        journal = file.with_name(file.name + ending)
        if journal.exists() and journal.stat().st_size:
            raise TableError(
                f"{path} has changes in {journal.name} that are not in it yet; close whatever writes it, or use `VACUUM INTO`."
            )
    return status.st_size


def _opened(path: Path, size: int) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, size)  # a damaged file may claim a longer row
    connection.text_factory = _decoded
    connection.set_authorizer(_allowed)
    return connection


def _decoded(raw: bytes) -> str | bytes:
    """Text; the bytes if they are none."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _allowed(action: int, first: str | None, *_) -> int:
    """SELECT, columns and two PRAGMAs on the schema; no function, so that no expression stored in the file runs."""
    allowed = action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ) or (action == sqlite3.SQLITE_PRAGMA and first in _PRAGMAS)
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _in_quotes(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _is_nameable(name) -> bool:
    return isinstance(name, str) and name.strip("_ ") != "" and name.isprintable()


def _drafts(connection: sqlite3.Connection, path: Path, max_cells: int) -> tuple[list[Draft], list[str]]:
    drafts, notes, names = [], [], {}
    for name, page in connection.execute("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'").fetchall():
        if isinstance(name, str) and name.casefold().startswith("sqlite_"):
            continue
        if not _is_nameable(name):
            notes.append(f"the table {name!r} is left out: its name cannot be written.")
        elif not page:
            notes.append(f"{name} is left out: it is a virtual table.")
        elif other := names.get(name.casefold()):
            raise TableError(f"{path} has the tables {other} and {name}, which DuckDB cannot tell apart; rename one.")
        else:
            names[name.casefold()] = name
            draft, cells = _draft(connection, name, notes, max_cells)
            if (max_cells := max_cells - cells) < 0:
                raise TableError(f"{path} has too many values in its tables; make a smaller one of the rows that matter.")
            drafts += [draft] if draft else []
    return drafts, notes


def _draft(connection: sqlite3.Connection, table: str, notes: list[str], max_cells: int) -> tuple[Draft | None, int]:
    """The table, or None if nothing of it can be used, and how many values it has."""
    names, primary = _columns(connection, table, notes)
    if not names:
        notes.append(f"{table} is left out: it has no column that can be used.")
        return None, 0
    cells: list[list] = [[] for _ in names]
    for number, row in enumerate(_rows(connection, table, names)):
        if (number + 1) * len(names) > max_cells:
            return None, max_cells + 1
        for values, value in zip(cells, row, strict=True):
            values.append(value)
    if not cells[0]:
        notes.append(f"{table} is left out: it has no rows.")
        return None, 0
    columns: list[Column] = []
    values: list[list[Value]] = []
    for name, found in zip(names, cells, strict=True):
        try:
            column, converted = typed(name, found)
        except Unusable as reason:
            notes.append(f"{table}.{name} is left out: it {reason}.")
            continue
        columns.append(column)
        values.append(converted)
    count = len(cells[0]) * len(names)
    if not columns:
        notes.append(f"{table} is left out: it has no column that can be used.")
        return None, count
    return Draft(table, columns, values, Declared(primary, list(_references(connection, table)))), count


def _columns(connection: sqlite3.Connection, table: str, notes: list[str]) -> tuple[list[str], str | None]:
    """Names of the stored columns, and the primary key if it is one column."""
    names, primary = {}, []
    for _, name, _, _, _, key, hidden in connection.execute(f"PRAGMA table_xinfo({_in_quotes(table)})"):
        primary += [name] if key else []
        if not _is_nameable(name):
            notes.append(f"the column {name!r} of {table} is left out: its name cannot be written.")
        elif hidden:
            notes.append(f"{table}.{name} is left out: it is computed.")
        elif name.casefold() in names:
            notes.append(f"{table}.{name} is left out: {names[name.casefold()]} has the same name but for letter case.")
        else:
            names[name.casefold()] = name
    return list(names.values()), primary[0] if len(primary) == 1 and _is_nameable(primary[0]) else None


def _rows(connection: sqlite3.Connection, table: str, names: list[str]) -> Iterator[tuple]:
    """In the order they are stored in, whatever indexes there are."""
    for row in connection.execute(f"SELECT {', '.join(map(_in_quotes, names))} FROM {_in_quotes(table)} NOT INDEXED"):
        # Only the beginning of what will be left out, because it may be large.
        yield tuple(value[: MAX_CHARACTERS + 1] if isinstance(value, (str, bytes)) else value for value in row)


def _references(connection: sqlite3.Connection, table: str) -> Iterator[Reference]:
    """Declared foreign keys of one column."""
    keys: dict[int, list[Reference | None]] = {}
    for number, _, other, column, target, *_ in connection.execute(f"PRAGMA foreign_key_list({_in_quotes(table)})"):
        is_usable = all(map(_is_nameable, (column, other, target or column)))
        keys.setdefault(number, []).append(Reference(column, other, target or "") if is_usable else None)
    # SQLite lists the last one first.
    return (references[0] for _, references in sorted(keys.items(), reverse=True) if len(references) == 1 and references[0])
