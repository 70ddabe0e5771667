"""Texts with their calls shown; nothing in them moves a terminal."""

import pytest

from pydisp.toolken.decoding.marked_text import marked_text, shown
from pydisp.toolken.decoding.trace import Step, Trace


def called(start, end, arguments="48, 2", tool="divide", outcome="called"):
    return Step(0, tool, outcome, tool, arguments=arguments, start=start, end=end)


def test_a_call_stands_with_its_result_where_the_result_stood():
    assert marked_text(" 48 / 2 = 24 clips", Trace([called(9, 12)])) == " 48 / 2 = [divide(48, 2) -> 24] clips"
    assert marked_text(" $24", Trace([called(2, 4)])) == " $[divide(48, 2) -> 24]"


def test_several_calls_and_one_that_failed():
    rejected, failed = Step(1, "add", "rejected", "add", start=2, end=2), called(5, 5, "1, 0", outcome="failed")
    text = marked_text(" 7 +  9.", Trace([called(0, 2), rejected, failed, called(5, 7, "", "now")]))
    assert text == " [divide(48, 2) -> 7] + [divide(1, 0) failed] [now() -> 9]."


@pytest.mark.parametrize(
    ("error", "kind", "wanted"),
    [
        ("the tool 'divide' has no function; only its documentation is known, so it cannot be called.", "failed", ": it has no function"),
        ("a division by zero has no result; divide by another number.", "failed", ": a division by zero has no result"),
        ("KeyError: \x1b", "failed", ": KeyError: \\x1b"),
        ("x" * 71, "failed", ": " + "x" * 69 + "…"),
        (None, "too slow", ": too slow"),
    ],
)
def test_a_failed_call_says_why_in_few_words(error, kind, wanted):
    step = Step(1, "divide", "failed", "divide", arguments="1, 0", error=error, kind=kind, start=2, end=2)
    assert marked_text(" 7 clips", Trace([step])) == f" 7[divide(1, 0) failed{wanted}] clips"


def test_a_text_that_ended_before_a_result_ends_with_a_mark():
    step = Step(1, "divide", "beyond", "divide", arguments="1, 3", result="0.33", needed=37, start=3, end=3)
    assert marked_text(" 7 ", Trace([step])) == " 7 [divide(1, 3) has no room: 37 tokens]"


def test_repeated_calls_and_those_over_the_most_are_not_marked():
    assert marked_text(" 7", Trace([called(0, 0, outcome="repeated"), called(0, 0, outcome="beyond")])) == " 7"


def test_a_text_without_calls_is_itself():
    assert marked_text("a\nb\tc", Trace()) == "a\nb\tc"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("a\rb", "a\\rb"),
        ("a\u202eb", "a\\u202eb"),
        ("a\x00", "a\\x00"),
        ("\u2028", "\\u2028"),
        ("\u200b", "\\u200b"),
        ("ö€", "ö€"),
    ],
)
def test_control_characters_are_shown(text, wanted):
    assert shown(text) == wanted
    assert marked_text(text, Trace()) == wanted
    assert marked_text(f" {text}", Trace([called(0, len(text) + 1, text)])) == f" [divide({wanted}) -> {wanted}]"


def test_line_ends_inside_a_call_are_shown():
    assert marked_text(" a", Trace([called(0, 2, "'\n'")])) == " [divide('\\n') -> a]"
