"""A drawn table: what a table of a generated database is made of."""

from dataclasses import dataclass

from pydisp.holobench.database.drawn_columns import Drawn

PEOPLE = {"starts": "first_names", "ends": "last_names"}
STAFF = {"starts": "staff_first_names", "ends": "staff_last_names"}  # other names, so that a person stands in one table of a domain


@dataclass(frozen=True)
class DrawnTable:
    """A table of a domain.

    Args:
        name: as SQL has it, and what a question calls its rows. one: what it calls a row. every: there is one row for so many of the largest table.
        columns: the first is the key; references come after the tables they refer to. wordings: templates of one sentence.
    """

    name: str
    one: str
    every: int
    columns: tuple[Drawn, ...]
    wordings: tuple[str, ...]
