"""Null spans: what fits, what is relaxed, and that they are drawn from one seed."""

from dataclasses import replace

import numpy as np
import pytest
from attention_cases import tokens_of

from pydisp.legal_probe.null_spans import FEWEST, MATCHES, null_spans
from pydisp.legal_probe.passages import Passage


def spans_of(tokens, most=200, seed=0, can_receive=None):
    usable = ~tokens.is_excluded if can_receive is None else can_receive
    return null_spans(tokens, tokens.spans[0], usable, np.random.default_rng(seed), most)


def tenth(first, stop, length):
    return int((first + stop) / 2 / length * 10)


def test_a_long_text_has_spans_of_the_same_length_tenth_and_excluded_tokens():
    tokens = tokens_of(1000, [(310, 316)], excluded=(0, *range(5, 1000, 7)))
    found = spans_of(tokens)
    assert found.match == 0 and len(found) >= FEWEST
    own = tokens.is_excluded[310:316].sum()
    for first, stop in zip(found.first, found.stop, strict=True):
        assert stop - first == 6 and tenth(first, stop, 1000) == 3 and tokens.is_excluded[first:stop].sum() == own
    assert (310, 316) not in set(zip(found.first.tolist(), found.stop.tolist(), strict=True))
    by_hand = [
        first for first in range(1, 995) if first != 310 and tenth(first, first + 6, 1000) == 3 and tokens.is_excluded[first : first + 6].sum() == own
    ]  # fmt: skip
    assert found.first.tolist() == by_hand


@pytest.mark.parametrize(("length", "span", "excluded", "match"), [(100, (40, 48), (0,), 1), (60, (30, 32), (0,), 3), (60, (30, 34), (0, 30, 32), 3)])  # fmt: skip
def test_the_match_is_relaxed_in_order_when_fewer_than_20_fit(length, span, excluded, match):
    tokens = tokens_of(length, [span], excluded)
    found = spans_of(tokens)
    assert found.match == match and MATCHES[match]
    own = span[1] - span[0]
    assert (abs(found.stop - found.first - own) <= own // 4).all()
    tenths = {abs(tenth(first, stop, length) - tenth(*span, length)) for first, stop in zip(found.first, found.stop, strict=True)}
    assert max(tenths) == (0 if match == 1 else 1)


def test_as_many_as_there_are_if_there_are_fewer_than_asked_for():
    few = spans_of(tokens_of(12, [(3, 5)]))
    assert 0 < len(few) < FEWEST and few.match == 3
    assert set(zip(few.first.tolist(), few.stop.tolist(), strict=True)) == {(2, 4), (4, 6)}


def test_at_most_as_many_as_asked_for_the_same_for_a_seed():
    tokens = tokens_of(2000, [(500, 506)])
    one, same, other = (spans_of(tokens, 50, seed) for seed in (1, 1, 2))
    assert len(one) == 50 == len(set(one.first.tolist()))
    assert np.array_equal(one.first, same.first) and not np.array_equal(one.first, other.first)


def test_special_tokens_at_the_ends_and_spans_that_receive_nothing_are_no_null_spans():
    tokens = tokens_of(40, [(10, 12)])
    tokens.starts[[0, 39]] = tokens.ends[[0, 39]] = 0  # as tokenizers write the special tokens around a text
    found = spans_of(tokens)
    assert found.first.min() >= 1 and found.stop.max() <= 39
    can_receive = np.zeros(40, dtype=bool)
    can_receive[10:14] = True
    found = spans_of(tokens, can_receive=can_receive)
    assert len(found) and all(can_receive[first:stop].any() for first, stop in zip(found.first, found.stop, strict=True))


@pytest.mark.parametrize(("span", "begins", "ends"), [((40, 43), True, True), ((41, 43), False, True), ((40, 42), True, False)])
def test_null_spans_begin_and_end_with_words_where_the_span_does(span, begins, ends):
    text = "abc de " * 14  # a token a character; the span begins or ends with the letters of abc or inside them
    shift = text.index("abc", 35) - 40
    first, stop = span[0] + shift, span[1] + shift
    tokens = replace(tokens_of(len(text), [(first, stop)]), passage=Passage("p", text, ()))
    found = spans_of(tokens)
    inside = [
        [0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum() for place in places]
        for places in (found.first, found.stop)
    ]
    assert len(found) and (not any(inside[0])) == begins and (not any(inside[1])) == ends


def test_spans_of_up_to_three_tokens_are_compared_with_their_own_length():
    for own in (1, 2, 3):
        found = spans_of(tokens_of(80, [(40, 40 + own)]))
        assert len(found) and (found.stop - found.first == own).all()


def test_a_text_that_is_the_span_has_no_null_span():
    whole = tokens_of(1, [(0, 1)], excluded=())
    assert len(spans_of(whole)) == 0
