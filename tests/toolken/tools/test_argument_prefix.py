"""Beginnings of calls: every beginning of a valid call goes on, and whatever goes on can be completed to a valid call."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toolken_calls import SMALL, calls, loose_texts, tools

from pydisp.toolken.tools.argument_prefix import closed_at, completion, continues, state
from pydisp.toolken.tools.arguments import ArgumentsError, bound, parse
from pydisp.toolken.tools.builtin import BUILTIN
from pydisp.toolken.tools.limits import LimitError
from pydisp.toolken.tools.tool import Parameter, Tool

FEW = settings(max_examples=150, deadline=None)


def is_call(tool: Tool, text: str) -> bool:
    """By the parser, which knows nothing of beginnings."""
    try:
        bound(tool, parse(text[:-1], SMALL))
    except (ArgumentsError, LimitError):
        return False
    return text.endswith(")")


@FEW
@given(calls())
def test_every_beginning_of_a_valid_call_goes_on(drawn):
    tool, text = drawn
    assert is_call(tool, text)
    for end in range(len(text) + 1):
        assert continues(tool, text[:end], SMALL), (tool.parameters, text[:end])
        assert state(text[:end], SMALL) == ("complete" if end == len(text) else "incomplete")


@FEW
@given(calls(), loose_texts, st.data())
def test_what_goes_on_can_be_completed_and_what_does_not_is_no_call(drawn, loose, data):
    tool, text = drawn
    cut = data.draw(st.integers(0, len(text)))
    for changed in (text[:cut] + loose, text[:cut] + loose + text[cut:], text[:cut] + loose[:1] + text[cut + 1 :], loose):
        reaches = False
        for end in range(len(changed) + 1):
            rest = completion(tool, changed[:end], SMALL)
            reaches = rest is not None
            assert rest is None or is_call(tool, changed[:end] + rest), (tool.parameters, changed[:end], rest)
            assert (rest == "") == is_call(tool, changed[:end])
            if not reaches:
                assert not continues(tool, changed[:end] + ")", SMALL) and not is_call(tool, changed[:end] + ")")
                break
        assert reaches or not is_call(tool, changed), (tool.parameters, changed)


@FEW
@given(tools(), loose_texts)
def test_once_broken_stays_broken(tool, text):
    going = [continues(tool, text[:end], SMALL) for end in range(len(text) + 1)]
    assert going == sorted(going, reverse=True)


@FEW
@given(calls(), loose_texts)
def test_a_call_is_found_in_front_of_other_text(drawn, loose):
    _, text = drawn
    assert closed_at(text + loose, SMALL) == len(text)


@pytest.mark.parametrize(
    "text, found",
    [("", "incomplete"), ("12, 7)", "complete"), ("12 7", "broken"), ('")', "incomplete"), ("1)x", "broken"), ("[1, [2", "incomplete"),
     ("a=1, 2", "broken"), ("a=1, a=", "broken"), ("__import__('os'", "broken"), ("\u0661", "broken"), ("'\u200b", "incomplete"), ("'\\ud8", "broken"),
     ("'\\uD7", "incomplete"), ("lambda: 0", "broken"), ("1_000", "broken"), ("0x1", "broken"), ("(1)", "broken"), ("1,)", "broken"), (")", "complete")],
)  # fmt: skip
def test_states_written_out(text, found):
    assert state(text) == found


@pytest.mark.parametrize(
    "name, text, goes_on",
    [("add", "1, 2", True), ("add", "1, 2,", False), ("add", "1)", False), ("add", "'", False), ("add", "a=1, b", True), ("add", "1, a", False),
     ("convert", '5, "kilom', True), ("convert", '5, "kilos', False), ("convert", '5, "km")', False), ("choose", "5.", False), ("choose", "5e", False),
     ("log", "5, nul", True), ("log", "nul", False), ("log", "5)", True), ("weekday", "'2024", True), ("weekday", "2024", False)],
)  # fmt: skip
def test_built_in_beginnings_written_out(name, text, goes_on):
    assert continues(BUILTIN[name], text) is goes_on


@pytest.mark.parametrize(
    "text, found",
    [("[1,2,3", "incomplete"), ("[1,2,3,", "broken"), ("[1,2,3,4])", "broken"), ("'abcd')", "complete"), ("'abcd\\", "broken"), ("'abcde')", "broken"),
     ("[[1]])", "complete"), ("[[[", "broken"), ("12345", "incomplete"), ("123456", "broken"), ("1e12", "incomplete"), ("1e13", "broken"), ("1.2345", "incomplete"),
     ("12345.", "broken"), ("1e01", "incomplete"), ("1e012", "broken")],
)  # fmt: skip
def test_limits_of_values_hold_in_beginnings(text, found):
    assert state(text, SMALL) == found


def test_completions_are_plain():
    tool = Tool("t", "A tool.", (Parameter("a", "number", (12.5,)), Parameter("b", "string", ("it's",))))
    assert completion(tool, "") == 'a=12.5, b="it\'s")'
    assert completion(tool, "1") == '2.5, b="it\'s")'
    assert completion(tool, "12.5, 'i") == "t\\'s')"


def test_a_parameter_that_nothing_fits_has_no_call():
    tool = Tool("t", "A tool.", (Parameter("a", "string", ("too long for the limit",)), Parameter("b", "number")))
    assert not continues(tool, "", SMALL) and not continues(tool, "b=1, ", SMALL)


@pytest.mark.parametrize("character", ["[", "'", "9", " ", "\\", "a", "1,", '"",', "[1],", "-"])
def test_long_texts_take_no_time(character):
    text = character * 20_000
    state(text)
    closed_at(text)
    continues(BUILTIN["look_up"], text)
