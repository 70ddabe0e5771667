"""Windows: no span is cut, none is lost without a word."""

import numpy as np
import pytest
from attention_cases import tokens_of

from pydisp.legal_probe.exclusion import Exclusion
from pydisp.legal_probe.windows import cut


@pytest.mark.parametrize("seed", range(5))
def test_every_span_stands_whole_in_one_window(seed):
    generator = np.random.default_rng(seed)
    edges = np.sort(generator.choice(np.arange(1, 100), 12, replace=False))
    spans = [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    tokens = tokens_of(100, spans)
    windows, too_long = cut(tokens, 17, Exclusion())
    kept = []
    for window in windows:
        assert len(window.ids) <= 17 and window.is_excluded[0] and len(window.spans) > 0
        kept += [(int(window.ids[span.first]), int(window.ids[span.stop - 1]) + 1) for span in window.spans]
    assert kept == [span for span in spans if span[1] - span[0] <= 17]
    assert len(too_long) == sum(stop - first > 17 for first, stop in spans)


def test_windows_without_a_span_are_left_out_and_the_rest_keeps_its_characters():
    windows, _ = cut(tokens_of(100, [(3, 5), (88, 92)]), 10, Exclusion(rules=("space",)))
    assert [(int(one.starts[0]), int(one.ends[-1])) for one in windows] == [(0, 10), (88, 98)]
    assert not windows[1].is_excluded[0]


def test_a_span_longer_than_a_window_is_named():
    windows, too_long = cut(tokens_of(30, [("long", 2, 20), ("short", 22, 24)]), 8, Exclusion())
    assert too_long == ["long"] and [span.concept for window in windows for span in window.spans] == ["short"]
    assert cut(tokens_of(30, [("long", 2, 20)]), 8, Exclusion()) == ([], ["long"])
