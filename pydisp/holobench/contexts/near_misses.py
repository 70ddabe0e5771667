"""Near misses: wrong answers of the same form and the same number of tokens as the gold answer, for the likelihood form.

A number is missed by numbers of its format, the gold being the smallest, second, third or largest of the choices equally often, so that no rule such as
"take the larger" finds it. A count is missed by a few; a sum or an average by what it would be with another row in the place of one, so that its last
digits say nothing; a highest value by other values of its column. A name is missed by another value of its column, first of the rows that the context shows. Of an
answer of several rows one value is wrong, or two values have changed places; its rows stand in the order that the gold's have.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import NamedTuple

from pydisp.draws import Draws
from pydisp.holobench.contexts.questions import Question
from pydisp.holobench.database.tables import Database, Table
from pydisp.holobench.items import Gold

CHOICES = 4
_MOST_TRIED = 400  # candidates that are measured before a question is given up
_PAGE = 40
_MOVES = 60  # numbers that are tried in the place of one
_FAR = 200  # values of the whole database that are tried


class _Pool(NamedTuple):
    """Values of a column as the gold would have them, in random order: of the rows shown, and of others."""

    near: list
    far: list


def near_misses(
    gold: Gold, question: Question, shown: dict[str, Table], database: Database, tokens_of: Callable[[list[Gold]], list[int]], draws: Draws
) -> list[Gold] | None:
    """Three wrong answers; None if there are not so many of the gold's number of tokens, and for an empty gold.

    Args:
        shown: the rows of the context, by table. tokens_of: the tokens of answers as the model would write them.
    """
    if not gold.rows:
        return None
    pools = [_pool(source, shown, database, draws.child("pool", place)) for place, source in enumerate(question.sources)]
    (wanted,) = tokens_of([gold])
    if gold.is_scalar and _is_number(gold.types[0]):
        return _numbers(gold, _Moves(gold.types[0], question, pools[0], shown), wanted, tokens_of, draws)
    found: list[Gold] = []
    candidates = _distinct(_changed(gold, question, pools, shown, draws), gold, question.kind)
    for _ in range(_MOST_TRIED // _PAGE):
        page = list(islice(candidates, _PAGE))
        if not page:
            return None
        found += [one for one, tokens in zip(page, tokens_of(page), strict=True) if tokens == wanted]
        if len(found) >= CHOICES - 1:
            return found[: CHOICES - 1]
    return None


def _is_number(type_: str) -> bool:
    return type_ in ("integer", "identifier") or type_.startswith("decimal")


def _pool(source: tuple[str, str] | None, shown: dict[str, Table], database: Database, draws: Draws) -> _Pool:
    if source is None:
        return _Pool([], [])
    table, column = source
    near = dict.fromkeys(_plain(value) for value in shown[table].values(column) if value is not None) if table in shown else {}
    everything = list(database.table(table).values(column))
    far = dict.fromkeys(_plain(everything[place]) for place in islice(draws.order(len(everything)), _FAR) if everything[place] is not None)
    return _Pool(draws.shuffled(near), [value for value in far if value not in near])


def _plain(value):
    return float(value) if isinstance(value, Decimal) else value


class _Moves:
    """Numbers that stand in the place of a right one.

    Args:
        type_: of the gold's column. pool: of its column.
    """

    def __init__(self, type_: str, question: Question, pool: _Pool, shown: dict[str, Table]):
        self.type_, self.pool, self.averaged = type_, pool, question.averaged
        self.digits = int(type_[len("decimal(") : -1]) if type_.startswith("decimal") else 0
        if question.summed is not None and question.summed[0] in shown:
            table, column = question.summed
            self.values = [Fraction(value) for value in shown[table].values(column) if value is not None]
            self.unit = Fraction(1, 10 ** shown[table].column(column).decimals)
        else:
            self.values, self.unit = [Fraction(str(value)) for value in pool.near if not isinstance(value, str)], Fraction(1)

    def of(self, value: int | float, draws: Draws) -> Iterator[int | float]:
        """Other numbers with the same sign: natural ones first, then a little more or less."""
        yield from self.natural(value, draws.child("natural"))
        for _ in range(_MOVES):
            moved = self._by_a_little(value, draws)
            if moved != value and (moved > 0) == (value > 0):
                yield moved

    def natural(self, value: int | float, draws: Draws) -> Iterator[int | float]:
        """Those of the column, then what another row in the place of one would make of it."""
        yield from islice((other for other in self.pool.near if other != value), CHOICES)
        for _ in range(_MOVES if len(set(self.values)) > 1 else 0):
            moved = self._by_a_row(value, draws)
            if moved != value and (moved > 0) == (value > 0):
                yield moved

    def _by_a_row(self, value: int | float, draws: Draws) -> int | float:
        first, second = draws.choice(self.values), draws.choice(self.values)
        total = Fraction(str(value)) * self.averaged
        if self.averaged > 1:
            total = round(total / self.unit) * self.unit  # what was rounded in the average
        return self._written((total + second - first) / self.averaged)

    def _by_a_little(self, value: int | float, draws: Draws) -> int | float:
        units = abs(int(Fraction(str(value)) * 10**self.digits))
        step = draws.between(1, max(3, units // 4)) * draws.choice((-1, 1))
        return self._written(Fraction(str(value)) + Fraction(step, 10**self.digits))

    def _written(self, value: Fraction) -> int | float:
        units = int(abs(value) * 10**self.digits + Fraction(1, 2)) * (1 if value >= 0 else -1)  # half away from zero, as the gold
        return float(Decimal(units).scaleb(-self.digits)) if self.digits else units


def _numbers(gold: Gold, moves: _Moves, wanted: int, tokens_of, draws: Draws) -> list[Gold] | None:
    """Three numbers, so many of them below the gold as drawn; any other split if that one cannot be had. Natural ones, if these suffice."""
    value = gold.rows[0][0]
    counts = draws.shuffled(range(CHOICES))
    for source in (moves.natural, moves.of):
        answers = [replace(gold, rows=((one,),)) for one in dict.fromkeys(source(value, draws.child("moves")))]
        fitting = [one for one, tokens in zip(answers, tokens_of(answers), strict=True) if tokens == wanted] if answers else []
        below, above = ([one for one in fitting if (one.rows[0][0] - value) * sign > 0] for sign in (-1, 1))
        for count in counts:
            if len(below) >= count and len(above) >= CHOICES - 1 - count:
                return below[:count] + above[: CHOICES - 1 - count]
    return None


def _changed(gold: Gold, question: Question, pools: Sequence[_Pool], shown: dict[str, Table], draws: Draws) -> Iterator[Gold]:
    """Golds with one value replaced or two values in each other's place, the kinds of change taking turns."""
    streams = [_swapped(gold, column, draws.child("swap", column)) for column in range(len(gold.columns))] if len(gold.columns) > 1 else []
    if question.kind == "top_k":
        streams.append(_reordered(gold, draws.child("order")))
    for column, pool in enumerate(pools):
        stream = draws.child("replace", column)
        if question.sources[column] is None and _is_number(gold.types[column]):
            streams.append(_moved(gold, column, _Moves(gold.types[column], question, pool, shown), stream))
        else:
            streams.append(_replaced(gold, column, pool, stream))
    streams = draws.shuffled(streams)
    while streams:
        for stream in list(streams):
            one = next(stream, None)
            if one is None:
                streams.remove(stream)
            else:
                yield one


