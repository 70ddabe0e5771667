"""Conditions: what a question says of the rows that count, in words and in SQL, and whether a row fulfils it.

condition = draw_condition(table, draws, fewest=1, most=4)
condition.words, condition.sql("c")         # "the city Bremen", c."city" = 'Bremen'
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pydisp.draws import Draws
from pydisp.holobench.database.tables import Column, Table, Value

_WORDS = {
    ("measure", ">"): "{words} above {value}",
    ("measure", "<"): "{words} below {value}",
    ("year", ">"): "{words} after {value}",
    ("year", "<"): "{words} before {value}",
    ("date", ">"): "{words} after {value}",
    ("date", "<"): "{words} before {value}",
}


def quoted(name: str) -> str:
    """A name as SQL has it, whatever its characters."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Value) -> str:
    """A value as SQL has it."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


@dataclass(frozen=True)
class Condition:
    """column operator value; the operator is "=", ">" or "<"."""

    column: Column
    operator: str
    value: Value

    @property
    def words(self) -> str:
        if self.operator == "=":
            return f"the {self.column.words} {self.value}"
        return _WORDS[self.column.role, self.operator].format(words=self.column.words, value=self.value)

    def sql(self, alias: str = "") -> str:
        place = f"{alias}." if alias else ""
        return f"{place}{quoted(self.column.name)} {self.operator} {literal(self.value)}"

    def matches(self, value: Value) -> bool:
        if value is None:
            return False
        if self.operator == "=":
            return value == self.value
        return value > self.value if self.operator == ">" else value < self.value


@dataclass(frozen=True)
class Conditions:
    """One condition, or several that all hold."""

    parts: tuple[Condition, ...]

    @property
    def words(self) -> str:
        return " and ".join(part.words for part in self.parts)

    def sql(self, alias: str = "") -> str:
        return " AND ".join(part.sql(alias) for part in self.parts)

    def rows(self, table: Table) -> list[int]:
        """The numbers of the rows that fulfil all."""
        found = list(range(len(table.rows)))
        for part in self.parts:
            place = table.places[part.column.name]
            found = [number for number in found if part.matches(table.rows[number][place])]
        return found


def without_nulls(table: Table, *roles: str) -> list[Column]:
    """The columns of these roles in which every row has a value."""
    return [column for column in table.columns if column.role in roles and None not in table.values(column.name)]


_ALL_ROLES = ("category", "year", "measure", "date")


def draw_conditions(
    table: Table, draws: Draws, fewest: int, most: int, roles: Sequence[str] = _ALL_ROLES, without: Sequence[Column | None] = ()
) -> Conditions | None:
    """Conditions that `fewest` to `most` rows fulfil; None if no column gives them.

    Half of the time, where more than `most` rows share a value, a second column narrows them down. Else there is one condition.

    Args:
        without: columns that are not asked for.
    """
    broad = [column for column in without_nulls(table, *roles) if column.role == "category" and column not in without]
    if broad and draws.below(2):
        column = draws.choice(broad)
        first = Condition(column, "=", draws.choice(sorted(set(table.values(column.name)))))
        numbers = Conditions((first,)).rows(table)
        if len(numbers) > most:
            second = _condition(table.with_rows(numbers), draws, fewest, most, roles, (*without, column))
            if second is not None:
                return Conditions((first, second))
    one = _condition(table, draws, fewest, most, roles, without)
    return None if one is None else Conditions((one,))


def _condition(table: Table, draws: Draws, fewest: int, most: int, roles, without: Sequence[Column | None]) -> Condition | None:
    """A condition that `fewest` to `most` rows fulfil; a threshold is the value of a row, and that row does not fulfil it."""
    for column in draws.shuffled(one for one in without_nulls(table, *roles) if one not in without):
        counts = Counter(table.values(column.name))
        if column.role == "category" or (column.role == "year" and draws.below(2)):
            choices = sorted(value for value, count in counts.items() if fewest <= count <= most)
            if choices:
                return Condition(column, "=", draws.choice(choices))
        if column.role == "category":
            continue
        operator = draws.choice("><")
        choices, beyond = [], 0
        for value in sorted(counts, reverse=operator == ">"):
            if fewest <= beyond <= most:
                choices.append(value)
            beyond += counts[value]
        if choices:
            return Condition(column, operator, draws.choice(choices))
    return None


def draw_absent(table: Table, everything: Table, draws: Draws) -> Conditions | None:
    """A condition that rows of the whole table fulfil, but none of those shown; None if there is no such value of a category."""
    for column in draws.shuffled(without_nulls(everything, "category")):
        absent = sorted(set(everything.values(column.name)) - set(table.values(column.name)))
        if absent:
            return Conditions((Condition(column, "=", draws.choice(absent)),))
    return _absent_pair(table, everything, draws) or _absent_threshold(table, everything, draws)


def _absent_threshold(table: Table, everything: Table, draws: Draws) -> Conditions | None:
    """Beyond the largest value that is shown, where a larger one is not."""
    for column in draws.shuffled(without_nulls(everything, "measure", "year", "date")):
        beyond = Conditions((Condition(column, ">", max(table.values(column.name))),))
        if beyond.rows(everything):
            return beyond
    return None


def _absent_pair(table: Table, everything: Table, draws: Draws) -> Conditions | None:
    """Where every value is shown: a value and a threshold that no row shown has together."""
    columns = draws.shuffled(without_nulls(everything, "category"))
    measures = draws.shuffled(without_nulls(everything, "measure", "year", "date"))
    for column in columns:
        first = Condition(column, "=", draws.choice(sorted(set(table.values(column.name)))))
        with_it = table.with_rows(Conditions((first,)).rows(table))
        for measure in measures:
            top = max(with_it.values(measure.name))
            both = Conditions((first, Condition(measure, ">", top)))
            if both.rows(everything):
                return both
    return None
