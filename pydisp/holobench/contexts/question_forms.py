"""Question forms: from a typed schema and the rows that are shown to a question with its SQL, for each class of questions.

    question = ask("group", Topic("orders", "customers"), shown, database, draws)
    question.text, question.sql           # 'For each product, how many orders are there? …', 'SELECT "product", COUNT(*) …'

A form draws its columns, its wording, and constants that make the answer neither trivial nor long. Gold comes from DuckDB (`gold`), never from here.
"""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from pydisp.holobench.contexts.conditions import Conditions, draw_absent, draw_conditions, literal, quoted, without_nulls
from pydisp.holobench.database.tables import Column, Database, Table
from pydisp.holobench.draws import Draws

MOST_ROWS = 8  # rows of an answer: more would ask for patience, not for reading
_JOINS = ("join", "join_aggregate")


@dataclass(frozen=True)
class Topic:
    """The tables that the questions of a context may touch.

    Args:
        table: whose rows are asked about. parent: the table that it refers to, for joins; or None. reference: the column that refers.
    """

    table: str
    parent: str | None = None
    reference: str | None = None

    @property
    def tables(self) -> tuple[str, ...]:
        return (self.table,) if self.parent is None else (self.table, self.parent)


@dataclass(frozen=True)
class Question:
    """A question with its SQL.

    Args:
        sources: of each column of the answer its (table, column), from which near misses are drawn; None for a number that is computed.
        tables: those that the SQL touches.
    """

    text: str
    sql: str
    kind: str
    sources: tuple[tuple[str, str] | None, ...]
    tables: tuple[str, ...]


def tables_for(kind: str, topic: Topic, database: Database) -> list[str]:
    """The tables of a topic whose rows a question of a class can be about; none if the topic does not suit the class."""
    if kind in _JOINS:
        return [topic.table] if topic in topics(database, kind) else []
    return [name for name in topic.tables if Topic(name) in topics(database, kind)]


@lru_cache(maxsize=256)  # it reads every row
def topics(database: Database, kind: str) -> tuple[Topic, ...]:
    """Every topic on which a class of questions can be asked, by the roles of the columns."""
    found = []
    for table in database.tables:
        if not table.rows or name_of(table) is None:
            continue
        single = Topic(table.name)
        if kind not in _JOINS:
            found += [single] if _suits(kind, table) else []
            continue
        for reference in table.references:
            parent = database.table(reference.table)
            can_be_asked = parent.name != table.name and parent.rows and without_nulls(parent, "category", "year", "measure", "date")
            if can_be_asked and (kind == "join" or without_nulls(table, "measure") or without_nulls(parent, "category")):
                found.append(Topic(table.name, parent.name, reference.column))
    return tuple(found)


def name_of(table: Table) -> Column | None:
    """The column by which an answer names a row: its label, if no two rows share one, else its key."""
    for role in ("label", "key"):
        for column in without_nulls(table, role):
            values = list(table.values(column.name))
            if len(set(values)) == len(values):
                return column
    return None


def _called(table: Table, name: Column) -> str:
    """What a question calls the column that names a row: "name" where it would be "the customer of each customer"."""
    return "name" if name.words in (table.one, table.many) and name.kind == "text" else name.words


def _parent_words(table: Table, parent: Table, reference: str) -> str:
    """What a question calls the row that is referred to: a train; but the home club where a match has a guest too."""
    is_only = sum(one.table == parent.name for one in table.references) == 1
    return parent.one if is_only else table.column(reference).words


def _suits(kind: str, table: Table) -> bool:
    has_category, has_measure = bool(without_nulls(table, "category")), bool(without_nulls(table, "measure"))
    if kind in ("filter", "count"):
        return has_category or has_measure
    return has_category if kind == "group" else has_measure


def ask(kind: str, topic: Topic, shown: dict[str, Table], database: Database, draws: Draws, *, is_empty: bool = False) -> Question | None:
    """One question of a class on the rows shown; None if these rows give no answer that is worth asking for.

    Args:
        shown: the rows of the topic's tables that the context has, by the table's name.
        is_empty: of the class "filter", ask for rows that are not there, though the whole database has some.
    """
    names = tables_for(kind, topic, database)
    if not names:
        return None
    table = shown[draws.choice(names)]
    if len(table.rows) < 2 or name_of(table) is None:
        return None
    if is_empty:
        return _absent(table, database.table(table.name), draws)
    if kind in _JOINS:
        return _FORMS[kind](table, shown[topic.parent], topic.reference, draws)
    return _FORMS[kind](table, draws)


