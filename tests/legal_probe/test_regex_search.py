"""Regular expressions are searched as Python's `re` does, and one that would take years is stopped."""

import json
import re
import signal

import pytest

from pydisp.legal_probe import regex_search
from pydisp.legal_probe.passages import ConceptsError, concept_set
from pydisp.legal_probe.regex_search import RegexSearch

TEXT = "The bank, or any other bank,\n shall keep a Straße \u2028 record. 東京 \U0001f600"
FOREVER = "(a+)+b"  # on a text of letters a


@pytest.mark.parametrize("regex", ["bank", r"(?i)\bTHE\b", r"\w+", r"(?<=,)\s", "[^,]+$", "(?s)or.*shall", "\U0001f600", "東", "x", "^T"])
def test_the_matches_are_those_of_re(regex):
    with RegexSearch() as search:
        assert search.spans(regex, TEXT) == [match.span() for match in re.finditer(regex, TEXT)]


@pytest.mark.parametrize("regex", ["^$", "x?", "(?!a)"])
def test_an_expression_that_matches_the_empty_string_shows_it(regex):
    with RegexSearch() as search:
        assert any(start == end for start, end in search.spans(regex, "abc"))


def test_one_process_searches_for_all_and_goes_with_the_last():
    with RegexSearch() as search:
        search.spans("a", "a")
        child = search._child
        with pytest.raises(ValueError, match="missing \\), unterminated subpattern"):
            search.spans("(", "a")
        assert search.spans("b", "ab") == [(1, 2)] and search._child is child and child.poll() is None
    assert child.poll() is not None


def test_a_search_without_an_end_is_stopped_in_a_sentence():
    with pytest.raises(
        ConceptsError, match=r"^passage 1: the search for the regex '\(a\+\)\+b' in the text of passage 'p' did not end within"
    ):
        concept_set([{"id": "p", "text": "a" * 41, "spans": [{"concept": "c", "regex": FOREVER}]}])


def test_a_search_ends_where_nobody_waits_for_it():
    search = RegexSearch()
    search.spans("a", "a")
    search._child.stdin.write(json.dumps([FOREVER, "a" * 41]) + "\n")
    search._child.stdin.flush()
    assert search._child.wait(60) == -signal.SIGPROF
    with pytest.raises(TimeoutError, match="did not end within 2 s"):
        search.spans("a", "a")
    search.__exit__()


def test_no_process_starts_where_no_regex_stands(monkeypatch):
    monkeypatch.setattr(regex_search.subprocess, "Popen", None)
    concept_set([{"id": "p", "text": "a b", "spans": [{"concept": "c", "phrase": "b"}]}])
