"""Question forms: from a typed schema and the rows that are shown to a question with its SQL, for each class of questions.

    question = ask("group", Topic("orders", "customers"), shown, database, draws)
    question.text, question.sql           # 'For each product, how many orders are there? …', 'SELECT "product", COUNT(*) …'

A form draws its columns, its wording, and constants that make the answer neither trivial nor long. Gold comes from DuckDB (`gold`), never from here.
"""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

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
        summed: the (table, column) whose values a computed number adds up. averaged: how many values an average is of; 1 for a sum.
    """

    text: str
    sql: str
    kind: str
    sources: tuple[tuple[str, str] | None, ...]
    tables: tuple[str, ...]
    summed: tuple[str, str] | None = None
    averaged: int = 1


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
        is_empty: of the classes "filter" and "join", ask for rows that are not there, though the whole database has some.
    """
    names = tables_for(kind, topic, database)
    if not names:
        return None
    table = shown[draws.choice(names)]
    if len(table.rows) < 2 or name_of(table) is None:
        return None
    if is_empty:
        if kind in _JOINS:
            return _absent_join(table, shown[topic.parent], database.table(topic.parent), topic.reference, draws)
        return _absent(table, database.table(table.name), draws)
    if kind in _JOINS:
        return _FORMS[kind](table, shown[topic.parent], topic.reference, draws)
    return _FORMS[kind](table, draws)


def _select(table: Table, what: str, condition: Conditions | None = None) -> str:
    where = f" WHERE {condition.sql()}" if condition else ""
    return f"SELECT {what} FROM {quoted(table.name)}{where}"


def _measure(table: Table, draws: Draws) -> Column | None:
    """A number in which the rows differ: what is 1 in most of them is not worth asking for."""
    found = [one for one in without_nulls(table, "measure") if 2 * max(Counter(table.values(one.name)).values()) <= len(table.rows)]
    return draws.choice(found) if found else None


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
    return _with_condition(table, draw_conditions(table, draws, 1, _few(table)), draws)


def _absent(table: Table, everything: Table, draws: Draws) -> Question | None:
    return _with_condition(table, draw_absent(table, everything, draws), draws)


def _with_condition(table: Table, condition: Conditions | None, draws: Draws) -> Question | None:
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


class _Total(NamedTuple):
    """A sum or an average: what a question calls it, its SQL, and how many values it is an average of (1: a sum)."""

    words: str
    sql: str
    averaged: int


def _total(column: Column, values: list, draws: Draws, alias: str = "") -> _Total:
    """A sum, or an average if its rounding is beyond doubt."""
    name = f"{alias}.{quoted(column.name)}" if alias else quoted(column.name)
    hundredths = Fraction(sum(values)) * 100 / len(values)
    if draws.below(2) or hundredths % 1 == Fraction(1, 2):
        return _Total(_total_words(column), f"SUM({name})", 1)
    return _Total(f"average {column.words}, rounded to two decimals,", f"CAST(ROUND(AVG({name}), 2) AS DECIMAL(18, 2))", len(values))


def _total_words(column: Column) -> str:
    return f"sum of the {column.words}" if column.words.startswith("total") else f"total {column.words}"


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
    total = _total(measure, values, draws)
    of = f"all {table.many}" if condition is None else f"the {table.many} with {condition.words}"
    text = draws.choice((f"What is the {total.words} of {of}?", f"Give the {total.words} of {of}.", f"Find the {total.words} over {of}."))
    sql = _select(table, f"{total.sql} AS result", condition)
    return Question(text, sql, "aggregate", (None,), (table.name,), (table.name, measure.name), total.averaged)


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
    measure = _measure(table, draws)
    if draws.below(2):
        measure = None
    column, condition = _grouping(table, measure, draws)
    if column is None:
        return None
    group = quoted(column.name)
    rows = f"{table.many} with {condition.words}" if condition else table.many
    rest = f" Leave out any {column.words} without such {table.many}." if condition else ""
    where = f" WHERE {condition.sql()}" if condition else ""
    if measure is None:
        text = draws.choice(
            (
                f"For each {column.words}, how many {rows} are there? Give the {column.words} and the number.",
                f"How many {rows} are there of each {column.words}? Give the {column.words} and the number.",
            )
        )
        sql = f"SELECT {group}, COUNT(*) AS number FROM {quoted(table.name)}{where} GROUP BY {group}"
        return Question(text + rest, sql, "group", ((table.name, column.name), None), (table.name,))
    words, function = draws.choice(
        ((f"highest {measure.words}", "MAX"), (f"lowest {measure.words}", "MIN"), (_total_words(measure), "SUM"))
    )
    text = draws.choice(
        (
            f"For each {column.words}, what is the {words} of its {rows}? Give the {column.words} and the {measure.words}.",
            f"What is the {words} of the {rows} of each {column.words}? Give the {column.words} and the {measure.words}.",
        )
    )
    sql = f"SELECT {group}, {function}({quoted(measure.name)}) AS result FROM {quoted(table.name)}{where} GROUP BY {group}"
    place = (table.name, measure.name)
    if function == "SUM":
        return Question(text + rest, sql, "group", ((table.name, column.name), None), (table.name,), place)
    return Question(text + rest, sql, "group", ((table.name, column.name), place), (table.name,))


