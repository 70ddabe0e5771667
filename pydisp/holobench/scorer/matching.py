"""Matching: which rows of an answer are which rows of the gold, and how well.

Wanted(gold, "group").match([("Rome", "12.50"), ("Oslo", "9")]) -> Matched(exact=1, partial=1, rows=2)

The rules stand in data/SCORING.md, part 6.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from pydisp.holobench.items import Gold
from pydisp.holobench.scorer.readings import Row, label
from pydisp.holobench.scorer.values import compared, is_close, read

ORDERED = ("top_k",)  # the classes of questions whose rows have an order


@dataclass(frozen=True)
class Matched:
    """How many of the answer's rows match a gold row exactly and in part."""

    exact: int
    partial: int
    rows: int

    @property
    def halves(self) -> int:
        """The sum of all labels, in halves."""
        return 2 * self.exact + self.partial


class Wanted:
    """The rows of a gold, ready to be looked up; made once for all readings of an answer."""

    def __init__(self, gold: Gold, kind: str):
        self.kinds = tuple(map(_kind, gold.types, zip(*gold.rows, strict=True)))
        self.labels = tuple(map(label, gold.columns))
        self.is_ordered = kind in ORDERED
        self.rows = [tuple(map(_gold_value, row, self.kinds)) for row in gold.rows]
        self._places = defaultdict(list)
        for place, row in enumerate(self.rows):
            self._places[row].append(place)
        self._columns = [_Column(set(values), kind) for values, kind in zip(zip(*self.rows, strict=True), self.kinds, strict=True)]
        named = [place for place, kind in enumerate(self.kinds) if kind in ("text", "date")]
        self._key = () if len(self.kinds) == 1 else tuple(named) if 0 < len(named) < len(self.kinds) else (0,)
        self._by_key = defaultdict(list)
        if self._key:
            for row in self._places:
                self._by_key[self._key_of(row)].append(row)
        self._read = {}

    def value(self, cell: str | None, place: int):
        """What a cell says in a column, with or without the column's name before it."""
        known = (cell, self.kinds[place])
        if known not in self._read:
            self._read[known] = read(cell, self.kinds[place])
        value = self._read[known]
        if cell and (":" in cell or "=" in cell) and compared(value, self.kinds[place]) not in self._columns[place].values:
            mark = min(cell.find(sign) % (len(cell) + 1) for sign in ":=")
            if label(cell[:mark]) == self.labels[place]:
                return read(cell[mark + 1 :], self.kinds[place])
        return value

    def match(self, rows: list[Row]) -> Matched:
        """The best matching of the rows of one reading."""
        answers = [values for values in map(self._values, rows) if values is not None]
        exact, partial = self._match_in_order(answers) if self.is_ordered else self._match_freely(answers)
        return Matched(exact, partial, len(rows))

    def _values(self, row: Row) -> tuple | None:
        if isinstance(row, int):
            return self.rows[row]
        if len(row) != len(self.kinds):
            return None
        return tuple(self.value(cell, place) for place, cell in enumerate(row))

    def _key_of(self, row: tuple) -> tuple:
        return tuple(row[place] for place in self._key)

    def _compared(self, values: tuple) -> tuple:
        return tuple(map(compared, values, self.kinds))

    def _partial_rows(self, values: tuple, row: tuple) -> set[tuple]:
        """The different gold rows that an answer's row is right about in part; `row`: its values as they are compared."""
        found = set(self._by_key.get(self._key_of(row), ())) if self._key and None not in values else set()
        for place, value in enumerate(values):
            for near in self._columns[place].close(value):
                candidate = (*row[:place], near, *row[place + 1 :])
                if candidate in self._places:
                    found.add(candidate)
        return found

    def _match_freely(self, answers: list[tuple]) -> tuple[int, int]:
        # Exact first loses nothing: equal rows are equal to the same gold rows, and one exact match is worth the two halves it may cost.
        left = Counter({row: len(places) for row, places in self._places.items()})
        rest = []
        for values in answers:
            row = self._compared(values)
            if left[row] > 0:
                left[row] -= 1
            else:
                rest.append((values, row))
        exact = len(answers) - len(rest)
        slots = [row for row, count in left.items() for _ in range(count)]
        if not slots or not rest:
            return exact, 0
        slots_of = defaultdict(list)
        for slot, row in enumerate(slots):
            slots_of[row].append(slot)
        edges = Counter(
            tuple(sorted(slot for near in self._partial_rows(values, row) for slot in slots_of.get(near, ()))) for values, row in rest
        )
        del edges[()]
        # More copies of an answer than there are slots to fill change nothing.
        return exact, _pairs([places for places, count in edges.items() for _ in range(min(count, len(places)))], len(slots))

    def _match_in_order(self, answers: list[tuple]) -> tuple[int, int]:
        """The best matching whose pairs do not cross; of equal sums, that with more exact rows."""
        half = len(self.rows) + 1  # so many exact rows more outweigh no half
        best = [0] * (len(self.rows) + 1)  # best[j]: with the first j gold rows
        for values in answers:
            row = self._compared(values)
            worth = {place: half for near in self._partial_rows(values, row) for place in self._places[near]}
            worth.update((place, 2 * half + 1) for place in self._places.get(row, ()))
            if not worth:
                continue
            after = best.copy()
            for place in range(len(self.rows)):
                taken = best[place] + worth[place] if place in worth else 0
                after[place + 1] = max(after[place + 1], after[place], taken)
            best = after
        halves, exact = divmod(best[-1], half)
        return exact, halves - 2 * exact


