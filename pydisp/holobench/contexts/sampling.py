"""Sampling: which rows a context shows. Rows are drawn without replacement by our own generator; a row brings the rows that it refers to.

    relevant = draw_relevant(lines, ("orders", "customers"), 900, draws)     # (table, row) pairs of at most 900 tokens
    filler = draw_filler(lines, ("orders", "customers"), 1100, draws)        # of the other tables

A sample is full when no further row fits: what is left over is less than the shortest row that was not taken, or than 1 % of the budget.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from pydisp.draws import Draws
from pydisp.holobench.contexts.lines import Lines
from pydisp.holobench.database.tables import Database, Table

Row = tuple[str, int]  # the table's name and the number of the row

_CHILDREN = 3  # rows of a table for each row that they refer to, about: so that a join has something to join


class NotEnoughRows(ValueError):
    """A database has fewer tokens than a context needs; the message says how many there are."""


def draw_relevant(lines: Lines, tables: Sequence[str], most_tokens: int, draws: Draws) -> list[Row]:
    """Rows of the tables of a question, with those of these tables that they refer to, of at most so many tokens.

    Raises: NotEnoughRows if all rows together have less than asked for.
    """
    roots = [_units(lines, table, tables, most_tokens, draws.child("rows", table.name)) for table in _roots(lines.database, tables)]
    numbers = ((table, number) for table in tables for number in draws.child("alone", table).order(len(lines.texts(table))))
    alone = (_with_parents(lines.database, *row, tables) for row in numbers)
    taken, left = _take(lines, chain(_in_turn(roots), alone), most_tokens, tables)  # last come rows that no other row refers to
    if left > most_tokens // 100 and len(taken) == sum(len(lines.texts(table)) for table in tables):
        raise NotEnoughRows(
            f"the rows of {' and '.join(tables)} in {lines.database.name} give {lines.total(tables):,} tokens, and {most_tokens:,} relevant ones "
            "are asked for; ask for fewer, by --amount, --density or --lengths, or take a larger database."
        )
    return draws.child("order").shuffled(taken)  # else a row would always stand beside the row that it refers to


def draw_filler(lines: Lines, tables: Sequence[str], most_tokens: int, draws: Draws) -> tuple[list[Row], int]:
    """Rows of all tables but those of the question, of at most so many tokens; and the tokens of the shortest row that was not taken.

    Raises: NotEnoughRows if all rows together have less than asked for, or if there is no other table.
    """
    others = [table.name for table in lines.database.tables if table.name not in tables]
    counts = [len(lines.texts(table)) for table in others]
    taken, left = _take(lines, ([_row(others, counts, number)] for number in draws.child("filler").order(sum(counts))), most_tokens, others)
    if len(taken) == sum(counts) and left > max(1, most_tokens // 100):
        found = f"the tables that it does not touch give {lines.total(others):,} tokens" if others else "it touches every table"
        advice = "ask for shorter --lengths, for a higher --density" if others else "ask for --density 1, which shows relevant rows only"
        raise NotEnoughRows(
            f"a question on {' and '.join(tables)} of {lines.database.name} needs {most_tokens:,} tokens of other rows around it, and {found}; "
            f"{advice}, or take a larger database."
        )
    used = set(taken)
    rest = (tokens for table in others for number, tokens in enumerate(lines.tokens(table)) if (table, number) not in used)
    return taken, min(rest, default=0)


def _roots(database: Database, tables: Sequence[str]) -> list[Table]:
    """The tables that no other of them refers to; their rows bring the rest. All of them if they refer to each other in a circle."""
    chosen = [database.table(name) for name in tables]
    referred = {one.table for table in chosen for one in table.references if one.table != table.name}
    return [table for table in chosen if table.name not in referred] or chosen


def _units(lines: Lines, table: Table, tables: Sequence[str], most_tokens: int, draws: Draws) -> Iterator[list[Row]]:
    """Each row with the rows that it refers to. First come the rows that share a few of these, so that a small sample has joins."""
    references = [one for one in table.references if one.table in tables and one.table != table.name]
    if not references:
        return ([(table.name, number)] for number in draws.order(len(table.rows)))
    mean = max(1, sum(lines.tokens(table.name)) // max(1, len(table.rows)))
    parents = max(2, most_tokens // mean // (_CHILDREN + 1))
    near = _near(*lines.children(table.name, references[0].column), parents, draws)
    known = set(near)
    order = chain(near, (number for number in draws.order(len(table.rows)) if number not in known))
    return (_with_parents(lines.database, table.name, number, tables) for number in order)


def _near(keys: list, children: dict, parents: int, draws: Draws) -> list[int]:
    """The rows that refer to a few rows, in random order."""
    chosen: list[int] = []
    for place in islice(draws.order(len(keys)), parents):
        chosen += children[keys[place]]
    return draws.shuffled(chosen)


def _with_parents(database: Database, name: str, number: int, tables: Sequence[str]) -> list[Row]:
    """A row and, of the tables, the rows that it refers to, and those that they refer to."""
    unit: list[Row] = []
    waiting = [(name, number)]
    while waiting:
        row = waiting.pop()
        if row in unit:
            continue
        unit.append(row)
        table = database.table(row[0])
        for reference in table.references:
            value = table.rows[row[1]][table.places[reference.column]]
            if reference.table in tables and value is not None:
                parent = database.table(reference.table).row_with(reference.target, value)
                waiting += [] if parent is None else [(reference.table, parent)]
    return unit


def _in_turn(streams: list[Iterator[list[Row]]]) -> Iterator[list[Row]]:
    """One unit of each stream after the other, until all have ended."""
    while streams:
        for stream in list(streams):
            unit = next(stream, None)
            if unit is None:
                streams.remove(stream)
            else:
                yield unit


def _take(lines: Lines, units: Iterable[list[Row]], most_tokens: int, tables: Sequence[str]) -> tuple[list[Row], int]:
    """The rows of the units that fit, in their order, and the tokens that are left over."""
    shortest = min((min(lines.tokens(table), default=most_tokens) for table in tables), default=most_tokens)
    taken: dict[Row, None] = {}
    left = most_tokens
    for unit in units:
        if left < shortest:
            break
        new = [row for row in unit if row not in taken]
        cost = sum(lines.tokens(table)[number] for table, number in new)
        if new and cost <= left:
            taken.update(dict.fromkeys(new))
            left -= cost
            if left <= most_tokens // 100 and len(taken) > 1:
                break
    return list(taken), left


def _row(tables: Sequence[str], counts: Sequence[int], number: int) -> Row:
    for table, count in zip(tables, counts, strict=True):
        if number < count:
            return table, number
        number -= count
    raise AssertionError