def _grouping(table: Table, measure: Column | None, draws: Draws) -> tuple[Column | None, Conditions | None]:
    """A category that gives two to MOST_ROWS groups, if need be among the rows that fulfil a condition on something else."""
    column = _groups(table, draws)
    if column is not None:
        return column, None
    for column in draws.shuffled(without_nulls(table, "category")):
        condition = draw_conditions(table, draws, 3, 2 * MOST_ROWS, without=(column, measure))
        if condition is not None and _groups(table.with_rows(condition.rows(table)), draws, only=column) is not None:
            return column, condition
    return None, None


def _groups(table: Table, draws: Draws, only: Column | None = None) -> Column | None:
    """A category with two to MOST_ROWS values, and fewer than there are rows; `only` if it is one."""
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
    """Rows above or below the average; of many rows only those that fulfil a condition on another column too."""
    highest = bool(draws.below(2))
    values = list(table.values(measure.name))
    total = sum(values)
    beyond = [number for number, value in enumerate(values) if (value * len(values) > total if highest else value * len(values) < total)]
    narrow = None
    if not 1 <= len(beyond) <= _few(table):
        narrow = draw_conditions(table.with_rows(beyond), draws, 1, MOST_ROWS, without=(measure,)) if beyond else None
        if narrow is None:
            return None
    word, operator = ("above", ">") if highest else ("below", "<")
    name = name_of(table)
    rows = f"{table.many} with {narrow.words}" if narrow else table.many
    text = draws.choice(
        (
            f"Which {rows} have {measure.words} {word} the average {measure.words} of all {table.many}? "
            f"Give the {_called(table, name)} of each.",
            f"List the {_called(table, name)} of the {rows} with {measure.words} {word} the average of all {table.many}.",
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
    total = _total_words(measure)
    text = draws.choice(
        (
            f"By how much is the {total} of the {table.many} with the {column.words} {first} larger than that of "
            f"the {column.words} {second}?",
            f"What is the {total} of the {table.many} with the {column.words} {first} minus that of the {column.words} {second}?",
        )
    )
    sums = [
        f"(SELECT SUM({quoted(measure.name)}) FROM {quoted(table.name)} WHERE {quoted(column.name)} = {literal(group)})"
        for group in (first, second)
    ]
    sql = f"SELECT {sums[0]} - {sums[1]} AS difference"
    return Question(text, sql, "comparison", (None,), (table.name,), (table.name, measure.name))


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
    if condition is not None:
        return _of_parents(table, parent, reference, condition, None, draws)
    condition = _parent_condition(table, parent, reference, draws, 1, len(table.rows))
    if condition is None:
        return None
    chosen = set(condition.rows(parent))  # every parent has many rows: ask for some of them
    numbers = [place for place, number in enumerate(_joined(table, parent, reference)) if number in chosen]
    narrow = draw_conditions(table.with_rows(numbers), draws, 1, MOST_ROWS)
    return None if narrow is None else _of_parents(table, parent, reference, condition, narrow, draws)


def _absent_join(table: Table, parent: Table, parents: Table, reference: str, draws: Draws) -> Question | None:
    condition = draw_absent(parent, parents, draws)
    return None if condition is None else _of_parents(table, parent, reference, condition, None, draws)


def _of_parents(table: Table, parent: Table, reference: str, condition: Conditions, narrow: Conditions | None, draws: Draws) -> Question:
    """The rows whose parent fulfils a condition, and that fulfil another themselves."""
    name = name_of(table)
    words = _parent_words(table, parent, reference)
    article = "an" if words[0].lower() in "aeiou" else "a"
    text = draws.choice(
        (
            f"Which {table.many} belong to {article} {words} with {condition.words}{f' and have {narrow.words}' if narrow else ''}? "
            f"Give the {_called(table, name)} of each.",
            f"List the {_called(table, name)} of all {table.many} whose {words} has {condition.words}"
            f"{f' and that have {narrow.words}' if narrow else ''}.",
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
    total = _total(measure, values, draws, "a")
    article = "an" if words[0].lower() in "aeiou" else "a"
    text = draws.choice(
        (
            f"What is the {total.words} of the {table.many} whose {words} has {condition.words}?",
            f"Give the {total.words} of all {table.many} that belong to {article} {words} with {condition.words}.",
        )
    )
    sql = f"SELECT {total.sql} AS result {_from_join(table, parent, reference)} WHERE {condition.sql('b')}"
    tables = (table.name, parent.name)
    return Question(text, sql, "join_aggregate", (None,), tables, (table.name, measure.name), total.averaged)


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
                return _counted_by(table, parent, reference, column, narrow, words)
        narrow = draw_conditions(table, draws, 3, 2 * MOST_ROWS)
        if narrow is None:
            return None
    return None


def _counted_by(table: Table, parent: Table, reference: str, column: Column, narrow: Conditions | None, words: str) -> Question:
    rows = f"{table.many} with {narrow.words}" if narrow else table.many
    text = f"For each {column.words} of the {words}, how many {rows} are there? Give the {column.words} and the number."
    text += f" Leave out any {column.words} without such {table.many}."  # a parent without rows may be shown
    group = f"b.{quoted(column.name)}"
    where = f" WHERE {narrow.sql('a')}" if narrow else ""
    sql = f"SELECT {group}, COUNT(*) AS number {_from_join(table, parent, reference)}{where} GROUP BY {group}"
    return Question(text, sql, "join_aggregate", ((parent.name, column.name), None), (table.name, parent.name))


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
