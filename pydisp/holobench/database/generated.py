"""Generated databases: of any size, from a seed and closed lists of words, so that nothing is downloaded and no model has read them before.

    generate("shop", seed=0, rows=2000)

A database with more rows begins with the rows of one with fewer: each column reads a stream of its own from its first row to its last, and a row
refers only to those rows of another table that are in every database that has this row (`drawn_columns.Window`).
"""

from pydisp.draws import Draws
from pydisp.holobench.database.domains import DEFAULT, DOMAINS
from pydisp.holobench.database.drawn_columns import Beside, Refers, Window, share
from pydisp.holobench.database.drawn_table import DrawnTable
from pydisp.holobench.database.tables import Database, Reference, Table, TableError

SMALLEST, LARGEST = 40, 1_000_000  # rows of the largest table
ROWS = 4000  # by default


def generate(domain: str = DEFAULT, seed: int = 0, rows: int = ROWS) -> Database:
    """A database of one domain.

    Args:
        domain: one of DOMAINS. seed: any whole number. rows: of the largest tables; the others have one for 2 to 20 of them.
    Raises: TableError for another domain, or for a number of rows that is not in 40 to 1,000,000.
    """
    if domain not in DOMAINS:
        raise TableError(f"there is no domain {domain!r} of generated databases; choose one of: {', '.join(DOMAINS)}.")
    for value, what in ((rows, "number of rows"), (seed, "seed")):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TableError(f"the {what} of a generated database is {value!r}; give a whole number.")
    if not SMALLEST <= rows <= LARGEST:
        raise TableError(f"a generated database cannot have {rows} rows in its largest table; choose {SMALLEST} to {LARGEST}.")
    tables: dict[str, Table] = {}
    every = {table.name: table.every for table in DOMAINS[domain]}
    for plan in DOMAINS[domain]:
        tables[plan.name] = _table(plan, tables, every, rows, Draws(seed, "rows", domain, plan.name))
    return Database(f"generated:{domain}", tuple(tables.values()))


def _table(plan: DrawnTable, others: dict[str, Table], every: dict[str, int], rows: int, draws: Draws) -> Table:
    """A table whose parents are drawn already."""
    references = tuple(Reference(drawn.name, drawn.table, others[drawn.table].key) for drawn in plan.columns if isinstance(drawn, Refers))
    parents = {
        one.table: (list(others[one.table].values(one.target)), Window(plan.every, every[one.table], SMALLEST)) for one in references
    }
    beside = Beside(share(rows, plan.every), parents=parents)
    for drawn in plan.columns:
        beside.columns[drawn.name] = drawn.values(draws.child(drawn.name), beside)
    return Table(
        plan.name,
        tuple(drawn.column for drawn in plan.columns),
        tuple(zip(*beside.columns.values(), strict=True)),
        key=plan.columns[0].name,
        references=references,
        wordings=plan.wordings,
        one=plan.one,
        many=plan.name,
    )
