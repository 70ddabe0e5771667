"""Beginnings of plain calls: each can be completed to a plain call, none goes on in ways that only the parser takes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toolken_calls import SMALL, calls, loose_texts, tools

from pydisp.toolken.tools.argument_prefix import continues
from pydisp.toolken.tools.arguments import bound, parse
from pydisp.toolken.tools.builtin import BUILTIN
from pydisp.toolken.tools.plain_prefix import plain_completion, plainly_continues
from pydisp.toolken.tools.tool import Parameter, Tool

FEW = settings(max_examples=150, deadline=None)
CHARACTERS = " \t\n,=()[]\"'\\-.0123456789eEabnturflsö\u200b"


@FEW
@given(tools(), st.data())
def test_whatever_goes_on_can_be_completed_plainly_to_a_valid_call(tool, data):
    text = ""
    if not plainly_continues(tool, text, SMALL):
        assert not continues(tool, text, SMALL)  # what has a call at all has a plain one
        return
    for _ in range(data.draw(st.integers(0, 12))):
        ways = [one for one in CHARACTERS if plainly_continues(tool, text + one, SMALL)]
        if not ways:
            break
        text += data.draw(st.sampled_from(ways))
    rest = plain_completion(tool, text, SMALL)
    whole = text + rest
    assert bound(tool, parse(whole[:-1], SMALL)) is not None and whole.endswith(")")
    assert all(plainly_continues(tool, whole[:end], SMALL) for end in range(len(whole) + 1)), whole
    assert (rest == "") == text.endswith(")") or '"' in text or "'" in text


@FEW
@given(calls(), loose_texts)
def test_a_plain_beginning_is_a_beginning_and_once_broken_stays_broken(drawn, loose):
    tool, text = drawn
    for whole in (text, text + loose, loose):
        going = [plainly_continues(tool, whole[:end], SMALL) for end in range(len(whole) + 1)]
        assert going == sorted(going, reverse=True)
        assert all(continues(tool, whole[:end], SMALL) for end, goes_on in enumerate(going) if goes_on)


@pytest.mark.parametrize(
    "name, text, goes_on",
    [("add", "12, 7)", True), ("add", "12,7)", True), ("add", " 12, 7)", True), ("add", "  ", False), ("add", "\t", False), ("add", "\n", False),
     ("add", "12 ", False), ("add", "12 ,", False), ("add", "12,  ", False), ("add", "12, 7 ", False), ("add", "a= 1, b=2)", True), ("add", "a =", False),
     ("add", "a=  ", False), ("add", "1, 2.50)", True), ("log", "5, null)", True), ("log", "5, null ", False),
     ("convert", '5, "km", "m")', True), ("convert", "5, 'km', 'm')", True), ("convert", '5, "km" ', False), ("convert", '5, "\\u006', False),
     ("weekday", '"20\\"', True), ("weekday", '"20\\\\', True), ("weekday", '"20\\n', False), ("weekday", '"20\\u', False), ("weekday", '"20\\/', False),
     ("weekday", "'20\\'", False), ("weekday", '"20  24', True)],
)  # fmt: skip
def test_built_in_beginnings_written_out(name, text, goes_on):
    assert plainly_continues(BUILTIN[name], text) is goes_on


def test_choices_have_one_spelling():
    tool = Tool(
        "t", "A tool.", (Parameter("a", "number", (12.5, 12, -3, 0)), Parameter("b", "string", ("it's", "a\nb", 'q"', "s", "size")))
    )
    for text in ("12.5, 's')", '12, "it\'s")', "12, 'it\\'s')", "-3, 'size')", '0, "a\\nb")', '12, "q\\"")'):
        assert plainly_continues(tool, text) and all(plainly_continues(tool, text[:end]) for end in range(len(text))), text
    for text in ("12.50", "1e1", "125", "012", "-0", "12e", '12, "it\\', '12, "a\\u', "12, 'sizes", "12, 's '"):
        assert not plainly_continues(tool, text), text
    assert plain_completion(tool, "1") == '2.5, b="it\'s")' and plain_completion(tool, "12, 's") == "')"


def test_lists_are_plain_too():
    tool = Tool("t", "A tool.", (Parameter("a", "list"),))
    assert plainly_continues(tool, '[ 1, [true], "a b"])') and plainly_continues(tool, "[])")
    assert not any(plainly_continues(tool, text) for text in ("[1 ", "[1,  ", "[\n", "[1] ", '["\\t'))


@pytest.mark.parametrize("character", ["[", "'", "9", " ", "\\", "a", "1,", '"', "-"])
def test_long_texts_take_no_time(character):
    plainly_continues(BUILTIN["look_up"], character * 20_000)
