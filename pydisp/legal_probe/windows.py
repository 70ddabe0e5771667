"""Windows: a passage that is longer than a model reads, cut into parts that it can read."""

import numpy as np

from pydisp.legal_probe.exclusion import Exclusion
from pydisp.legal_probe.passage_tokens import PassageTokens, TokenSpan

_LEAD = 32  # tokens before the next part that a window repeats, so that no span stands at its beginning, where attention collects


def cut(tokens: PassageTokens, size: int, exclusion: Exclusion) -> tuple[list[PassageTokens], list[str]]:
    """Windows of at most `size` tokens and the concepts of spans that do not fit into one.

    Each begins with the special tokens that the text begins with; where the next span allows, it repeats 32 tokens of the window before. A span
    belongs to one window, which holds all of it and a token before it. What no window needs is not read.
    """
    has_text = np.flatnonzero(tokens.ends > tokens.starts)
    begin, end = (int(has_text[0]), int(has_text[-1]) + 1) if len(has_text) else (0, len(tokens.ids))
    room = size - begin
    spans = sorted(tokens.spans, key=lambda span: span.first)
    too_long = [span.concept for span in spans if span.stop - span.first >= room]  # and a token before it
    spans = [span for span in spans if span.stop - span.first < room]
    windows, start = [], begin
    while spans:
        following = spans[0]
        if not start < following.first or following.stop > start + room:
            start = max(begin, following.stop - room) if following.stop > begin + room else begin
        stop = min(start + room, end)
        inside = [span for span in spans if start <= span.first and span.stop <= stop]
        spans = [span for span in spans if span not in inside]
        windows.append(_window(tokens, begin, start, stop, inside, exclusion))
        start = max(begin, stop - _LEAD)
    return windows, too_long


def _window(tokens: PassageTokens, begin: int, start: int, stop: int, spans: list[TokenSpan], exclusion: Exclusion) -> PassageTokens:
    """The special tokens before `begin`, then the tokens from start to stop."""
    taken = np.concatenate([np.arange(begin), np.arange(start, stop)])
    is_excluded = tokens.is_excluded[taken]
    is_excluded[0] |= "first" in exclusion.rules
    moved = tuple(TokenSpan(span.concept, span.first - start + begin, span.stop - start + begin) for span in spans)
    return PassageTokens(tokens.passage, tokens.ids[taken], tokens.starts[taken], tokens.ends[taken], is_excluded, moved)
