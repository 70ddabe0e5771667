"""The parse tree of one SELECT, as DuckDB's own parser gives it (`json_serialize_sql`): what is checked is what runs.

    tree = parse("SELECT city FROM customers")
    tree["type"], list(nodes(tree))

Versions of DuckDB write some parts differently (arguments of a function, the two sides of a UNION, constants); what reads them is here.
"""

import json
import os
from collections.abc import Iterator
from functools import cache, lru_cache

from pydisp.holobench.sql.locked_database import GoldError, as_sentence, connect

LONGEST = 10_000  # characters of a statement
DEEPEST = 60  # brackets within brackets: the parser's own stack is the limit
_DEEPEST_TREE = 300  # levels of the tree, about three for each expression within another


@cache
def _parser(process: int):
    """One connection in each process: a fork cannot go on with its parent's."""
    return connect(memory_mib=64)


@lru_cache(maxsize=4096)
def _ask(call: str, text: str) -> str:
    import duckdb

    with _parser(os.getpid()).cursor() as cursor:
        try:
            return cursor.execute(f"SELECT {call}(?)", [text]).fetchone()[0]
        except duckdb.Error as error:
            raise GoldError(f"DuckDB cannot read the SQL: {as_sentence(error)}.") from None


def _check_statements(sql: str) -> None:
    import duckdb

    with _parser(os.getpid()).cursor() as cursor:
        try:
            statements = cursor.extract_statements(sql)
        except duckdb.Error as error:
            raise GoldError(f"DuckDB cannot read the SQL: {as_sentence(error)}.") from None
    if len(statements) != 1:
        raise GoldError(f"the SQL has {len(statements)} statements; a question has one SELECT.")
    try:
        kind = statements[0].type.name
    except ValueError:  # a kind that DuckDB's own Python does not name
        kind = "UNKNOWN"
    if kind != "SELECT":
        raise GoldError(f"the SQL is a statement of the kind {kind}; a question has one SELECT.")


def _check_size(sql: str) -> None:
    if len(sql) > LONGEST:
        raise GoldError(f"the SQL has {len(sql):,} characters; at most {LONGEST:,} are read.")
    if "\0" in sql or any("\ud800" <= character <= "\udfff" for character in sql):
        raise GoldError("the SQL holds a NUL character or half of a surrogate pair; remove it.")
    depth = deepest = 0
    for character in sql:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > DEEPEST:
        raise GoldError(f"the SQL has {deepest} brackets within each other; at most {DEEPEST} are read.")


@lru_cache(maxsize=4096)
def parse(sql: str) -> dict:
    """The tree of the one SELECT in the text; do not change it, it is shared.

    Raises: GoldError if the text is no SQL, has other than one statement, or one of another kind.
    """
    _check_size(sql)
    _check_statements(sql)
    text = _ask("json_serialize_sql", sql)
    try:
        answer = json.loads(text)
    except RecursionError:
        answer = None
    if answer is None or _is_deep(answer):
        raise GoldError("the SQL has too many expressions within each other; make it simpler.")
    if answer["error"]:
        raise GoldError(f"DuckDB cannot read the SQL: {as_sentence(answer['error_message'])}.")
    return answer["statements"][0]["node"]


def _is_deep(tree) -> bool:
    """Whether walking through it could exceed Python's own stack."""
    level, depth = [tree], 0
    while level and depth <= _DEEPEST_TREE:
        parts = [list(part.values()) if isinstance(part, dict) else part for part in level]
        level = [inner for part in parts for inner in part if isinstance(inner, dict | list)]
        depth += 1
    return bool(level)


def text_of(tree: dict) -> str:
    """SQL of a tree, as DuckDB writes it."""
    statement = {"error": False, "statements": [{"node": tree, "named_param_map": []}]}
    return _ask("json_deserialize_sql", json.dumps(statement))


def nodes(tree) -> Iterator[dict]:
    """Every object of a tree, outer ones first."""
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from nodes(part)


def same_case(name: str) -> str:
    """Names that DuckDB takes for the same: only the letters A to Z have two cases."""
    return "".join(chr(ord(letter) + 32) if "A" <= letter <= "Z" else letter for letter in name)


def ctes(query: dict) -> list[tuple[str, dict]]:
    """The names and bodies of a query's WITH parts, in order."""
    entries = (query.get("cte_map") or {}).get("map", [])
    return [(entry["key"], entry["value"].get("query_node") or entry["value"]["query"]["node"]) for entry in entries]


def modifier(query: dict, kind: str) -> dict | None:
    """Its "ORDER", "LIMIT" or "DISTINCT" part, if it has one."""
    return next((part for part in query["modifiers"] if part["type"] == f"{kind}_MODIFIER"), None)


def given_name(item: dict) -> str | None:
    """What a selected expression is called: its alias, or the column it is; None if it has no name of its own."""
    return item.get("alias") or (item["column_names"][-1] if item["class"] == "COLUMN_REF" else None)


def is_same(one, other) -> bool:
    """Whether two parts of trees say the same, wherever they stand and whatever they are called."""
    return _meaning(one) == _meaning(other)


def _meaning(tree):
    if isinstance(tree, dict):
        return {key: _meaning(part) for key, part in tree.items() if key not in ("alias", "query_location", "query_location_length")}
    return [_meaning(part) for part in tree] if isinstance(tree, list) else tree


def arguments(function: dict) -> list[dict]:
    """The arguments of a function."""
    if "arguments" in function:
        return [argument["expression"] for argument in function["arguments"]]
    return function["children"]


def constant(expression: dict | None) -> int | str | None:
    """The whole number or text that an expression is; None if it is something else."""
    if expression is None or expression.get("class") != "CONSTANT":
        return None
    if "literal" in expression:
        kind, text = expression["literal"]["kind"], expression["literal"]["text"]
        return int(text) if kind == "INTEGER" else text if kind == "STRING" else None
    value = expression["value"]
    if value["is_null"] or value["type"]["id"] not in ("INTEGER", "BIGINT", "VARCHAR"):
        return None
    return value["value"]


def whole_number(expression: dict) -> int | None:
    """The whole number that an expression is, with a minus if there is one."""
    if expression.get("class") == "FUNCTION" and expression["function_name"] == "-" and len(arguments(expression)) == 1:
        number = whole_number(arguments(expression)[0])
        return None if number is None else -number
    number = constant(expression)
    return number if type(number) is int else None


def sides(query: dict) -> list[dict]:
    """The queries that UNION, EXCEPT or INTERSECT joins."""
    return query.get("children") or [query["left"], query["right"]]
