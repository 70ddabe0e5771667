"""Group forms: questions on groups of rows, and on rows or groups against others: group, comparison."""

from collections import Counter

from pydisp.draws import Draws
from pydisp.holobench.contexts.conditions import Conditions, draw_conditions, literal, quoted, without_nulls
from pydisp.holobench.contexts.phrases import called, measure_of, most_of, select_sql, total_words
from pydisp.holobench.contexts.questions import MOST_ROWS, Question, name_of
from pydisp.holobench.database.tables import Column, Table


def ask_group(table: Table, draws: Draws) -> Question | None:
    """A number for each value of a category: how many rows, or their highest, lowest or total value."""
    measure = measure_of(table, draws)
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
    words, function = draws.choice(((f"highest {measure.words}", "MAX"), (f"lowest {measure.words}", "MIN"), (total_words(measure), "SUM")))
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


def ask_comparison(table: Table, draws: Draws) -> Question | None:
    """One group against another, or rows against the average."""
    measure = measure_of(table, draws)
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
    if any(value * len(values) == total for value in values):  # neither above nor below, but DuckDB's average is a floating-point number
        return None
    narrow = None
    if not 1 <= len(beyond) <= most_of(table):
        narrow = draw_conditions(table.with_rows(beyond), draws, 1, MOST_ROWS, without=(measure,)) if beyond else None
        if narrow is None:
            return None
    word, operator = ("above", ">") if highest else ("below", "<")
    name = name_of(table)
    rows = f"{table.many} with {narrow.words}" if narrow else table.many
    text = draws.choice(
        (
            f"Which {rows} have {measure.words} {word} the average {measure.words} of all {table.many}? "
            f"Give the {called(table, name)} of each.",
            f"List the {called(table, name)} of the {rows} with {measure.words} {word} the average of all {table.many}.",
        )
    )
    average = f"(SELECT AVG({quoted(measure.name)}) FROM {quoted(table.name)})"
    also = f" AND {narrow.sql()}" if narrow else ""
    sql = f"{select_sql(table, quoted(name.name))} WHERE {quoted(measure.name)} {operator} {average}{also}"
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
    total = total_words(measure)
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
