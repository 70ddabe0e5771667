"""Windows: no span is cut, none is lost without a word, none stands at the beginning, and the text's own special tokens lead each window."""

import numpy as np
import pytest
from attention_cases import tokens_of

from pydisp.legal_probe.exclusion import Exclusion
from pydisp.legal_probe.windows import cut


def places(window, span):
    return int(window.ids[span.first]), int(window.ids[span.stop - 1]) + 1


@pytest.mark.parametrize("size", [14, 17, 30, 64])
@pytest.mark.parametrize("seed", range(5))
def test_every_span_stands_whole_in_one_window_and_never_at_its_beginning(seed, size):
    generator = np.random.default_rng(seed)
    edges = np.sort(generator.choice(np.arange(1, 150), 16, replace=False))
    spans = [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    windows, too_long = cut(tokens_of(150, spans), size, Exclusion())
    kept = []
    for window in windows:
        assert len(window.ids) <= size and window.is_excluded[0] and len(window.spans) > 0
        assert np.array_equal(np.diff(window.ids), np.ones(len(window.ids) - 1))
        assert all(span.first > 0 for span in window.spans if places(window, span)[0] > 0)
        kept += [places(window, span) for span in window.spans]
    assert sorted(kept) == [span for span in spans if span[1] - span[0] < size]
    assert len(too_long) == sum(stop - first >= size for first, stop in spans)


def test_what_no_span_needs_is_not_read_and_a_span_has_what_comes_before_it():
    windows, _ = cut(tokens_of(100, [(3, 5), (88, 92)]), 10, Exclusion(rules=("space",)))
    assert [(int(one.starts[0]), int(one.ends[-1])) for one in windows] == [(0, 10), (82, 92)]
    assert not windows[1].is_excluded[0]
    near, _ = cut(tokens_of(300, [(50, 60), (110, 114)]), 100, Exclusion())
    assert [(int(one.starts[0]), int(one.ends[-1])) for one in near] == [(0, 100), (68, 168)]


@pytest.mark.parametrize("spans", [[("p", 10, 60), ("q", 50, 140)], [("p", 10, 130), ("q", 120, 180)], [("p", 10, 100), ("q", 90, 180)], [("p", 5, 20), ("q", 5, 20)]])  # fmt: skip
def test_overlapping_spans_of_two_concepts_have_windows_of_their_own(spans):
    windows, too_long = cut(tokens_of(339, spans), 128, Exclusion())
    found = {(span.concept, *places(window, span)) for window in windows for span in window.spans}
    assert found == set(spans) and not too_long and all(len(window.ids) <= 128 for window in windows)


def test_the_special_tokens_of_the_text_lead_every_window():
    tokens = tokens_of(60, [(5, 8), (40, 44)], excluded=(0,))
    tokens.starts[[0, 59]] = tokens.ends[[0, 59]] = 0
    windows, _ = cut(tokens, 20, Exclusion(rules=("special", "first")))
    assert [int(one.ids[0]) for one in windows] == [0, 0] and all(len(one.ids) <= 20 for one in windows)
    assert [places(window, window.spans[0]) for window in windows] == [(5, 8), (40, 44)]
    assert all(not window.is_excluded[1] for window in windows)


def test_a_span_longer_than_a_window_is_named():
    windows, too_long = cut(tokens_of(30, [("long", 2, 20), ("short", 22, 24)]), 8, Exclusion())
    assert too_long == ["long"] and [span.concept for window in windows for span in window.spans] == ["short"]
    assert cut(tokens_of(30, [("long", 2, 20)]), 8, Exclusion()) == ([], ["long"])
