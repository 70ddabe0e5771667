"""Labels stand where a result begins, hide what is put in, and decode to the results, whatever the tokenizer."""

import os
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_text import tiny_tokenizer
from toolken_tokenizers import TOKENIZERS

import pydisp.demo
from pydisp.toolken.problems.labels import MASKED, WORD, continuation_ids, decoded_spans, label, prompt_ids, text_ids
from pydisp.toolken.problems.problem import GoldCall, Problem, ProblemError
from pydisp.toolken.tools.tool import Tool, ToolError
from pydisp.toolken.tools.tools import Tools

TOOLS = Tools([Tool("add", "Adds."), Tool("multiply", "Multiplies.")])
NAMES = [*TOKENIZERS, "bytes", "demo", "real"]


@cache
def tokenizer(name: str):
    from transformers import AutoTokenizer

    if name == "bytes":
        return tiny_tokenizer()
    if name == "demo":
        return AutoTokenizer.from_pretrained(Path(pydisp.demo.__file__).parent / "model")
    if name == "real":
        if "PYDISP_TEST_TOKENIZER" not in os.environ:
            pytest.skip("PYDISP_TEST_TOKENIZER names the folder of a real model's tokenizer")
        return AutoTokenizer.from_pretrained(os.environ["PYDISP_TEST_TOKENIZER"])
    return TOKENIZERS[name]()


def problem(solution: str, *calls: tuple[str, str], prompt: str = "Question: What is 12 times 7?\nAnswer:") -> Problem:
    """`calls`: tool and result; each result is found behind the one before."""
    gold, last = [], 0
    for tool, result in calls:
        start = solution.index(result, last)
        last = start + len(result)
        gold.append(GoldCall(tool, None, start, last))
    return Problem("p", prompt, solution, tuple(gold))


def without_white(text: str) -> str:
    return "".join(text.split())


def test_a_small_case_by_hand():
    """Bytes: one token a character, so places can be counted."""
    text = problem(" 3 * 4 = 12!", ("multiply", "12"), prompt="Q:")
    found = label(text, tokenizer("bytes"), TOOLS)
    assert len(found.ids) == 1 + 2 + 12 and found.ids[0] == 0 and found.first == 3
    assert found.targets == (*[WORD] * 8, 1, MASKED, MASKED, WORD, MASKED)  # the tool fires before the space
    assert decoded_spans(found, tokenizer("bytes")) == [" 12"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "solution, calls",
    [
        (" 84", [("multiply", "84")]),
        (" 84 apples", [("multiply", "84")]),
        (" 12 * 7 = 84", [("multiply", "84")]),
        (" 12*7=84", [("multiply", "84")]),
        (" $84.50 and 19", [("multiply", "84.50"), ("add", "19")]),
        (" It is 84, 84 and (84).", [("add", "84"), ("add", "84"), ("multiply", "84")]),
        (" a Monday", [("add", "Monday")]),
        (" on 2024-03-12", [("add", "2024-03-12")]),
        (" 12", []),
        ("84", [("multiply", "84")]),
    ],
)
def test_every_span_decodes_to_its_result(name, solution, calls):
    found = label(problem(solution, *calls), tokenizer(name), TOOLS)
    spans = decoded_spans(found, tokenizer(name))
    assert [without_white(span) for span in spans] == [result for _, result in calls]
    assert [target for target in found.targets if target >= 0] == [TOOLS.index(tool) for tool, _ in calls]
    assert len(found.targets) == len(found.ids) - found.first + 1 and found.targets[-1] == MASKED
    whole = tokenizer(name).decode(found.ids[found.first :], clean_up_tokenization_spaces=False)
    assert without_white(whole) == without_white(solution)


@pytest.mark.parametrize("name", NAMES)
def test_the_prompt_is_tokenized_as_when_it_is_answered(name):
    for text in ("Question: 12\nAnswer:", "Question: 12\nAnswer: "):
        found = label(problem("84 apples", ("multiply", "84"), prompt=text), tokenizer(name), TOOLS)
        assert list(found.ids[: found.first]) == prompt_ids(text, tokenizer(name))
        found = label(problem("84 apples", prompt=text), tokenizer(name), TOOLS)
        assert list(found.ids[found.first :]) == continuation_ids("84 apples", tokenizer(name))


def test_no_token_before_a_result_has_a_part_of_it():
    """The merging tokenizer has such tokens: this is what a text is cut for."""
    merging = tokenizer("merging")
    text = problem(" 14 * 7 = 98 and $10.50 for 7 apples.", ("multiply", "98"), ("add", "10.50"))
    encoded = merging(text.text, return_offsets_mapping=True)["offset_mapping"]
    start = len(text.prompt) + text.calls[0].start
    assert any(first < start - 1 and start < last for first, last in encoded), "the case is void: no token straddles"
    found = label(text, merging, TOOLS)
    pieces = [merging.decode([token]) for token in found.ids[found.first :]]
    fires = [place for place, target in enumerate(found.targets) if target >= 0]
    assert without_white("".join(pieces[: fires[0]])).endswith("14*7=")
    assert without_white("".join(pieces[: fires[1]])).endswith("98and$")


