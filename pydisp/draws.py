"""Draws: random choices that are the same on every machine and with every version of Python and numpy.

    draws = Draws(seed, "rows", "orders")
    draws.below(6), draws.shuffled(range(10)), draws.child("names").choice(names)

A stream is SHA-256 of its key and a counter, cut into 64-bit numbers. Equal keys give equal streams, others are independent of each other.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


class Draws:
    """One stream.

    Args:
        key: numbers and texts that name it, such as a seed and a purpose.
    """

    def __init__(self, *key: int | str):
        self.key = key
        self._hash = hashlib.sha256(repr(key).encode("utf-8", "surrogatepass"))
        self._count = 0
        self._left: list[int] = []

    def child(self, *key: int | str) -> "Draws":
        """A stream of its own; drawing from it leaves this one as it is."""
        return Draws(*self.key, *key)

    def _next(self) -> int:
        """A number below 2**64."""
        if not self._left:
            block = self._hash.copy()
            block.update(self._count.to_bytes(8, "little"))
            self._count += 1
            digest = block.digest()
            self._left = [int.from_bytes(digest[place : place + 8], "little") for place in (24, 16, 8, 0)]
        return self._left.pop()

    def below(self, limit: int) -> int:
        """A whole number of 0 to limit - 1, each as likely as the others."""
        if not 1 <= limit <= 2**64:
            raise ValueError(f"a number of 0 to {limit - 1} cannot be drawn; the limit must lie between 1 and 2**64.")
        top = 2**64 - 2**64 % limit  # numbers from here on would make the small ones likelier
        while (drawn := self._next()) >= top:
            pass
        return drawn % limit

    def between(self, low: int, high: int) -> int:
        """A whole number of low to high, both included."""
        return low + self.below(high - low + 1)

    def choice(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def shuffled(self, items) -> list:
        """The items in random order."""
        items = list(items)
        for place in range(len(items) - 1, 0, -1):
            other = self.below(place + 1)
            items[place], items[other] = items[other], items[place]
        return items

    def order(self, count: int) -> Iterator[int]:
        """The numbers of 0 to count - 1 in random order, drawn only as far as they are taken."""
        moved: dict[int, int] = {}
        for place in range(count):
            other = place + self.below(count - place)
            yield moved.pop(other, other) if other == place else moved.get(other, other)
            if other != place:
                moved[other] = moved.pop(place, place)

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """Some of the items, none twice, in random order."""
        if count > len(items):
            raise ValueError(f"{count} of {len(items)} items cannot be drawn")
        return [items[place] for place in islice(self.order(len(items)), count)]
