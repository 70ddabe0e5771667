"""Whether ORDER BY and LIMIT leave anything to chance: rows that tie in the order may come in any order, and LIMIT may keep either of them.

check_inner_limits(question, rows_of)
ranks, rows = ranked(question, rows_of, most=10_000)
"""

import math

from pydisp.holobench.sql.locked_database import GoldError, StatementFailed, UnfitRows
from pydisp.holobench.sql.ordered_rows import OrderedQuery, Row, RowsOf, is_ordered_by_rounding, is_tied
from pydisp.holobench.sql.sql_guard import Question
from pydisp.holobench.sql.sql_tree import modifier
from pydisp.holobench.sql.sql_vocabulary import QUERIES

_MOST = 100_000  # rows that are looked at to find the end of a tie


def check_inner_limits(question: Question, rows_of: RowsOf) -> None:
    """That each LIMIT inside the statement keeps rows that are certain; their order does not matter there.

    Raises: GoldError if rows tie where it cuts, or if it depends on the row outside and cannot be looked at alone.
    """
    for query, with_parts in _limited(question.tree, []):
        if query is question.tree:
            continue
        try:
            _certain_rows(OrderedQuery(query, with_parts), rows_of)
        except StatementFailed:
            raise GoldError(
                "a LIMIT inside the SQL depends on the row outside, which cannot be checked; write it with min or max."
            ) from None


def ranked(question: Question, rows_of: RowsOf, most: int) -> tuple[list[int], list[Row]] | None:
    """The statement's rows with their ranks: rows of one rank tie, and may come in any order.

    Args:
        most: rows; more raise GoldError.
    Returns: None if the statement has no ORDER BY, no LIMIT, and rounds nothing.
    Raises: UnfitRows if a LIMIT cuts or keeps rows that tie and differ, or if their order hangs on how DuckDB rounds a half.
    """
    query = OrderedQuery(question.tree)
    has_limit = modifier(question.tree, "LIMIT") is not None
    if not (has_limit or query.keys or query.is_rounding):
        return None
    rows = _certain_rows(query, rows_of) if has_limit else query.rows(rows_of, most + 1, most)
    rows = rows[query.offset : None if query.limit == math.inf else query.offset + query.limit]
    _check_rounding(rows)
    ranks = _ranks(rows)
    for place in range(1, len(rows)):
        if has_limit and query.keys and ranks[place] == ranks[place - 1] and rows[place].values != rows[place - 1].values:
            raise _tie(query, rows[place - 1], rows[place])
    return ranks, rows


def _check_rounding(rows: list[Row]) -> None:
    for one, other in zip(rows, rows[1:], strict=False):
        if is_ordered_by_rounding(one, other):
            raise UnfitRows(
                f"the order of {_words(one)} and {_words(other)} hangs on how a half is rounded; order by the number before it is rounded."
            )


def _limited(tree, with_parts: list[dict]) -> list[tuple[dict, list[dict]]]:
    """The queries in a tree that have a LIMIT, each with the WITH parts outside it that it can use."""
    found = []
    if isinstance(tree, dict) and tree.get("type") in QUERIES and "class" not in tree:
        if modifier(tree, "LIMIT") is not None:
            found.append((tree, with_parts))
        for entry in tree["cte_map"]["map"]:
            found += _limited(entry["value"], with_parts)
            with_parts = [*with_parts, entry]
        tree = {key: part for key, part in tree.items() if key != "cte_map"}
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return found + [pair for part in parts for pair in _limited(part, with_parts)]


def _certain_rows(query: OrderedQuery, rows_of: RowsOf) -> list[Row]:
    """The rows up to the end of the tie at which the LIMIT stops. Raises: GoldError if it cuts between rows that tie and differ."""
    if query.limit == 0:
        return []
    stop = query.offset + query.limit
    count = min(stop + 1, _MOST)
    while True:
        rows = query.rows(rows_of, count, _MOST)
        for edge in (query.offset, stop):
            _check_edge(query, rows, edge)
        if len(rows) < count or count < _MOST and not is_tied(rows[-1], rows[stop - 1]):
            return rows
        if count == _MOST:
            raise UnfitRows(f"more than {_MOST:,} rows are to be ordered for a LIMIT; leave rows out by WHERE.")
        count = min(2 * count, _MOST)


def _check_edge(query: OrderedQuery, rows: list[Row], edge: float) -> None:
    if not 0 < edge < len(rows):
        return
    _check_rounding(rows[edge - 1 : edge + 1])
    if not is_tied(rows[edge - 1], rows[edge]):
        return
    for row in rows:
        if is_tied(row, rows[edge]) and row.values != rows[edge].values:
            raise _tie(query, row, rows[edge])


def _ranks(rows: list[Row]) -> list[int]:
    ranks = [0] * len(rows)
    for place in range(1, len(rows)):
        ranks[place] = ranks[place - 1] + (not is_tied(rows[place - 1], rows[place]))
    return ranks


def _tie(query: OrderedQuery, one: Row, other: Row) -> UnfitRows:
    if not query.keys:
        return UnfitRows("LIMIT without ORDER BY keeps rows by chance; add an ORDER BY.")
    return UnfitRows(f"ORDER BY ties two rows where it matters, {_words(one)} and {_words(other)}; order by more columns.")


def _words(row: Row) -> str:
    text = "(" + ", ".join(str(value) for value in row.values) + ")"
    return text if len(text) <= 60 else text[:57] + "…)"