def _with(gold: Gold, changes: dict[tuple[int, int], object]) -> Gold:
    """The gold with other cells; sorted again if its rows are."""
    rows = [list(row) for row in gold.rows]
    for (row, column), value in changes.items():
        rows[row][column] = value
    changed = tuple(map(tuple, rows))
    return replace(gold, rows=tuple(sorted(changed)) if list(gold.rows) == sorted(gold.rows) else changed)


def _swapped(gold: Gold, column: int, draws: Draws) -> Iterator[Gold]:
    """Two rows have each other's value of the column."""
    pairs = [(i, j) for j in range(len(gold.rows)) for i in range(j) if gold.rows[i][column] != gold.rows[j][column]]
    for i, j in draws.shuffled(pairs):
        yield _with(gold, {(i, column): gold.rows[j][column], (j, column): gold.rows[i][column]})


def _reordered(gold: Gold, draws: Draws) -> Iterator[Gold]:
    """Two rows have each other's place."""
    pairs = [(i, j) for j in range(len(gold.rows)) for i in range(j)]
    for i, j in draws.shuffled(pairs):
        rows = list(gold.rows)
        rows[i], rows[j] = rows[j], rows[i]
        yield replace(gold, rows=tuple(rows))


def _moved(gold: Gold, column: int, moves: _Moves, draws: Draws) -> Iterator[Gold]:
    """One row has another number."""
    for number in range(_MOVES):
        row = draws.below(len(gold.rows))
        moved = next(moves.of(gold.rows[row][column], draws.child(number)), None)
        if moved is not None:
            yield _with(gold, {(row, column): moved})


def _replaced(gold: Gold, column: int, pool: _Pool, draws: Draws) -> Iterator[Gold]:
    """One row has another value, that no row of the answer has; a value may have as many tokens as that of one row and not of another."""
    there = {row[column] for row in gold.rows}
    for values in pool:
        first = [draws.below(len(gold.rows)) for _ in values]
        for shift in range(len(gold.rows)):
            for value, row in zip(values, first, strict=True):
                if value not in there:
                    yield _with(gold, {((row + shift) % len(gold.rows), column): value})


def _distinct(candidates: Iterator[Gold], gold: Gold, kind: str) -> Iterator[Gold]:
    """Each answer once, and the gold never; in another order an answer is the same, but for a ranking."""

    def key(one: Gold) -> tuple:
        return one.rows if kind == "top_k" else tuple(sorted(one.rows, key=repr))

    seen = {key(gold)}
    for one in candidates:
        if key(one) not in seen:
            seen.add(key(one))
            yield one