def _select(table: Table, what: str, condition: Conditions | None = None) -> str:
    where = f" WHERE {condition.sql()}" if condition else ""
    return f"SELECT {what} FROM {quoted(table.name)}{where}"


def _measure(table: Table, draws: Draws) -> Column | None:
    measures = without_nulls(table, "measure")
    return draws.choice(measures) if measures else None


def _few(table: Table) -> int:
    """How many rows an answer may have: not all of them."""
    return min(MOST_ROWS, len(table.rows) - 1)


def _several(table: Table) -> int:
    """How many rows are to be counted or summed at least."""
    return 2 if len(table.rows) > 3 else 1


def _listing(draws: Draws, table: Table, condition: Conditions, name: Column) -> str:
    return draws.choice(
        (
            f"Which {table.many} have {condition.words}? Give the {_called(table, name)} of each.",
            f"List the {_called(table, name)} of all {table.many} with {condition.words}.",
            f"What is the {_called(table, name)} of each of the {table.many} that have {condition.words}?",
        )
    )


def _filter(table: Table, draws: Draws) -> Question | None:
    condition = draw_conditions(table, draws, 1, _few(table))
    if condition is None:
        return None
    name = name_of(table)
    sql = _select(table, quoted(name.name), condition)
    return Question(_listing(draws, table, condition, name), sql, "filter", ((table.name, name.name),), (table.name,))


def _absent(table: Table, everything: Table, draws: Draws) -> Question | None:
    condition = draw_absent(table, everything, draws)
    if condition is None:
        return None
    name = name_of(table)
    sql = _select(table, quoted(name.name), condition)
    return Question(_listing(draws, table, condition, name), sql, "filter", ((table.name, name.name),), (table.name,))


def _count(table: Table, draws: Draws) -> Question | None:
    categories = without_nulls(table, "category")
    if categories and draws.below(4) == 0:
        column = draws.choice(categories)
        different = len(set(table.values(column.name)))
        if 1 < different < len(table.rows):
            text = draws.choice(
                (
                    f"How many different values does the {column.words} have among the {table.many}?",
                    f"Among all {table.many}, how many distinct values of {column.words} are there?",
                )
            )
            return Question(text, _select(table, f"COUNT(DISTINCT {quoted(column.name)}) AS number"), "count", (None,), (table.name,))
    condition = draw_conditions(table, draws, _several(table), len(table.rows) - 1)
    if condition is None:
        return None
    text = draws.choice(
        (
            f"How many {table.many} have {condition.words}?",
            f"What is the number of {table.many} with {condition.words}?",
            f"Count the {table.many} that have {condition.words}.",
        )
    )
    return Question(text, _select(table, "COUNT(*) AS number", condition), "count", (None,), (table.name,))


def _total(column: Column, values: list, draws: Draws, alias: str = "") -> tuple[str, str]:
    """(words, SQL) of a sum, or of an average if its rounding is beyond doubt."""
    name = f"{alias}.{quoted(column.name)}" if alias else quoted(column.name)
    hundredths = Fraction(sum(values)) * 100 / len(values)
    if draws.below(2) or hundredths % 1 == Fraction(1, 2):
        return f"total {column.words}", f"SUM({name})"
    return f"average {column.words}, rounded to two decimals,", f"CAST(ROUND(AVG({name}), 2) AS DECIMAL(18, 2))"


def _aggregate(table: Table, draws: Draws) -> Question | None:
    measure = _measure(table, draws)
    if measure is None:
        return None
    condition = None
    if draws.below(3):
        condition = draw_conditions(table, draws, _several(table), len(table.rows) - 1, roles=("category", "year", "date"))
    values = list(table.values(measure.name))
    if condition is not None:
        values = [values[number] for number in condition.rows(table)]
    words, sql = _total(measure, values, draws)
    of = f"all {table.many}" if condition is None else f"the {table.many} with {condition.words}"
    text = draws.choice((f"What is the {words} of {of}?", f"Give the {words} of {of}.", f"Find the {words} over {of}."))
    return Question(text, _select(table, f"{sql} AS result", condition), "aggregate", (None,), (table.name,))