class _Column:
    """The different gold values of a column, to find those that a wrong value is close to."""

    def __init__(self, values: set, kind: str):
        self.values, self.kind = values, kind
        self._sorted = sorted(values) if kind == "integer" or kind.startswith("decimal") else []
        self._shortened = defaultdict(set)
        if kind == "text":
            for value in values:
                for short in _shortened(value):
                    self._shortened[short].add(value)
        self._lengths = {len(value) + more for value in values for more in (-1, 0, 1)} if kind == "text" else set()

    def close(self, value) -> Iterable:
        """The gold values that a value is close to but not equal."""
        if value is None or not (self._sorted or self._shortened):
            return ()
        if self.kind == "text":
            # Two texts within one edit have a common text among those with at most one sign less.
            near = {own for short in _shortened(value) for own in self._shortened.get(short, ())} if len(value) in self._lengths else ()
        else:
            near = self._sorted[slice(*self._range(value))]
        return [own for own in near if own != value and is_close(value, own, self.kind)]

    def _range(self, value: Decimal) -> tuple[int, int]:
        """The places of all numbers of which a number is less than 5 % off, and perhaps some more."""
        bounds = sorted((value * 20 / 21, value * 20 / 19))
        return max(0, bisect_left(self._sorted, bounds[0]) - 1), bisect_right(self._sorted, bounds[1]) + 1


def _shortened(text: str) -> set[str]:
    return {text, *(text[:place] + text[place + 1 :] for place in range(len(text)))}


def _kind(kind: str, values: tuple) -> str:
    """The type of a column; keys that are texts are compared as texts that are never close."""
    return "code" if kind == "identifier" and any(isinstance(value, str) for value in values) else kind


def _gold_value(value, kind: str):
    if kind in ("text", "code"):
        return read(str(value), kind) or ""
    return value if kind == "date" else compared(Decimal(str(value)), kind)


def _pairs(edges: list[tuple[int, ...]], slots: int) -> int:
    """The most pairs of an answer and a slot, each used once (augmenting paths, searched in breadth)."""
    holder = [-1] * slots
    pairs = 0
    for answer in range(len(edges)):
        came_from, queue, end = {}, deque([answer]), None
        while queue and end is None:
            current = queue.popleft()
            for slot in edges[current]:
                if slot not in came_from:
                    came_from[slot] = current
                    if holder[slot] < 0:
                        end = slot
                        break
                    queue.append(holder[slot])
        if end is None:
            continue
        pairs += 1
        while True:
            current = came_from[end]
            previous = next((slot for slot in edges[current] if holder[slot] == current), None)
            holder[end] = current
            if current == answer:
                break
            end = previous
        if pairs == slots:
            break
    return pairs
