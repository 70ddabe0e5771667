"""Placement: where the relevant lines of a context stand among the others.

    arrange(relevant, filler, "middle", tokens=..., draws=...)

begin, end: all relevant lines first, or last. middle: filler of equal length before and after them. bimodal: half of them first, half last.
uniform: at even distances. shuffled: all lines in random order. Except for shuffled, relevant lines and filler keep their own orders.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from pydisp.draws import Draws
from pydisp.holobench.items import PLACEMENTS

T = TypeVar("T")


def arrange(relevant: Sequence[T], filler: Sequence[T], placement: str, tokens: Callable[[T], int], draws: Draws) -> list[T]:
    """The lines in the order of a context.

    Args:
        tokens: the length of a line; halves are halves of tokens, the first half being the smaller one where they cannot be equal.
    """
    assert placement in PLACEMENTS
    if placement == "shuffled":
        return draws.child("shuffled").shuffled([*relevant, *filler])
    if placement == "begin":
        return [*relevant, *filler]
    if placement == "end":
        return [*filler, *relevant]
    if placement == "middle":
        half = _half(filler, tokens)
        return [*filler[:half], *relevant, *filler[half:]]
    if placement == "bimodal":
        half = _half(relevant, tokens)
        return [*relevant[:half], *filler, *relevant[half:]]
    return _even(relevant, filler)


def _half(lines: Sequence[T], tokens: Callable[[T], int]) -> int:
    """How many of the first lines have at most half of the tokens."""
    counts = [tokens(line) for line in lines]
    total = before = 0
    for place, count in enumerate(counts):
        total += count
        if 2 * total > sum(counts):
            return place
        before = place + 1
    return before


def _even(relevant: Sequence[T], filler: Sequence[T]) -> list[T]:
    """Relevant line number j of r stands at the place (j + 1/2) / r of all lines."""
    count, every = len(relevant), len(relevant) + len(filler)
    places = {(2 * number + 1) * every // (2 * count): line for number, line in enumerate(relevant)}
    rest = iter(filler)
    return [places[place] if place in places else next(rest) for place in range(every)]
