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
