"""Near misses: wrong answers of the same form and the same number of tokens as the gold answer, for the likelihood form.

A number is missed by other numbers of its format, the gold being the smallest, second, third or largest of the choices equally often, so that
no rule such as "take the larger" finds it. A name is missed by another value of its column, first of the rows that the context shows. Of an answer of
several rows one value is wrong, or two values have changed places.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import islice

from pydisp.holobench.database.tables import Database, Table
from pydisp.holobench.draws import Draws
from pydisp.holobench.items import Gold

CHOICES = 4
_MOST_TRIED = 400  # candidates that are measured before a question is given up
_PAGE = 40

Source = tuple[str, str] | None


def near_misses(
    gold: Gold,
    kind: str,
    sources: Sequence[Source],
    shown: dict[str, Table],
    database: Database,
    tokens_of: Callable[[list[Gold]], list[int]],
    draws: Draws,
) -> list[Gold] | None:
    """Three wrong answers; None if there are not so many of the gold's number of tokens, and for an empty gold.

    Args:
        sources: the (table, column) of each column of the answer, None where it is computed.
        shown: the rows of the context, by table. tokens_of: the tokens of answers as the model would write them.
    """
    if not gold.rows:
        return None
    pools = [_pool(source, shown, database, draws.child("pool", place)) for place, source in enumerate(sources)]
    (wanted,) = tokens_of([gold])
    if gold.is_scalar and _is_number(gold.types[0]):
        return _numbers(gold, pools[0], wanted, tokens_of, draws)
    found: list[Gold] = []
    candidates = _distinct(_changed(gold, kind, pools, draws), gold, kind)
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


def _pool(source: Source, shown: dict[str, Table], database: Database, draws: Draws) -> list:
    """Values of the column as the gold would have them: first those shown, then others of the database, each in random order."""
    if source is None:
        return []
    table, column = source
    near = dict.fromkeys(_plain(value) for value in shown[table].values(column) if value is not None) if table in shown else {}
    everything = list(database.table(table).values(column))
    far = dict.fromkeys(_plain(everything[place]) for place in islice(draws.order(len(everything)), 200) if everything[place] is not None)
    return draws.shuffled(near) + [value for value in far if value not in near]


def _plain(value):
    return float(value) if isinstance(value, Decimal) else value


def _numbers(gold: Gold, pool: list, wanted: int, tokens_of, draws: Draws) -> list[Gold] | None:
    """Three numbers, so many of them below the gold as drawn; any other split if that one cannot be had."""
    value = gold.rows[0][0]
    for below in draws.shuffled(range(CHOICES)):
        sides = []
        for sign, count in ((-1, below), (1, CHOICES - 1 - below)):
            candidates = list(dict.fromkeys(_on_one_side(value, gold.types[0], sign, pool, draws)))
            answers = [replace(gold, rows=((one,),)) for one in candidates]
            fitting = [one for one, tokens in zip(answers, tokens_of(answers), strict=True) if tokens == wanted] if answers else []
            sides.append(fitting[:count] if len(fitting) >= count else None)
        if None not in sides:
            return sides[0] + sides[1]
    return None


def _on_one_side(value: int | float, type_: str, sign: int, pool: list, draws: Draws) -> Iterator[int | float]:
    """Values of the column that lie on this side, then made ones at up to a quarter of the value, or three, from it."""
    yield from islice((other for other in pool if (other - value) * sign > 0), CHOICES)
    for _ in range(6 * CHOICES):
        other = _moved(value, type_, sign * _step(value, type_, draws))
        if (other > 0) == (value > 0) or value == 0:
            yield other


def _digits(type_: str) -> int:
    return int(type_[len("decimal(") : -1]) if type_.startswith("decimal") else 0


def _step(value: int | float, type_: str, draws: Draws) -> int:
    """A distance in units of the last digit."""
    units = abs(int(Decimal(repr(value)).scaleb(_digits(type_))))
    return draws.between(1, max(3, units // 4))


def _moved(value: int | float, type_: str, steps: int) -> int | float:
    digits = _digits(type_)
    moved = Decimal(repr(value)) + Decimal(steps).scaleb(-digits)
    return float(moved) if digits else int(moved)


def _changed(gold: Gold, kind: str, pools: Sequence[list], draws: Draws) -> Iterator[Gold]:
    """Golds with one value replaced or two values in each other's place, the kinds of change taking turns."""
    streams = [_swapped(gold, column, draws.child("swap", column)) for column in range(len(gold.columns))] if len(gold.columns) > 1 else []
    if kind == "top_k":
        streams.append(_reordered(gold, draws.child("order")))
    streams += [_replaced(gold, column, pool, draws.child("replace", column)) for column, pool in enumerate(pools)]
    streams = draws.shuffled(streams)
    while streams:
        for stream in list(streams):
            one = next(stream, None)
            if one is None:
                streams.remove(stream)
            else:
                yield one


def _with(gold: Gold, changes: dict[tuple[int, int], object]) -> Gold:
    rows = [list(row) for row in gold.rows]
    for (row, column), value in changes.items():
        rows[row][column] = value
    return replace(gold, rows=tuple(map(tuple, rows)))


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


def _replaced(gold: Gold, column: int, pool: list, draws: Draws) -> Iterator[Gold]:
    """One row has another value, that no row of the answer has."""
    there = {row[column] for row in gold.rows}
    if not pool and _is_number(gold.types[column]):
        for _ in range(60):
            row = draws.below(len(gold.rows))
            value = gold.rows[row][column]
            other = _moved(value, gold.types[column], draws.choice((-1, 1)) * _step(value, gold.types[column], draws))
            if (other > 0) == (value > 0):
                yield _with(gold, {(row, column): other})
        return
    first = [draws.below(len(gold.rows)) for _ in pool]
    for shift in range(len(gold.rows)):  # a name may have another number of tokens than the first row's
        for value, row in zip(pool, first, strict=True):
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
