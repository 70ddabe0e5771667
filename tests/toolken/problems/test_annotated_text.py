"""Marked calls are found by what they say, never by the token places of another tokenizer."""

from collections import Counter

import pytest

from pydisp.toolken.problems.annotated_text import annotated_problem, marked_call, question_and_answer, tool_name
from pydisp.toolken.problems.problem import GoldCall

KNOWN = {"multiply", "permute", "add"}


def read(text: str, **fields):
    reasons = Counter()
    return annotated_problem("n", {"text": text, **fields}, "funcqa", KNOWN, reasons), reasons


def test_calls_in_the_text_are_taken_out():
    problem, _ = read("Q: Lines of 2 from 5?\\nA: That is <permutate>(5,2)=20<eoe>, and <add>(20, 1)=21<eoe> with one. #### 21")
    assert problem.prompt == "Question: Lines of 2 from 5?\nAnswer:"
    assert problem.solution == " That is 20, and 21 with one. #### 21" and problem.answer == "21"
    assert [(call.tool, call.arguments, problem.solution[call.start : call.end]) for call in problem.calls] == [
        ("permute", "5, 2", "20"),
        ("add", "20, 1", "21"),
    ]


def test_results_of_fields_are_found_behind_their_signs():
    problem, _ = read(
        "Q: 3 times 6?\nA: 18 is near: 3*6 = $18 and 18+2=20. The answer is 20", tar_eq=["<multiply>(3, 6)=18<eoe>", "<add>(18, 2)=20<eoe>"]
    )
    assert problem.calls == (GoldCall("multiply", "3, 6", 20, 22), GoldCall("add", "18, 2", 32, 34))
    assert problem.solution[20:22] == "18" and problem.answer == "20"


def test_equal_results_are_found_one_after_the_other():
    problem, _ = read("Q: a?\nA: 3*6 = 18 and 9+9 = 18", tar_eq=["<multiply>(3, 6)=18<eoe>", "<add>(9, 9)=18<eoe>"])
    assert [(call.start, call.end) for call in problem.calls] == [(7, 9), (20, 22)]


@pytest.mark.parametrize(
    "text, fields, reason",
    [
        ("3 times 6 is 18", {}, "not a question"),
        ("Q: a?\nA: it is 18", {"tar_eq": ["<multiply>(3, 6)=18<eoe>"]}, "place of a result"),
        ("Q: a?\nA: it is = 180", {"tar_eq": ["<multiply>(3, 6)=18<eoe>"]}, "place of a result"),
        ("Q: a?\nA: it is = 18.5", {"tar_eq": ["<multiply>(3, 6)=18<eoe>"]}, "place of a result"),
        ("Q: a?\nA: it is = 18", {"tar_eq": ["multiply 3 6"]}, "place of a result"),
        ("Q: a?\nA: it is <cube>(2)=8<eoe>", {}, "a tool that is not there"),
    ],
)
def test_what_cannot_be_told_is_left_out(text, fields, reason):
    problem, reasons = read(text, **fields)
    assert problem is None and [reason in name for name in reasons] == [True]


def test_names_and_parts():
    assert tool_name("<permutate>") == "permute" and tool_name("[WALK]") == "WALK" and tool_name("add") == "add"
    assert marked_call("<add>( 1,2 ) = 3") == ("add", "1, 2", "3") and marked_call("add 1 2") is None
    assert question_and_answer("Question: a?\nAnswer: b\nc") == ("a?", "b\nc")
