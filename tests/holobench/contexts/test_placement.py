"""Placements: contexts equal those written out by hand."""

import pytest

from pydisp.draws import Draws
from pydisp.holobench.contexts.placement import arrange
from pydisp.holobench.items import PLACEMENTS

RELEVANT, FILLER = ["R1", "R2", "R3", "R4"], ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        ("begin", "R1 R2 R3 R4 a b c d e f"),
        ("end", "a b c d e f R1 R2 R3 R4"),
        ("middle", "a b c R1 R2 R3 R4 d e f"),
        ("bimodal", "R1 R2 a b c d e f R3 R4"),
        ("uniform", "a R1 b R2 c d R3 e R4 f"),
    ],
)
def test_lines_stand_where_the_placement_says(placement, expected):
    assert " ".join(arrange(RELEVANT, FILLER, placement, lambda _: 10, Draws(0))) == expected


def test_halves_are_halves_of_tokens():
    tokens = {"a": 50, "b": 10, "c": 10, "d": 10, "e": 10, "f": 10, "R1": 30, "R2": 10, "R3": 10, "R4": 10}.__getitem__
    assert arrange(RELEVANT, FILLER, "middle", tokens, Draws(0)) == ["a", *RELEVANT, "b", "c", "d", "e", "f"]
    assert arrange(RELEVANT, FILLER, "bimodal", tokens, Draws(0)) == ["R1", *FILLER, "R2", "R3", "R4"]


def test_shuffled_is_a_random_order_of_all_lines():
    orders = {tuple(arrange(RELEVANT, FILLER, "shuffled", lambda _: 1, Draws(seed))) for seed in range(20)}
    assert len(orders) == 20 and all(sorted(order) == sorted(RELEVANT + FILLER) for order in orders)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize(("relevant", "filler"), [(1, 0), (1, 9), (7, 2), (3, 3)])
def test_every_line_stands_once(placement, relevant, filler):
    lines = arrange([("R", n) for n in range(relevant)], [("f", n) for n in range(filler)], placement, lambda line: line[1] + 1, Draws(1))
    assert len(lines) == relevant + filler == len(set(lines))
