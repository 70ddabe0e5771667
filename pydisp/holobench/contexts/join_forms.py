"""Join forms: questions on the rows of a table by what the rows that they refer to hold: join, join_aggregate."""

from pydisp.draws import Draws
from pydisp.holobench.contexts.conditions import Conditions, draw_absent, draw_conditions, quoted, without_nulls
from pydisp.holobench.contexts.phrases import called, from_join, measure_of, most_of, parent_rows, parent_words, several_of, total_of
from pydisp.holobench.contexts.questions import MOST_ROWS, Question, name_of
from pydisp.holobench.database.tables import Column, Table


def ask_join(table: Table, parent: Table, reference: str, draws: Draws) -> Question | None:
    """The rows whose parent fulfils a condition."""
    condition = _parent_condition(table, parent, reference, draws, 1, most_of(table))
    if condition is not None:
        return _of_parents(table, parent, reference, condition, None, draws)
    condition = _parent_condition(table, parent, reference, draws, 1, len(table.rows))
    if condition is None:
        return None
    chosen = set(condition.rows(parent))  # every parent has many rows: ask for some of them
    numbers = [place for place, number in enumerate(parent_rows(table, parent, reference)) if number in chosen]
    narrow = draw_conditions(table.with_rows(numbers), draws, 1, MOST_ROWS)
    return None if narrow is None else _of_parents(table, parent, reference, condition, narrow, draws)


def ask_absent_join(table: Table, parent: Table, parents: Table, reference: str, draws: Draws) -> Question | None:
    """The rows of parents that are not shown: an empty answer."""
    condition = draw_absent(parent, parents, draws)
    return None if condition is None else _of_parents(table, parent, reference, condition, None, draws)


def _of_parents(table: Table, parent: Table, reference: str, condition: Conditions, narrow: Conditions | None, draws: Draws) -> Question:
    """The rows whose parent fulfils a condition, and that fulfil another themselves."""
    name = name_of(table)
    words = parent_words(table, parent, reference)
    article = "an" if words[0].lower() in "aeiou" else "a"
    text = draws.choice(
        (
            f"Which {table.many} belong to {article} {words} with {condition.words}{f' and have {narrow.words}' if narrow else ''}? "
            f"Give the {called(table, name)} of each.",
            f"List the {called(table, name)} of all {table.many} whose {words} has {condition.words}"
            f"{f' and that have {narrow.words}' if narrow else ''}.",
        )
    )
    where = condition.sql("b") + (f" AND {narrow.sql('a')}" if narrow else "")
    sql = f"SELECT a.{quoted(name.name)} {from_join(table, parent, reference)} WHERE {where}"
    return Question(text, sql, "join", ((table.name, name.name),), (table.name, parent.name))


def ask_join_aggregate(table: Table, parent: Table, reference: str, draws: Draws) -> Question | None:
    """A sum or an average over the rows whose parent fulfils a condition, or how many rows each group of parents has."""
    words = parent_words(table, parent, reference)
    measure = measure_of(table, draws)
    if measure is None or draws.below(3) == 0:
        return _join_group(table, parent, reference, words, draws)
    condition = _parent_condition(table, parent, reference, draws, several_of(table), len(table.rows) - 1)
    if condition is None:
        return None
    chosen = set(condition.rows(parent))
    rows = zip(table.values(measure.name), parent_rows(table, parent, reference), strict=True)
    values = [value for value, number in rows if number in chosen]
    total = total_of(measure, values, draws, "a")
    article = "an" if words[0].lower() in "aeiou" else "a"
    text = draws.choice(
        (
            f"What is the {total.words} of the {table.many} whose {words} has {condition.words}?",
            f"Give the {total.words} of all {table.many} that belong to {article} {words} with {condition.words}.",
        )
    )
    sql = f"SELECT {total.sql} AS result {from_join(table, parent, reference)} WHERE {condition.sql('b')}"
    tables = (table.name, parent.name)
    return Question(text, sql, "join_aggregate", (None,), tables, (table.name, measure.name), total.averaged)


def _join_group(table: Table, parent: Table, reference: str, words: str, draws: Draws) -> Question | None:
    """Rows of the table counted by a category of their parents; of many groups only the rows that fulfil a condition."""
    parents = parent_rows(table, parent, reference)
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
    sql = f"SELECT {group}, COUNT(*) AS number {from_join(table, parent, reference)}{where} GROUP BY {group}"
    return Question(text, sql, "join_aggregate", ((parent.name, column.name), None), (table.name, parent.name))


def _parent_condition(table: Table, parent: Table, reference: str, draws: Draws, fewest: int, most: int) -> Conditions | None:
    """A condition on the parents that so many rows of the table fulfil."""
    parents = parent_rows(table, parent, reference)
    for _ in range(8):
        condition = draw_conditions(parent, draws, 1, max(1, len(parent.rows) - 1))
        if condition is None:
            return None
        chosen = set(condition.rows(parent))
        if fewest <= sum(number in chosen for number in parents) <= most:
            return condition
    return None