def _extreme(table: Table, draws: Draws) -> Question | None:
    measure = _measure(table, draws)
    if measure is None:
        return None
    highest = bool(draws.below(2))
    word, function, order = ("highest", "MAX", "DESC") if highest else ("lowest", "MIN", "ASC")
    if draws.below(2):
        text = draws.choice(
            (
                f"What is the {word} {measure.words} of the {table.many}?",
                f"Give the {word} {measure.words} among all {table.many}.",
            )
        )
        return Question(
            text, _select(table, f"{function}({quoted(measure.name)}) AS result"), "extreme", ((table.name, measure.name),), (table.name,)
        )
    if not _is_decided(list(table.values(measure.name)), 1, highest):
        return None
    name = name_of(table)
    text = draws.choice(
        (
            f"Which {table.one} has the {word} {measure.words}? Give its {_called(table, name)}.",
            f"What is the {_called(table, name)} of the {table.one} with the {word} {measure.words}?",
        )
    )
    sql = f"{_select(table, quoted(name.name))} ORDER BY {quoted(measure.name)} {order} LIMIT 1"
    return Question(text, sql, "extreme", ((table.name, name.name),), (table.name,))


def _is_decided(values: list, count: int, highest: bool) -> bool:
    """Whether the first `count` values stand in one order and the next one is another."""
    first = sorted(values, reverse=highest)[: count + 1]
    return len(set(first)) == len(first)


def _top_k(table: Table, draws: Draws) -> Question | None:
    measure = _measure(table, draws)
    if measure is None or len(table.rows) < 3:
        return None
    count, highest = draws.between(2, min(5, len(table.rows) - 1)), bool(draws.below(2))
    if not _is_decided(list(table.values(measure.name)), count, highest):
        return None
    word, order = ("highest", "DESC") if highest else ("lowest", "ASC")
    name = name_of(table)
    text = draws.choice(
        (
            f"Which {count} {table.many} have the {word} {measure.words}? Give the {_called(table, name)} of each, {word} first.",
            f"List the {_called(table, name)} of the {count} {table.many} with the {word} {measure.words}, {word} first.",
        )
    )
    sql = f"{_select(table, quoted(name.name))} ORDER BY {quoted(measure.name)} {order} LIMIT {count}"
    return Question(text, sql, "top_k", ((table.name, name.name),), (table.name,))


def _group(table: Table, draws: Draws) -> Question | None:
    column, condition = _grouping(table, draws)
    if column is None:
        return None
    measure = _measure(table, draws)
    group = quoted(column.name)
    rows = f"{table.many} with {condition.words}" if condition else table.many
    where = f" WHERE {condition.sql()}" if condition else ""
    if measure is None or draws.below(2):
        text = draws.choice(
            (
                f"For each {column.words}, how many {rows} are there? Give the {column.words} and the number.",
                f"How many {rows} are there of each {column.words}? Give the {column.words} and the number.",
            )
        )
        sql = f"SELECT {group}, COUNT(*) AS number FROM {quoted(table.name)}{where} GROUP BY {group}"
    else:
        words, function = draws.choice((("highest", "MAX"), ("lowest", "MIN"), ("total", "SUM")))
        text = draws.choice(
            (
                f"For each {column.words}, what is the {words} {measure.words} of its {rows}? Give the {column.words} and the {measure.words}.",
                f"Give each {column.words} with the {words} {measure.words} of its {rows}.",
            )
        )
        sql = f"SELECT {group}, {function}({quoted(measure.name)}) AS result FROM {quoted(table.name)}{where} GROUP BY {group}"
    return Question(text, sql, "group", ((table.name, column.name), None), (table.name,))


def _grouping(table: Table, draws: Draws) -> tuple[Column | None, Conditions | None]:
    """A category that gives two to MOST_ROWS groups, if need be among the rows that fulfil a condition."""
    column = _groups(table, draws)
    if column is not None:
        return column, None
    for column in draws.shuffled(without_nulls(table, "category")):
        condition = draw_conditions(table, draws, 3, 2 * MOST_ROWS, roles=("measure", "year", "date"))
        if condition is not None and _groups(table.with_rows(condition.rows(table)), draws, only=column) is not None:
            return column, condition
    return None, None


