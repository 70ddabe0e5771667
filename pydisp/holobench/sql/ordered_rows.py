"""The rows of one query in its order, with the values that it orders by and what it rounds, as if it had no LIMIT.

    query = OrderedQuery(node, with_parts=[])
    query.offset, query.limit
    query.rows(rows_of, 11, most=100)[10].keys

ORDER BY may hold the place of a selected column, a name that SELECT gives, or an expression. The first two are looked up; an expression is
selected too, which means the same there: in both places a name inside it is a column first, and what SELECT calls so if there is none.
"""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from decimal import Decimal

from pydisp.holobench.sql.answer_columns import selected
from pydisp.holobench.sql.exact_rounding import exactly, rounded_argument
from pydisp.holobench.sql.locked_database import GoldError
from pydisp.holobench.sql.sql_tree import constant, given_name, is_same, modifier, same_case, text_of

RowsOf = Callable[[str, int], tuple[Sequence[str], Sequence[str], list[tuple]]]
_SAME = 1e-9  # the share by which two sums of the same floating-point numbers may differ


@dataclass(frozen=True)
class Row:
    """What DuckDB gives and what it orders by; `exact` and `exact_keys` are the same with numbers that are rounded half-up."""

    values: tuple
    keys: tuple
    exact: tuple
    exact_keys: tuple


class OrderedQuery:
    """One query of a statement.

    Args:
        query: its tree; it is not changed. with_parts: entries of outer WITHs that it may use.
    Raises: GoldError if the keys cannot be told from the rows.
    """

    def __init__(self, query: dict, with_parts: Sequence[dict] = ()):
        limit, order = modifier(query, "LIMIT"), modifier(query, "ORDER")
        self.limit = _count(limit and limit["limit"], math.inf)
        self.offset = _count(limit and limit["offset"], 0)
        self._query = deepcopy(query)
        self._query["cte_map"]["map"][:0] = deepcopy(list(with_parts))
        self._query["modifiers"] = [part for part in self._query["modifiers"] if part["type"] != "LIMIT_MODIFIER"]
        self._can_add = query["type"] == "SELECT_NODE" and modifier(query, "DISTINCT") is None
        self._given: list[dict] = query.get("select_list", [])
        self._added = 0
        self._is_listed = selected(query) is not None
        expressions = [item["expression"] for item in order["orders"]] if order else []
        self.keys = [self._key(expression) for expression in expressions]
        self._rounded = self._roundings(self._given if self._can_add and self._is_listed else [])
        self._rounded_keys = self._roundings([self._meant(expression) for expression in expressions] if self._can_add else [])
        self._sql = text_of(self._query)

    @property
    def is_rounding(self) -> bool:
        return bool(self._rounded)

    def _add(self, expression: dict) -> int:
        """Selects something more; its number among what is added."""
        self._query["select_list"].append({**expression, "alias": ""})
        self._added += 1
        return self._added - 1

    def _roundings(self, items: list[dict]) -> list[tuple[int, dict, int]]:
        """The place of each expression that rounds, itself, and the number of what it rounds among what is added."""
        arguments = [(place, item, rounded_argument(item)) for place, item in enumerate(items)]
        return [(place, item, self._add(argument)) for place, item, argument in arguments if argument is not None]

    def _meant(self, expression: dict) -> dict:
        """What a key stands for: the selected expression of this name or place, or itself."""
        if type(number := constant(expression)) is int:
            return self._given[number - 1] if self._is_listed and 0 < number <= len(self._given) else expression
        name = _plain_name(expression)
        named = [item for item in self._given if name is not None and same_case(given_name(item) or "") == name]
        if len(named) > 1:
            raise GoldError(f"ORDER BY {name} is the name of several selected columns; give each its own.")
        return named[0] if named else expression

    def _key(self, expression: dict) -> Callable[[list[str], int], int]:
        """A function from the names of the selected columns and their count to the place of this key; what is added comes behind them."""
        if type(number := constant(expression)) is int:
            return lambda names, width: number - 1
        if not self._can_add:
            return lambda names, width: self._selected(expression, names)
        added = self._add(self._meant(expression))
        return lambda names, width: width + added

    def _selected(self, expression: dict, names: list[str]) -> int:
        """The place of a key that DISTINCT or UNION allows: what is selected, by its name or as it is written there."""
        places = [place for place, item in enumerate(self._given) if is_same(item, expression)] if len(self._given) == len(names) else []
        places = [place for place, name in enumerate(names) if same_case(name) == _plain_name(expression)] or places
        if len(places) != 1:
            raise GoldError("ORDER BY after DISTINCT or UNION must name one of the selected columns; give that column a name of its own.")
        return places[0]

    def rows(self, rows_of: RowsOf, count: int, most: int) -> list[Row]:
        """The first `count` rows. Raises: what rows_of does, which gives at most `most`."""
        names, _, rows = rows_of(f"{self._sql} LIMIT {count}", most)
        width = len(names) - self._added
        places = [place(list(names[:width]), width) for place in self.keys]
        return [self._row(row[:width], tuple(row[place] for place in places), row[width:]) for row in rows]

    def _row(self, values: tuple, keys: tuple, added: tuple) -> Row:
        exact, exact_keys = list(values), list(keys)
        for found, roundings in ((exact, self._rounded), (exact_keys, self._rounded_keys)):
            for place, item, number in roundings:
                found[place] = exactly(item, found[place], added[number])
        return Row(values, keys, tuple(exact), tuple(exact_keys))


def is_tied(one: Row, other: Row) -> bool:
    """Whether their order is left to chance."""
    return all(_is_equal(first, second) for first, second in zip(one.keys, other.keys, strict=True))


def is_ordered_by_rounding(one: Row, other: Row) -> bool:
    """Whether two rows compare otherwise once the numbers that they are ordered by are rounded exactly."""
    return any(
        (first < second, first > second) != (exact < next_exact, exact > next_exact)
        for first, second, exact, next_exact in zip(one.keys, other.keys, one.exact_keys, other.exact_keys, strict=True)
        if isinstance(exact, Decimal) and isinstance(next_exact, Decimal)
    )


def _is_equal(one, other) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_SAME) or math.isnan(one) and math.isnan(other)
    return one == other


def _count(expression: dict | None, default):
    return default if expression is None else constant(expression)


def _plain_name(expression: dict) -> str | None:
    """The name that an expression is, without a table's."""
    names = expression.get("column_names", [])
    return same_case(names[0]) if len(names) == 1 else None
