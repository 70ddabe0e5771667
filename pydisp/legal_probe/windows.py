"""Windows: a passage that is longer than a model reads, cut into parts that it can read."""

import numpy as np

from pydisp.legal_probe.exclusion import Exclusion
from pydisp.legal_probe.passage_tokens import PassageTokens, TokenSpan

_LEAD = 32  # tokens before the next part that a window repeats, so that no span stands at its beginning, where attention collects


def cut(tokens: PassageTokens, size: int, exclusion: Exclusion) -> tuple[list[PassageTokens], list[str]]:
    """Windows of at most `size` tokens and the concepts of spans that do not fit into one.

    Each begins with the special tokens that the text begins with, then repeats up to 32 tokens, and ends before a span that it would cut. A span
    belongs to one window. Windows without a span are left out.
    """
    has_text = np.flatnonzero(tokens.ends > tokens.starts)
    begin, end = (int(has_text[0]), int(has_text[-1]) + 1) if len(has_text) else (0, len(tokens.ids))
    room = size - begin
    spans = sorted(tokens.spans, key=lambda span: span.first)
    too_long = [span.concept for span in spans if span.stop - span.first >= room]  # and a token before it
    spans = [span for span in spans if span.stop - span.first < room]
    windows, start, done = [], begin, 0
    while start < end:
        stop = min(start + room, end)
        while cuts := [span.first for span in spans[done:] if span.first < stop < span.stop]:
            stop = min(cuts)
        inside = [span for span in spans[done:] if span.stop <= stop]
        done += len(inside)
        if inside:
            windows.append(_window(tokens, begin, start, stop, inside, exclusion))
        if stop == end:
            break
        following = spans[done] if done < len(spans) else None
        earliest = max(start + 1, stop - _LEAD)  # a window goes on by a token at least
        start = stop if following is None else max(earliest, following.stop - room)
        start = min(start, stop)
    return windows, too_long


def _window(tokens: PassageTokens, begin: int, start: int, stop: int, spans: list[TokenSpan], exclusion: Exclusion) -> PassageTokens:
    """The special tokens before `begin`, then the tokens from start to stop."""
    taken = np.concatenate([np.arange(begin), np.arange(start, stop)])
    is_excluded = tokens.is_excluded[taken]
    is_excluded[0] |= "first" in exclusion.rules
    moved = tuple(TokenSpan(span.concept, span.first - start + begin, span.stop - start + begin) for span in spans)
    return PassageTokens(tokens.passage, tokens.ids[taken], tokens.starts[taken], tokens.ends[taken], is_excluded, moved)
