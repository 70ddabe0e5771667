"""The functions, types and parts of SQL that a question may use; `sql_guard` refuses all others.

Left out on purpose: what reads anything but the tables (files, settings, the clock), what differs from run to run (random numbers,
any_value, window functions), what cannot be interrupted or held in memory (repeat, lists, median, regular expressions).
"""


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


PATTERNS = _set("~~ !~~ ~~* !~~* ~~~ like_escape not_like_escape ilike_escape not_ilike_escape")  # LIKE, ILIKE, GLOB
OPERATORS = _set("+ - * / // % ** ^ ||") | PATTERNS
AGGREGATES = _set("count count_star sum avg mean min max")
SEARCHES = _set("instr strpos position contains trim ltrim rtrim replace")
DATE_PART_FUNCTIONS = _set("date_part datepart date_diff datediff")
SCALARS = SEARCHES | DATE_PART_FUNCTIONS | _set(
    """abs round floor ceil ceiling trunc sign mod sqrt power pow greatest least nullif if iif ifnull lower upper lcase ucase length len
    strlen char_length character_length substr substring left right concat starts_with ends_with prefix suffix year month day quarter week
    dayofweek dayofyear weekday monthname dayname strftime date make_date"""
)  # fmt: skip
FUNCTIONS = OPERATORS | AGGREGATES | SCALARS
DATE_PARTS = _set("year month day quarter week dow dayofweek isodow doy dayofyear weekday years months days")

SHORT_FLOATS = _set("real float float4")  # of 7 digits, on which no sum can be relied
CASTS = _set(
    """tinyint smallint integer bigint hugeint int int1 int2 int4 int8 short long signed decimal numeric double float8 varchar text string
    char bpchar date boolean bool logical"""
)

# How DuckDB calls the parts of a parse tree.
EXPRESSIONS = _set("COLUMN_REF CONSTANT FUNCTION COMPARISON CONJUNCTION BETWEEN CASE CAST OPERATOR SUBQUERY STAR")
OPERATIONS = _set("OPERATOR_NOT OPERATOR_IS_NULL OPERATOR_IS_NOT_NULL OPERATOR_COALESCE OPERATOR_NULLIF COMPARE_IN COMPARE_NOT_IN")
QUERIES = ("SELECT_NODE", "SET_OPERATION_NODE")  # no set: DuckDB 1 also has objects where a kind stands
PARTS = _set(
    """SELECT_NODE SET_OPERATION_NODE ORDER_MODIFIER LIMIT_MODIFIER DISTINCT_MODIFIER ORDER_DEFAULT ASCENDING DESCENDING BASE_TABLE
    SUBQUERY JOIN EMPTY EXPRESSION_LIST"""
)
JOINS = {"ref_type": _set("REGULAR CROSS NATURAL"), "join_type": _set("INNER LEFT RIGHT OUTER SEMI ANTI")}
