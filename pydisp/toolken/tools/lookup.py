"""Look-up in small invented tables, which no model can know: look_up("shop", "lantern", "price") is 18.45.

`data/tables.json` has them: {"shop": {"about": "...", "columns": ["price", ...], "rows": {"lantern": [18.45, ...], ...}}, ...}.
"""

import json
from decimal import Decimal
from functools import cache
from importlib import resources


@cache
def tables() -> dict[str, dict]:
    """The tables by name; numbers are int or Decimal."""
    text = resources.files("pydisp.toolken.tools").joinpath("data/tables.json").read_text(encoding="utf-8")
    return json.loads(text, parse_float=Decimal)


def _known(names) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def look_up(table: str, row: str, column: str) -> int | Decimal | str:
    """The value in one row and column of a table.

    Raises: ValueError for a table, row or column that is not there.
    """
    if table not in tables():
        raise ValueError(f"there is no table {table[:40]!r}; known: {_known(tables())}.")
    found = tables()[table]
    if row not in found["rows"]:
        raise ValueError(f"table {table!r} has no row {row[:40]!r}; it has {_known(found['rows'])}.")
    if column not in found["columns"]:
        raise ValueError(f"table {table!r} has no column {column[:40]!r}; it has {_known(found['columns'])}.")
    return found["rows"][row][found["columns"].index(column)]
