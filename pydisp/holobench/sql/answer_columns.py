"""What each column of an answer is, as far as the statement shows it: whose numbers are keys or years, and which are rounded already.

columns_of(question, names, tables)   # [AnswerColumn("city", is_identifier=False, decimals=None), …]
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydisp.holobench.database.tables import Table
from pydisp.holobench.sql.sql_guard import Question
from pydisp.holobench.sql.sql_tree import arguments, constant, given_name, same_case, sides, whole_number

_IDENTIFYING = ("key", "reference", "year")
_MOST_DIGITS = 12
_KEEPING = ("min", "max")  # what they give is one of the values they are given


@dataclass(frozen=True)
class AnswerColumn:
    """One column of an answer.

    Args:
        is_identifier: its whole numbers are keys or years, which are right or wrong and never near.
        decimals: the digits that ROUND leaves in the statement; None if it is not rounded there.
    """

    name: str
    is_identifier: bool
    decimals: int | None


def columns_of(question: Question, names: Sequence[str], tables: Sequence[Table]) -> list[AnswerColumn]:
    """The columns of an answer with these names; where the statement has a star, they are judged by name."""
    identifying = _identifying([table for table in tables if table.name in question.tables])
    items = selected(question.tree)
    if items is None or len(items) != len(names):
        return [AnswerColumn(name, same_case(name) in identifying, None) for name in names]
    return [AnswerColumn(_name(item), _identifies(item, identifying), _decimals(item)) for item in items]


def _name(item: dict) -> str:
    """What the column is called; DuckDB's own names for expressions differ from version to version."""
    if given_name(item):
        return given_name(item)
    if item["class"] != "FUNCTION" or not item["function_name"].isidentifier():
        return "value"
    return {"count_star": "count"}.get(item["function_name"], item["function_name"])


def _decimals(item: dict) -> int | None:
    digits = round_digits(item)
    return None if digits is None else max(digits, 0)


def selected(tree: dict) -> list[dict] | None:
    """The expressions that a query selects, those of the first side of a UNION; None if a star stands among them."""
    if tree["type"] == "SET_OPERATION_NODE":
        return selected(sides(tree)[0])
    if tree["type"] != "SELECT_NODE" or any(item["class"] == "STAR" for item in tree["select_list"]):
        return None
    return tree["select_list"]


def _identifying(tables: Sequence[Table]) -> set[str]:
    """The names of columns that hold keys or years."""
    names = {table.key for table in tables if table.key is not None}
    for table in tables:
        names |= {column.name for column in table.columns if column.role in _IDENTIFYING}
        names |= {reference.column for reference in table.references}
    return {same_case(name) for name in names}


def _identifies(item: dict, identifying: set[str]) -> bool:
    kind = item["class"]
    if kind == "COLUMN_REF":
        return same_case(item["column_names"][-1]) in identifying
    if kind == "CAST":
        return _identifies(item["child"], identifying)
    if kind != "FUNCTION":
        return False
    name, given = same_case(item["function_name"]), arguments(item)
    if name in ("date_part", "datepart"):
        return same_case(str(constant(given[0]))) in ("year", "years")
    return name == "year" or name in _KEEPING and len(given) == 1 and _identifies(given[0], identifying)


def round_digits(item: dict) -> int | None:
    """The digits after the point that ROUND leaves; None if the expression is no ROUND, or one whose digits are not written out."""
    if item["class"] != "FUNCTION" or same_case(item["function_name"]) != "round":
        return None
    given = arguments(item)
    digits = whole_number(given[1]) if len(given) == 2 else 0
    return digits if digits is not None and abs(digits) <= _MOST_DIGITS else None
