"""Near averages: whether an answer hangs on the last digits of an average, which DuckDB takes in floating point.

The exact mean of six prices may be 15.84 and DuckDB's AVG 15.840000000000002; then a price of 15.84 counts as below the average. So a statement
that compares, groups or joins by an average is asked twice more, with each such average a little larger and a little smaller.
"""

import copy

from pydisp.holobench.sql.sql_tree import nodes, parse, same_case, text_of

_NUDGES = ("1.000000001", "0.999999999")


def nudged(tree: dict) -> list[str]:
    """The statement with each average a billionth larger, and smaller, but for those that it selects at last; empty if it has no others."""
    if not any(_is_average(node) for key, part in tree.items() if key not in ("select_list", "modifiers") for node in nodes(part)):
        return []
    return [
        text_of({key: part if key in ("select_list", "modifiers") else _with(part, factor) for key, part in tree.items()})
        for factor in _NUDGES
    ]


def _is_average(node: dict) -> bool:
    return node.get("class") == "FUNCTION" and same_case(node["function_name"]) in ("avg", "mean")


def _with(tree, factor: str):
    """A copy of the tree with each average times the factor."""
    if isinstance(tree, list):
        return [_with(part, factor) for part in tree]
    if not isinstance(tree, dict):
        return tree
    found = {key: _with(part, factor) for key, part in tree.items()}
    if not _is_average(found):
        return found
    product = copy.deepcopy(parse(f"SELECT avg(x) * {factor}")["select_list"][0])
    if "arguments" in product:
        product["arguments"][0]["expression"] = {**found, "alias": ""}
    else:
        product["children"][0] = {**found, "alias": ""}
    return {**product, "alias": found.get("alias") or ""}
