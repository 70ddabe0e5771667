"""What SQL a question may have: one SELECT on the tables that are given, with functions of a closed list. All else is refused by name.

    question = read("SELECT count(*) FROM orders WHERE price > 10", database.tables)
    question.tables                                     # ("orders",)
    tables_of("SELECT …", database)

The parse tree is walked whole: a part, a function or a type that `sql_vocabulary` does not list is refused, whatever it does. So are names
that are no column's, because rowid and current_user look like columns, and what leaves rows to chance (DISTINCT ON, samples).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydisp.holobench.database.tables import Database, Table
from pydisp.holobench.sql.locked_database import GoldError
from pydisp.holobench.sql.sql_tree import arguments, constant, ctes, nodes, parse, same_case
from pydisp.holobench.sql.sql_vocabulary import (
    AGGREGATES,
    CASTS,
    DATE_PART_FUNCTIONS,
    DATE_PARTS,
    EXPRESSIONS,
    FUNCTIONS,
    JOINS,
    OPERATIONS,
    PARTS,
    PATTERNS,
    QUERIES,
    SEARCHES,
    SHORT_FLOATS,
)

_MOST_TABLES = 16  # the order of joins is planned before a time limit counts
# DuckDB 1 matches a pattern by trying all places of each wildcard, and no time limit stops it within a text.
_MOST_WILDCARDS = 3
_LONGEST_SEARCHED = 100  # characters
_NUMBER_OF_ROW = "rowid"  # of every table, though no column


@dataclass(frozen=True, eq=False)
class Question:
    """A statement that may run.

    Args:
        tree: its parse tree; shared, do not change it. tables: the names of the tables it reads, each once, as the database spells them.
    """

    sql: str
    tree: dict
    tables: tuple[str, ...]


def read(sql: str, tables: Sequence[Table]) -> Question:
    """The statement, checked.

    Raises: GoldError saying what is not allowed, and what is.
    """
    tree = parse(sql)
    walk = _Walk(tables)
    walk.part(tree, frozenset())
    walk.check_names(tree, sql)
    return Question(sql, tree, tuple(table.name for table in tables if same_case(table.name) in walk.found))


def tables_of(sql: str, database: Database) -> tuple[str, ...]:
    """The names of the tables that the statement reads, in the order of the database, spelled as there.

    Raises: GoldError if the statement is not allowed, see `read`.
    """
    return read(sql, database.tables).tables


class _Walk:
    """One walk through a tree, with the names that WITH gives in each place."""

    def __init__(self, tables: Sequence[Table]):
        self.tables = {same_case(table.name): table for table in tables}
        self.found: set[str] = set()
        self.with_names: set[str] = set()
        self.uses = 0
        self.cost: dict[str, int] = {}  # of each WITH part: the tables that it reads, those of the parts that it reads included

    def part(self, tree, scope: frozenset[str]) -> None:
        if isinstance(tree, list):
            for item in tree:
                self.part(item, scope)
        elif isinstance(tree, dict):
            self._object(tree, scope)

    def _object(self, tree: dict, scope: frozenset[str]) -> None:
        kind = tree.get("type")
        if tree.get("sample"):
            raise GoldError("the SQL takes a sample of rows, which differs from run to run; leave it out.")
        if "class" in tree:
            self._expression(tree, scope)
        elif isinstance(kind, str) and kind not in PARTS:
            raise GoldError(
                f"the SQL has a part of the kind {_words(kind)}, which a question must not have; select from tables, with joins and WITH."
            )
        elif kind in QUERIES:
            self._query(tree, scope)
        else:
            if kind == "BASE_TABLE":
                self._table(tree, scope)
            elif kind == "JOIN":
                _check_join(tree)
            elif kind == "LIMIT_MODIFIER":
                _check_limit(tree)
            elif kind == "DISTINCT_MODIFIER" and tree["distinct_on_targets"]:
                raise GoldError("DISTINCT ON keeps one row of several by chance; write GROUP BY with min or max.")
            self._rest(tree, scope)

    def _rest(self, tree: dict, scope: frozenset[str], *done: str) -> None:
        for key, value in tree.items():
            if key not in done:
                self.part(value, scope)

    def _query(self, query: dict, scope: frozenset[str]) -> None:
        _check_query(query)
        for name, body in ctes(query):
            before = self.uses
            self.part(body, scope)
            self.cost[same_case(name)] = self.uses - before
            if same_case(name) in self.with_names:  # a query that is looked at alone is given all of them side by side
                raise GoldError(f"two WITH parts have the name {name!r}; give each its own.")
            self.with_names.add(same_case(name))
            scope |= {same_case(name)}
        self._rest(query, scope, "cte_map")

    def _table(self, tree: dict, scope: frozenset[str]) -> None:
        name = tree["table_name"]
        if tree.get("schema_name") or tree.get("catalog_name") or tree.get("at_clause"):
            raise GoldError(f"table {name!r} is named with a schema, a database or a version; write its name alone.")
        if same_case(name) in scope:
            self._use(self.cost.get(same_case(name), 0))
            return
        if same_case(name) not in self.tables:
            there = ", ".join(table.name for table in self.tables.values()) or "none"
            raise GoldError(f"there is no table {name!r}; the tables are: {there}.")
        self.found.add(same_case(name))
        self._use(1)

    def _use(self, tables: int) -> None:
        self.uses += tables
        if self.uses > _MOST_TABLES:
            raise GoldError(f"the SQL reads more than {_MOST_TABLES} tables, one read twice counted twice, also by WITH; use fewer.")

    def _expression(self, tree: dict, scope: frozenset[str]) -> None:
        kind = tree["class"]
        if kind not in EXPRESSIONS:
            raise GoldError(f"the SQL has an expression of the kind {_words(kind)}, which a question must not have.")
        if kind == "CONSTANT":
            return
        if kind == "FUNCTION":
            _check_function(tree)
        elif kind == "OPERATOR" and tree["type"] not in OPERATIONS:
            raise GoldError(f"the SQL has an operation of the kind {_words(tree['type'])}, which a question must not have.")
        elif kind == "STAR" and (tree.get("columns") or tree.get("expr")):
            raise GoldError("the SQL takes columns by a pattern or by ALL; write their names.")
        elif kind == "CAST":
            _check_cast(tree)
        self._rest(tree, scope, "type_expr", "cast_type")

    def check_names(self, tree: dict, sql: str) -> None:
        """That every column is one of the tables, or named in the statement: current_user and rowid look like columns too."""
        columns = [column.name for table in self.tables.values() if same_case(table.name) in self.found for column in table.columns]
        known = {same_case(name) for name in [*columns, *_given_names(tree)]}
        for node in nodes(tree):
            names = node.get("column_names") or []
            if len(names) > 2:
                raise GoldError(f"column {'.'.join(names)!r} is named with more than its table; write table.column.")
            for name in names[-1:] or node.get("using_columns") or []:
                if same_case(name) == _NUMBER_OF_ROW not in map(same_case, columns):
                    raise _unknown(name, columns, sql)  # also where an alias has this name: DuckDB decides which of them is meant
                # DuckDB calls count(*) in an inner SELECT "count_star()".
                if same_case(name) not in known and "(" not in name:
                    raise _unknown(name, columns, sql)


def _unknown(name: str, columns: list[str], sql: str) -> GoldError:
    if f'"{name}"' in sql:
        return GoldError(f'there is no column "{name}"; double quotes name a column, text stands in single quotes.')
    return GoldError(f"there is no column {name!r}; the columns are: {', '.join(dict.fromkeys(columns)) or 'none'}.")


def _words(kind: str) -> str:
    return kind.replace("_", " ").lower()


def _given_names(tree: dict) -> list[str]:
    """The names that the statement itself gives to columns."""
    names = []
    for node in nodes(tree):
        if "class" in node and node.get("alias"):
            names.append(node["alias"])
        names += node.get("column_name_alias") or []
        names += node.get("aliases") or []
    return names


def _check_query(query: dict) -> None:
    if query.get("qualify"):
        raise GoldError("QUALIFY needs window functions, which a question must not have.")
    if query.get("aggregate_handling", "STANDARD_HANDLING") != "STANDARD_HANDLING":
        raise GoldError("GROUP BY ALL groups by what is selected; write the columns' names.")


def _check_join(join: dict) -> None:
    for key, known in JOINS.items():
        if join[key] not in known or join.get("ranking_expression"):
            raise GoldError(f"the SQL has a join of the kind {_words(join[key])}; a question has inner, outer, cross and natural joins.")


def _check_limit(modifier: dict) -> None:
    counts = [modifier.get("limit"), modifier.get("offset")]
    if modifier.get("limit_type", "ROW_COUNT") != "ROW_COUNT" or any(count and type(constant(count)) is not int for count in counts):
        raise GoldError("LIMIT and OFFSET must be whole numbers.")


def _check_function(function: dict) -> None:
    name = same_case(function["function_name"])
    if name not in FUNCTIONS or function.get("schema") not in (None, "", "main") or function.get("catalog"):
        aggregates = ", ".join(sorted(AGGREGATES - {"count_star"}))
        raise GoldError(
            f"the SQL uses {name}(), which a question must not use; there are arithmetic, LIKE, CASE, {aggregates}, "
            f"and plain functions of numbers, texts and dates such as round, lower, substr, year and strftime."
        )
    given = arguments(function)
    if (
        function["order_bys"]["orders"]
        or function.get("export_state")
        or any(argument.get("name") for argument in function.get("arguments", []))
    ):
        raise GoldError(f"{name}() has an order, a state or named arguments, which a question must not use; give it plain arguments.")
    if name in AGGREGATES and len(given) > 1:
        raise GoldError(f"{name}() has {len(given)} arguments; give it one, or use least() and greatest() to compare the values of a row.")
    if name in DATE_PART_FUNCTIONS and same_case(str(constant(given[0]))) not in DATE_PARTS:
        raise GoldError(f"{name}() must name the part of the date as text, such as 'year', 'month' or 'day'.")
    if name in PATTERNS:
        _check_pattern(given[1])
    if name in SEARCHES:
        _check_search(name, [constant(argument) for argument in given[1:]])


def _check_pattern(pattern: dict) -> None:
    text = constant(pattern)
    if type(text) is not str or text.count("%") + text.count("*") > _MOST_WILDCARDS:
        raise GoldError(
            f"LIKE and GLOB must have a text as their pattern, with at most {_MOST_WILDCARDS} wildcards for any number of characters."
        )


def _check_search(name: str, texts: list[int | str | None]) -> None:
    if any(type(text) is not str or len(text) > _LONGEST_SEARCHED for text in texts):
        raise GoldError(f"{name}() must be given what it looks for as a text of at most {_LONGEST_SEARCHED} characters.")
    if name == "replace" and len(texts) == 2 and len(texts[1].encode()) > len(texts[0].encode()):
        raise GoldError("replace() must not make a text longer.")  # it works outside the memory limit: three of them took 700 GB


def _check_cast(cast: dict) -> None:
    if "type_expr" in cast:
        kind, details = cast["type_expr"].get("type_name", ""), cast["type_expr"].get("children") or []
        is_plain = all(type(constant(detail)) is int for detail in details)
    else:
        kind, info = cast["cast_type"]["id"], cast["cast_type"].get("type_info") or {}
        is_plain = info.get("type", "DECIMAL_TYPE_INFO") in ("DECIMAL_TYPE_INFO", "STRING_TYPE_INFO")
    if same_case(kind) in SHORT_FLOATS:
        raise GoldError(f"the SQL makes a value of the type {kind}, which has 7 digits; write DOUBLE.")
    if same_case(kind) not in CASTS or not is_plain:
        raise GoldError(f"the SQL makes a value of the type {kind}; it may be an integer, DECIMAL, DOUBLE, VARCHAR, DATE or BOOLEAN.")