def test_a_token_may_take_the_spaces_before_a_result():
    """Then the tool fires behind that token, as it does when the model writes it: no cut."""
    merging = tokenizer("merging")
    assert any(merging.decode([token]).endswith("= ") for token in range(len(merging)))
    found = label(problem(" 12 * 7 = 84", ("multiply", "84")), merging, TOOLS)
    place = [target >= 0 for target in found.targets].index(True)
    pieces = [merging.decode([token]) for token in found.ids[found.first :]]
    assert "".join(pieces[:place]).endswith("= ") and "".join(pieces[place:]) == "84"


@given(
    st.sampled_from([name for name in NAMES if name != "real"]),
    st.lists(
        st.tuples(st.sampled_from(["", " ", " = ", " and $", "(", " is ", ", "]), st.integers(0, 9999), st.booleans()),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["", ".", " apples", " km", " 5"]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_labels_of_any_text_of_numbers(name, parts, tail):
    solution, calls, last = "", [], 0
    for before, number, is_result in parts:
        if name == "WordPiece":  # inside a word it writes a token as "##0"
            before = before or " "
        start = len(solution + before)
        solution += before + str(number)
        if is_result:
            calls.append(GoldCall("add", None, start, len(solution)))
    solution += tail
    found = label(Problem("p", "Question: 7?\nAnswer:", solution, tuple(calls)), tokenizer(name), TOOLS)
    spans = decoded_spans(found, tokenizer(name))
    assert [without_white(span) for span in spans] == [solution[call.start : call.end] for call in calls]
    words = [token for token, target in zip(found.ids[found.first :], found.targets, strict=False) if target == WORD]
    outside, last = "", 0
    for call in calls:
        outside, last = outside + solution[last : call.start], call.end
    assert without_white(tokenizer(name).decode(words)) == without_white(outside + solution[last:])


def test_spaces_belong_to_the_result_that_has_them():
    found = label(Problem("p", "Q:", " 8 9", (GoldCall("add", None, 1, 3), GoldCall("multiply", None, 3, 4))), tokenizer("bytes"), TOOLS)
    assert found.targets == (0, MASKED, MASKED, 1, MASKED)


def test_a_solution_without_a_prompt_begins_the_text():
    metaspace = tokenizer("metaspace first")
    found = label(problem("84", ("add", "84"), prompt=""), metaspace, TOOLS)
    assert list(found.ids[1:]) == metaspace("84", add_special_tokens=False)["input_ids"] != continuation_ids("84", metaspace)


def test_a_call_without_a_result_is_the_last_label():
    text = Problem("p", "Find a hotel.\nTool:", "", (GoldCall("add", None, 0, 0),))
    found = label(text, tokenizer("bytes"), TOOLS)
    assert found.targets == (0,) and found.first == len(found.ids)
    assert decoded_spans(found, tokenizer("bytes")) == [""]
    text = Problem("p", "Find:", " it and", (GoldCall("multiply", None, 7, 7),))
    assert label(text, tokenizer("bytes"), TOOLS).targets == (*[WORD] * 7, 1)


@pytest.mark.parametrize("name", NAMES)
def test_texts_that_go_on_get_no_space_in_front(name):
    ids = continuation_ids("84", tokenizer(name))
    before = prompt_ids("Answer: (", tokenizer(name))
    text = tokenizer(name).decode([*before, *ids], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert text.replace(" ", "").endswith("(84") and (name == "WordPiece" or text.endswith("(84"))
    assert continuation_ids("", tokenizer(name)) == []


def test_what_cannot_be_labelled_is_refused():
    bytes_ = tokenizer("bytes")
    with pytest.raises(ProblemError, match="slow one .* load the fast one"):
        label(problem(" 84"), SimpleNamespace(is_fast=False, bos_token_id=None), TOOLS)
    with pytest.raises(ProblemError, match="without a result before the end"):
        label(Problem("p", "Q:", " 84", (GoldCall("add", None, 1, 1),)), bytes_, TOOLS)
    with pytest.raises(ProblemError, match="without a result before the end"):
        label(Problem("p", "Q:", "", (GoldCall("add", None, 0, 0), GoldCall("add", None, 0, 0))), bytes_, TOOLS)
    with pytest.raises(ToolError, match="no tool 'cube'"):
        label(problem(" 84", ("cube", "84")), bytes_, TOOLS)
    with pytest.raises(ProblemError, match="no token before its solution"):
        label(problem("84", ("add", "84"), prompt=""), tokenizer("WordPiece"), TOOLS)


def test_labels_that_do_not_decode_are_refused():
    with pytest.raises(ProblemError, match="labels that do not decode.*UNK"):
        label(problem(" 8字4", ("add", "8字4")), tokenizer("WordPiece"), TOOLS)
    with pytest.raises(ProblemError, match="labels that do not decode"):
        label(problem(" 字", ("add", "字")), tokenizer("metaspace first"), TOOLS)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_without_special_tokens_is_tokenized_as_always(name):
    one = tokenizer(name)
    for text in (" It is Zürich 12, 12 = 3\nand 4.5", "9"):
        assert text_ids(text, one, is_beginning=True) == prompt_ids(text, one)
        assert text_ids(text, one, is_beginning=False) == continuation_ids(text, one)
