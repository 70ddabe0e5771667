"""Null spans: random spans of the same passage that are like a concept's span, to say how much attention such a span receives by chance.

A span that stands in for another has its length, its place in the passage (by tenths) and its share of excluded tokens; it begins with a word and
ends with one if the other does, for the first and the last token of a word receive unlike amounts. Where fewer than
20 fit, the match is relaxed, in this order: a length within a quarter and about the share of excluded tokens (within a tenth), a neighbouring
tenth, any share of excluded tokens.

Spans that overlap the concept's own are among them. Attention sits on single tokens: were the overlapping ones left out, no null span could
hold the token that the concept's span happens to hold, and spans drawn at random would seem special far too often.
"""

# T tokens, M null spans

from dataclasses import dataclass

import numpy as np

from pydisp.legal_probe.passage_tokens import PassageTokens, TokenSpan

MATCHES = (
    "length, tenth of the passage, excluded tokens",
    "length within a quarter, about the share of excluded tokens",
    "and a neighbouring tenth",
    "and any share of excluded tokens",
)
FEWEST, MOST = 20, 200
_LENGTH_REACH = 0.25
_SHARE_REACH = 0.1  # shares of excluded tokens that count as alike where lengths differ


@dataclass(frozen=True, eq=False)
class NullSpans:
    """Spans of tokens, first to stop.

    Args:
        first, stop: (M,) int64; none is the concept's own span.
        match: how alike they are, a number of MATCHES.
    """

    first: np.ndarray
    stop: np.ndarray
    match: int

    def __len__(self) -> int:
        return len(self.first)


def null_spans(
    tokens: PassageTokens, span: TokenSpan, can_receive: np.ndarray, generator: np.random.Generator, most: int = MOST
) -> NullSpans:
    """The null spans of one span: `most` drawn without replacement, or all where there are fewer.

    Args:
        can_receive: (T,) bool, the tokens that count and that a counted query sees; a null span has one at least.
    """
    own_length, own_share = span.stop - span.first, float(_shares(tokens, span.first, span.stop))
    own_tenth = int(_tenth(span.first, span.stop, len(tokens.ids)))
    reach = int(own_length * _LENGTH_REACH)  # a span of one, two or three tokens has null spans of its own length only
    match = -1
    for length_reach, tenth_reach, share_reach in ((0, 0, 1e-9), (reach, 0, _SHARE_REACH), (reach, 1, _SHARE_REACH), (reach, 1, 1)):
        match += 1
        first, stop = _spans_of(tokens, own_length, length_reach, can_receive)
        is_own = (first == span.first) & (stop == span.stop)
        is_alike = _has_borders(tokens, first, stop, span)
        is_near = is_alike & (np.abs(_tenth(first, stop, len(tokens.ids)) - own_tenth) <= tenth_reach)
        found = np.flatnonzero(is_near & (np.abs(_shares(tokens, first, stop) - own_share) <= share_reach) & ~is_own)
        if len(found) >= FEWEST:
            break
    if len(found) > most:
        found = np.sort(generator.choice(found, most, replace=False))
    return NullSpans(first[found], stop[found], match)


def _spans_of(tokens: PassageTokens, own: int, reach: int, can_receive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and stop of all spans of this length, give or take, between the special tokens at both ends."""
    has_text = np.flatnonzero(tokens.ends > tokens.starts)
    begin, end = int(has_text[0]), int(has_text[-1]) + 1
    lengths = np.arange(max(1, own - reach), min(own + reach, end - begin) + 1)
    first = np.concatenate([np.arange(begin, end - length + 1) for length in lengths])
    stop = first + np.concatenate([np.full(end - begin - length + 1, length) for length in lengths])
    before = np.concatenate([[0], np.cumsum(can_receive)])
    is_usable = before[stop] > before[first]
    return first[is_usable], stop[is_usable]


def _has_borders(tokens: PassageTokens, first: np.ndarray, stop: np.ndarray, span: TokenSpan) -> np.ndarray:
    """Whether spans begin with the first token of a word and end with the last of one, where `span` does."""
    text = tokens.passage.text
    fits = np.ones(len(first), dtype=bool)

    def is_inside_word(place: int) -> bool:
        return 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum()

    begins = np.array([not is_inside_word(int(start)) for start in tokens.starts])
    ends = np.array([not is_inside_word(int(end)) for end in tokens.ends])
    if begins[span.first]:
        fits &= begins[first]
    if ends[span.stop - 1]:
        fits &= ends[stop - 1]
    return fits


def _shares(tokens: PassageTokens, first, stop):
    """The share of excluded tokens in spans."""
    before = np.concatenate([[0], np.cumsum(tokens.is_excluded)])
    return (before[stop] - before[first]) / (stop - first)


def _tenth(first, stop, tokens: int):
    """In which tenth of the tokens the middle of a span is, from 0 to 9."""
    return (first + stop) * 5 // tokens
