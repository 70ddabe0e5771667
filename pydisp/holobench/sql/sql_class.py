"""The class of a question, by the shape of its SQL.

    classify("SELECT city, count(*) FROM customers GROUP BY city")   # "group"

The first that fits: a set operation, or a comparison of values that are computed (comparison); ORDER BY … LIMIT 1, or = (SELECT max(…) …)
(extreme); ORDER BY … LIMIT (top_k); several tables (join, or join_aggregate if it also counts or sums); GROUP BY (group); sum or avg
(aggregate); min or max (extreme); count (count); anything else (filter).
"""

from pydisp.holobench.sql.sql_tree import arguments, constant, ctes, modifier, nodes, parse, same_case
from pydisp.holobench.sql.sql_vocabulary import AGGREGATES


def classify(sql: str) -> str:
    """One of items.CLASSES. Raises: GoldError if the text is not one SELECT."""
    tree = parse(sql)
    parts = list(nodes(tree))
    functions = {same_case(part["function_name"]) for part in parts if part.get("class") == "FUNCTION"} & AGGREGATES
    limit = modifier(tree, "LIMIT")
    if any(part.get("type") == "SET_OPERATION_NODE" or _is_comparison(part) for part in parts):
        return "comparison"
    if any(_is_extreme(part) for part in parts):
        return "extreme"
    if limit and modifier(tree, "ORDER"):
        return "extreme" if constant(limit["limit"]) == 1 else "top_k"
    if _reads_several(parts):
        return "join_aggregate" if functions else "join"
    if any(part.get("group_expressions") for part in parts):
        return "group"
    if functions & {"sum", "avg", "mean"}:
        return "aggregate"
    return "extreme" if functions & {"min", "max"} else "count" if functions else "filter"


def _is_comparison(part: dict) -> bool:
    """Whether it compares, or takes the difference of, two values that are computed, or a column and one that is selected."""
    if part.get("class") == "COMPARISON":
        sides = [part["left"], part["right"]]
        return any(_is_selected(side) for side in sides) and not _is_extreme(part) or all(_is_computed(side) for side in sides)
    if part.get("class") == "FUNCTION" and part["function_name"] in ("-", "/") and len(arguments(part)) == 2:
        sides = arguments(part)
        return all(_is_selected(side) for side in sides) or part["function_name"] == "-" and all(_is_computed(side) for side in sides)
    return False


def _is_extreme(part: dict) -> bool:
    """Whether it is `column = (SELECT max(…) …)`."""
    if part.get("type") != "COMPARE_EQUAL":
        return False
    selects = [side["subquery"]["node"] for side in (part["left"], part["right"]) if _is_selected(side)]
    firsts = [select["select_list"][0] for select in selects if select["type"] == "SELECT_NODE"]
    return any(first["class"] == "FUNCTION" and same_case(first["function_name"]) in ("min", "max") for first in firsts)


def _is_selected(side: dict) -> bool:
    return side.get("class") == "SUBQUERY" and side["subquery_type"] == "SCALAR"


def _is_computed(side: dict) -> bool:
    return any(part.get("class") == "FUNCTION" and same_case(part["function_name"]) in AGGREGATES for part in nodes(side))


def _reads_several(parts: list[dict]) -> bool:
    """Whether it reads more than one table, or one table beside itself."""
    with_names = {same_case(name) for part in parts if "cte_map" in part for name, _ in ctes(part)}
    names = {same_case(part["table_name"]) for part in parts if part.get("type") == "BASE_TABLE"}
    return len(names - with_names) > 1 or any(part.get("type") == "JOIN" for part in parts)
