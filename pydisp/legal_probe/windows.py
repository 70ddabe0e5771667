"""Windows: a passage that is longer than a model reads, cut into parts that it can read."""

from pydisp.legal_probe.exclusion import Exclusion
from pydisp.legal_probe.passage_tokens import PassageTokens, TokenSpan


def cut(tokens: PassageTokens, size: int, exclusion: Exclusion) -> tuple[list[PassageTokens], list[str]]:
    """Windows of at most `size` tokens, one behind the other, and the concepts of spans that do not fit into one.

    A window ends before a span that it would cut. Its first token counts as the first of a text, also where no beginning-of-text token
    stands there. Windows without a span are left out.
    """
    spans = sorted(tokens.spans, key=lambda span: span.first)
    too_long = [span.concept for span in spans if span.stop - span.first > size]
    spans = [span for span in spans if span.stop - span.first <= size]
    windows, start = [], 0
    while start < len(tokens.ids):
        stop = min(start + size, len(tokens.ids))
        while cuts := [span.first for span in spans if start < span.first < stop < span.stop]:
            stop = min(cuts)
        inside = tuple(
            TokenSpan(span.concept, span.first - start, span.stop - start) for span in spans if start <= span.first < span.stop <= stop
        )
        if inside:
            part = slice(start, stop)
            is_excluded = tokens.is_excluded[part].copy()
            is_excluded[0] |= "first" in exclusion.rules
            windows.append(PassageTokens(tokens.passage, tokens.ids[part], tokens.starts[part], tokens.ends[part], is_excluded, inside))
        start = stop
    return windows, too_long