def _groups(table: Table, draws: Draws, only: Column | None = None) -> Column | None:
    """A category with two to MOST_ROWS values of which one stands in several rows."""
    for column in draws.shuffled(without_nulls(table, "category")) if only is None else [only]:
        if 2 <= len(set(table.values(column.name))) <= min(MOST_ROWS, len(table.rows) - 1):
            return column
    return None


def _comparison(table: Table, draws: Draws) -> Question | None:
    measure = _measure(table, draws)
    if measure is None:
        return None
    categories = without_nulls(table, "category")
    if categories and draws.below(2) and (question := _difference(table, measure, draws.choice(categories), draws)) is not None:
        return question
    return _beyond_average(table, measure, draws)


def _beyond_average(table: Table, measure: Column, draws: Draws) -> Question | None:
    """Rows above or below the average; of many rows only those that fulfil a condition too."""
    highest = bool(draws.below(2))
    values = list(table.values(measure.name))
    total = sum(values)
    beyond = [number for number, value in enumerate(values) if (value * len(values) > total if highest else value * len(values) < total)]
    narrow = None
    if not 1 <= len(beyond) <= _few(table):
        narrow = draw_conditions(table.with_rows(beyond), draws, 1, MOST_ROWS) if beyond else None
        if narrow is None:
            return None
    word, operator = ("above", ">") if highest else ("below", "<")
    name = name_of(table)
    rows = f"{table.many} with {narrow.words}" if narrow else table.many
    text = draws.choice(
        (
            f"Which {rows} have {measure.words} {word} the average {measure.words} of all {table.many}? Give the {_called(table, name)} of each.",
            f"List the {_called(table, name)} of the {rows} whose {measure.words} is {word} the average of all {table.many}.",
        )
    )
    average = f"(SELECT AVG({quoted(measure.name)}) FROM {quoted(table.name)})"
    also = f" AND {narrow.sql()}" if narrow else ""
    sql = f"{_select(table, quoted(name.name))} WHERE {quoted(measure.name)} {operator} {average}{also}"
    return Question(text, sql, "comparison", ((table.name, name.name),), (table.name,))


def _difference(table: Table, measure: Column, column: Column, draws: Draws) -> Question | None:
    """How much larger one group's total is than another's."""
    totals: Counter = Counter()
    for group, value in zip(table.values(column.name), table.values(measure.name), strict=True):
        totals[group] += value
    if len(totals) < 2:
        return None
    first, second = draws.sample(sorted(totals), 2)
    if totals[first] == totals[second]:
        return None
    if totals[first] < totals[second]:
        first, second = second, first
    text = draws.choice(
        (
            f"By how much is the total {measure.words} of the {table.many} with the {column.words} {first} larger than that of "
            f"the {column.words} {second}?",
            f"What is the total {measure.words} of the {table.many} with the {column.words} {first} minus that of the {column.words} {second}?",
        )
    )
    sums = [
        f"(SELECT SUM({quoted(measure.name)}) FROM {quoted(table.name)} WHERE {quoted(column.name)} = {literal(group)})"
        for group in (first, second)
    ]
    return Question(text, f"SELECT {sums[0]} - {sums[1]} AS difference", "comparison", (None,), (table.name,))


def _joined(table: Table, parent: Table, reference: str) -> list[int | None]:
    """Of each row of the table the number of its parent's row that is shown."""
    target = next(one.target for one in table.references if one.column == reference)
    rows = {value: number for number, value in enumerate(parent.values(target))}
    return [rows.get(value) for value in table.values(reference)]


def _from_join(table: Table, parent: Table, reference: str) -> str:
    target = next(one.target for one in table.references if one.column == reference)
    return f"FROM {quoted(table.name)} AS a JOIN {quoted(parent.name)} AS b ON a.{quoted(reference)} = b.{quoted(target)}"


