"""Databases by name: generated ones, the one that is shipped, and SQLite files.

    open_database("generated:shop", seed=0, rows=2000), open_database("chinook"), open_database("folder/wine.sqlite", say=print)

Chinook (a music shop: artists, albums, tracks, customers, invoices) is by Luis Rocha, under the licence in `data/chinook.LICENSE.md`.
"""

import difflib
import os
from collections.abc import Callable
from pathlib import Path

from pydisp.holobench.database.domains import DEFAULT, DOMAINS
from pydisp.holobench.database.generated import ROWS, generate
from pydisp.holobench.database.sqlite_file import read_sqlite
from pydisp.holobench.database.tables import Database, TableError

GENERATED, CHINOOK = "generated", "chinook"


def names() -> list[str]:
    """All names that `open_database` knows, without those of files."""
    return [GENERATED, *(f"{GENERATED}:{domain}" for domain in DOMAINS), CHINOOK]


def open_database(
    name: str | os.PathLike, *, seed: int = 0, rows: int | None = None, say: Callable[[str], object] | None = None
) -> Database:
    """A database by its name.

    Args:
        name: "generated" or "generated:DOMAIN", "chinook", or the path of a SQLite file; "./chinook" is a file too.
        seed, rows: of a generated one, by default 4,000 rows in its largest tables; others are what they are.
        say: gets a sentence on each part of a file that is left out or was concluded.
    Raises: TableError for an unknown name, a number of rows that is not in 40 to 1,000,000, or a file that cannot be used.
    """
    name = os.fspath(name)
    if name == GENERATED or name.startswith(f"{GENERATED}:"):
        domain = name.partition(":")[2] if ":" in name else DEFAULT
        if name in names():
            return generate(domain, seed, ROWS if rows is None else rows)
        raise _unknown(name)
    path = Path(__file__).parents[1] / "data" / "chinook.sqlite" if name == CHINOOK else Path(name)
    if name != CHINOOK and not _is_path(name):
        raise _unknown(name)
    database, notes = read_sqlite(path)
    for note in notes if say else ():
        say(note)
    return database


def _is_path(name: str) -> bool:
    return os.sep in name or bool(Path(name).suffix) or os.path.lexists(name)


def _unknown(name: str) -> TableError:
    close = difflib.get_close_matches(name, [*names(), *DOMAINS], n=1)
    if close:
        meant = close[0] if close[0] in names() else f"{GENERATED}:{close[0]}"
        return TableError(
            f"there is no database {name!r} (did you mean {meant!r}?); give {', '.join(names())}, or the path of a SQLite file."
        )
    return TableError(f"there is no database {name!r}; give {', '.join(names())}, or the path of a SQLite file.")
