"""Row forms: questions on the rows of one table: filter, count, aggregate, extreme, top_k."""

from pydisp.draws import Draws
from pydisp.holobench.contexts.conditions import Conditions, draw_absent, draw_conditions, quoted, without_nulls
from pydisp.holobench.contexts.phrases import called, measure_of, most_of, select_sql, several_of, total_of
from pydisp.holobench.contexts.questions import Question, name_of
from pydisp.holobench.database.tables import Column, Table


def _listing(draws: Draws, table: Table, condition: Conditions, name: Column) -> str:
    return draws.choice(
        (
            f"Which {table.many} have {condition.words}? Give the {called(table, name)} of each.",
            f"List the {called(table, name)} of all {table.many} with {condition.words}.",
            f"What is the {called(table, name)} of each of the {table.many} that have {condition.words}?",
        )
    )


def ask_filter(table: Table, draws: Draws) -> Question | None:
    """The rows that fulfil a condition."""
    return _with_condition(table, draw_conditions(table, draws, 1, most_of(table)), draws)


def ask_absent(table: Table, everything: Table, draws: Draws) -> Question | None:
    """Rows that are not shown, though the whole table has some: an empty answer."""
    return _with_condition(table, draw_absent(table, everything, draws), draws)


def _with_condition(table: Table, condition: Conditions | None, draws: Draws) -> Question | None:
    if condition is None:
        return None
    name = name_of(table)
    sql = select_sql(table, quoted(name.name), condition)
    return Question(_listing(draws, table, condition, name), sql, "filter", ((table.name, name.name),), (table.name,))


def ask_count(table: Table, draws: Draws) -> Question | None:
    """How many rows fulfil a condition, or how many different values there are."""
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
            return Question(text, select_sql(table, f"COUNT(DISTINCT {quoted(column.name)}) AS number"), "count", (None,), (table.name,))
    condition = draw_conditions(table, draws, several_of(table), len(table.rows) - 1)
    if condition is None:
        return None
    text = draws.choice(
        (
            f"How many {table.many} have {condition.words}?",
            f"What is the number of {table.many} with {condition.words}?",
            f"Count the {table.many} that have {condition.words}.",
        )
    )
    return Question(text, select_sql(table, "COUNT(*) AS number", condition), "count", (None,), (table.name,))


def ask_aggregate(table: Table, draws: Draws) -> Question | None:
    """A sum or an average, of all rows or of those that fulfil a condition."""
    measure = measure_of(table, draws)
    if measure is None:
        return None
    condition = None
    if draws.below(3):
        condition = draw_conditions(table, draws, several_of(table), len(table.rows) - 1, roles=("category", "year", "date"))
    values = list(table.values(measure.name))
    if condition is not None:
        values = [values[number] for number in condition.rows(table)]
    total = total_of(measure, values, draws)
    of = f"all {table.many}" if condition is None else f"the {table.many} with {condition.words}"
    text = draws.choice((f"What is the {total.words} of {of}?", f"Give the {total.words} of {of}.", f"Find the {total.words} over {of}."))
    sql = select_sql(table, f"{total.sql} AS result", condition)
    return Question(text, sql, "aggregate", (None,), (table.name,), (table.name, measure.name), total.averaged)


def ask_extreme(table: Table, draws: Draws) -> Question | None:
    """The highest or lowest value, or the row that has it."""
    measure = measure_of(table, draws)
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
            text,
            select_sql(table, f"{function}({quoted(measure.name)}) AS result"),
            "extreme",
            ((table.name, measure.name),),
            (table.name,),
        )
    if not _is_decided(list(table.values(measure.name)), 1, highest):
        return None
    name = name_of(table)
    text = draws.choice(
        (
            f"Which {table.one} has the {word} {measure.words}? Give its {called(table, name)}.",
            f"What is the {called(table, name)} of the {table.one} with the {word} {measure.words}?",
        )
    )
    sql = f"{select_sql(table, quoted(name.name))} ORDER BY {quoted(measure.name)} {order} LIMIT 1"
    return Question(text, sql, "extreme", ((table.name, name.name),), (table.name,))


def ask_top_k(table: Table, draws: Draws) -> Question | None:
    """The first rows by a number, in order."""
    measure = measure_of(table, draws)
    if measure is None or len(table.rows) < 3:
        return None
    count, highest = draws.between(2, min(5, len(table.rows) - 1)), bool(draws.below(2))
    if not _is_decided(list(table.values(measure.name)), count, highest):
        return None
    word, order = ("highest", "DESC") if highest else ("lowest", "ASC")
    name = name_of(table)
    text = draws.choice(
        (
            f"Which {count} {table.many} have the {word} {measure.words}? Give the {called(table, name)} of each, {word} first.",
            f"List the {called(table, name)} of the {count} {table.many} with the {word} {measure.words}, {word} first.",
        )
    )
    sql = f"{select_sql(table, quoted(name.name))} ORDER BY {quoted(measure.name)} {order} LIMIT {count}"
    return Question(text, sql, "top_k", ((table.name, name.name),), (table.name,))


def _is_decided(values: list, count: int, highest: bool) -> bool:
    """Whether the first `count` values stand in one order and the next one is another."""
    first = sorted(values, reverse=highest)[: count + 1]
    return len(set(first)) == len(first)
