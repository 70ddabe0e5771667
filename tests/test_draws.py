"""Draws: the same numbers everywhere, each as likely as the others."""

from collections import Counter

import pytest

from pydisp.draws import Draws


def test_the_first_numbers_of_a_stream_are_these():
    assert [Draws(0, "rows").below(1000) for _ in range(2)] == [Draws(0, "rows").below(1000)] * 2
    draws = Draws(7, "rows", "orders")
    assert [draws.below(10**6) for _ in range(6)] == FIRST
    assert draws.child("x").key == (7, "rows", "orders", "x")


FIRST = [894295, 523939, 778941, 836111, 718721, 750762]


def test_an_order_has_each_number_once_and_each_order_is_as_likely():
    for count in range(6):
        assert sorted(Draws(count).order(count)) == list(range(count))
    seen = Counter(tuple(Draws(seed, "order").order(3)) for seed in range(3000))
    assert len(seen) == 6 and max(abs(count - 500) for count in seen.values()) < 100


def test_shuffled_and_sample_draw_what_they_say():
    draws = Draws(1)
    assert sorted(draws.shuffled(range(20))) == list(range(20))
    sample = draws.sample("abcdefgh", 5)
    assert len(set(sample)) == 5 and set(sample) <= set("abcdefgh")
    with pytest.raises(ValueError, match="3 of 2 items"):
        draws.sample([1, 2], 3)
    with pytest.raises(ValueError, match="cannot be drawn"):
        draws.below(0)
    assert {draws.between(3, 5) for _ in range(100)} == {3, 4, 5}


def test_streams_of_other_keys_differ_and_a_child_leaves_its_parent_alone():
    first, second = Draws(0, "a"), Draws(0, "a")
    first.child("b").below(9)
    assert [first.below(10**9) for _ in range(4)] == [second.below(10**9) for _ in range(4)]
    assert Draws(0, "a").below(10**9) != Draws(0, "b").below(10**9) != Draws("0", "b").below(10**9)


@pytest.mark.parametrize("limit", [0, -1, 2**64 + 1, 10**30])
def test_a_limit_that_cannot_be_drawn_is_refused(limit):
    assert 0 <= Draws(0).below(2**64) < 2**64
    with pytest.raises(ValueError, match="between 1 and 2"):
        Draws(0).below(limit)