def _parent_condition(table: Table, parent: Table, reference: str, draws: Draws, fewest: int, most: int) -> Conditions | None:
    """A condition on the parents that so many rows of the table fulfil."""
    parents = _joined(table, parent, reference)
    for _ in range(8):
        condition = draw_conditions(parent, draws, 1, max(1, len(parent.rows) - 1))
        if condition is None:
            return None
        chosen = set(condition.rows(parent))
        if fewest <= sum(number in chosen for number in parents) <= most:
            return condition
    return None


def _join(table: Table, parent: Table, reference: str, draws: Draws) -> Question | None:
    condition = _parent_condition(table, parent, reference, draws, 1, _few(table))
    narrow = None
    if condition is None:  # every parent has many rows: ask for some of them
        condition = _parent_condition(table, parent, reference, draws, 1, len(table.rows))
        if condition is None:
            return None
        chosen = set(condition.rows(parent))
        numbers = [place for place, number in enumerate(_joined(table, parent, reference)) if number in chosen]
        narrow = draw_conditions(table.with_rows(numbers), draws, 1, MOST_ROWS)
        if narrow is None:
            return None
    name = name_of(table)
    words = _parent_words(table, parent, reference)
    also = f" and that have {narrow.words}" if narrow else ""
    text = draws.choice(
        (
            f"Which {table.many} belong to a {words} with {condition.words}{also.replace(' and that', ' and')}? Give the {_called(table, name)} of each.",
            f"List the {_called(table, name)} of all {table.many} whose {words} has {condition.words}{also}.",
        )
    )
    where = condition.sql("b") + (f" AND {narrow.sql('a')}" if narrow else "")
    sql = f"SELECT a.{quoted(name.name)} {_from_join(table, parent, reference)} WHERE {where}"
    return Question(text, sql, "join", ((table.name, name.name),), (table.name, parent.name))


def _join_aggregate(table: Table, parent: Table, reference: str, draws: Draws) -> Question | None:
    words = _parent_words(table, parent, reference)
    measure = _measure(table, draws)
    if measure is None or draws.below(3) == 0:
        return _join_group(table, parent, reference, words, draws)
    condition = _parent_condition(table, parent, reference, draws, _several(table), len(table.rows) - 1)
    if condition is None:
        return None
    chosen = set(condition.rows(parent))
    rows = zip(table.values(measure.name), _joined(table, parent, reference), strict=True)
    values = [value for value, number in rows if number in chosen]
    total, function = _total(measure, values, draws, "a")
    text = draws.choice(
        (
            f"What is the {total} of the {table.many} whose {words} has {condition.words}?",
            f"Give the {total} of all {table.many} that belong to a {words} with {condition.words}.",
        )
    )
    sql = f"SELECT {function} AS result {_from_join(table, parent, reference)} WHERE {condition.sql('b')}"
    return Question(text, sql, "join_aggregate", (None,), (table.name, parent.name))


def _join_group(table: Table, parent: Table, reference: str, words: str, draws: Draws) -> Question | None:
    """Rows of the table counted by a category of their parents; of many groups only the rows that fulfil a condition."""
    parents = _joined(table, parent, reference)
    narrow = None
    for _ in range(4):
        numbers = range(len(table.rows)) if narrow is None else narrow.rows(table)
        for column in draws.shuffled(without_nulls(parent, "category")):
            values = list(parent.values(column.name))
            groups = {values[parents[number]] for number in numbers if parents[number] is not None}
            if 2 <= len(groups) <= MOST_ROWS and len(groups) < len(numbers):
                rows = f"{table.many} with {narrow.words}" if narrow else table.many
                where = f" WHERE {narrow.sql('a')}" if narrow else ""
                text = f"For each {column.words} of the {words}, how many {rows} are there? Give the {column.words} and the number."
                group = f"b.{quoted(column.name)}"
                sql = f"SELECT {group}, COUNT(*) AS number {_from_join(table, parent, reference)}{where} GROUP BY {group}"
                return Question(text, sql, "join_aggregate", ((parent.name, column.name), None), (table.name, parent.name))
        narrow = draw_conditions(table, draws, 3, 2 * MOST_ROWS)
        if narrow is None:
            return None
    return None


_FORMS = {
    "filter": _filter,
    "count": _count,
    "aggregate": _aggregate,
    "extreme": _extreme,
    "group": _group,
    "comparison": _comparison,
    "top_k": _top_k,
    "join": _join,
    "join_aggregate": _join_aggregate,
}
