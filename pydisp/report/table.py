"""Table: rows under named columns."""

from dataclasses import dataclass

from pydisp.given_value import short
from pydisp.report.values import plain, require_text
from pydisp.report.words import Cell


@dataclass(frozen=True)
class Table:
    """Rows of texts, numbers, True/False or None (an empty cell) under named columns.

    Raises: ValueError or TypeError, naming the table and the row, for a row of another length and for any other cell.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self):
        require_text(self.title, "the title of a table")
        place = f"table {short(self.title)}"
        if isinstance(self.columns, str) or not self.columns:
            raise ValueError(f"{place}: columns is {self.columns!r}; it must be a list of one name or more.")
        for column in self.columns:
            require_text(column, f"{place}: a column", may_be_empty=True)
        rows = []
        for number, row in enumerate(self.rows, 1):
            if isinstance(row, str) or len(row) != len(self.columns):
                raise ValueError(
                    f"{place}: row {number} has {len(row)} cells, there are {len(self.columns)} columns; give a cell for each."
                )
            rows.append(tuple(plain(cell, f"{place}, row {number}") for cell in row))
            if any(isinstance(cell, list | dict) for cell in rows[-1]):
                raise TypeError(f"{place}, row {number} holds a list or dict; a cell is a text, a number, True, False or None.")
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "rows", tuple(rows))
