"""A file of problems gives back what was written, and says what is wrong with others."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisp.toolken.problems.generator import generate
from pydisp.toolken.problems.problem import GoldCall, Problem, ProblemError
from pydisp.toolken.problems.problem_file import read_problem_file, write_problems


def test_problems_are_read_as_they_were_written(tmp_path):
    problems = generate("a", 40, seed=5)
    write_problems(tmp_path / "p.jsonl", problems)
    assert read_problem_file(tmp_path / "p.jsonl") == problems
    assert [path.name for path in tmp_path.iterdir()] == ["p.jsonl"]


@given(text=st.text(st.characters(exclude_categories=["Cs"])), answer=st.none() | st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_kept(tmp_path_factory, text, answer):
    path = tmp_path_factory.mktemp("file") / "p.jsonl"
    problem = Problem("1", text, f" {text}", (GoldCall("add", None, 1 + len(text), 1 + len(text)),), answer)
    write_problems(path, [problem])
    assert read_problem_file(path) == [problem]


def test_a_short_record_is_enough(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "Q:", "solution": " A"}\n\n{"prompt": "R:", "solution": "", "answer": null}\n')
    assert read_problem_file(tmp_path / "p.jsonl") == [Problem("1", "Q:", " A"), Problem("2", "R:", "")]


@pytest.mark.parametrize(
    "record, message",
    [
        ({"prompt": "Q"}, "record 1 has no 'solution'"),
        ({"prompt": "Q", "solution": 5}, "'solution' is 5; it must be a text"),
        ({"prompt": "Q", "solution": "", "answer": 5}, "'answer' is 5; it must be a text"),
        ({"prompt": "Q", "solution": "", "tools": []}, "has 'tools', which no problem has"),
        ({"prompt": "Q", "solution": "", "calls": {}}, "it must be a list"),
        ({"prompt": "Q", "solution": "", "calls": [{"tool": "add"}]}, "a call has a tool, arguments"),
        ({"prompt": "Q", "solution": "", "calls": [{"tool": "add", "arguments": 5, "start": 0, "end": 0}]}, "a call has a tool, arguments"),
        (
            {"prompt": "Q", "solution": "ab", "calls": [{"tool": "add", "arguments": None, "start": True, "end": 2}]},
            "a call has a tool, arguments",
        ),
        (
            {"prompt": "Q", "solution": "", "calls": [{"tool": "add", "arguments": None, "start": 0, "end": 3}]},
            "record 1: .*spans lie inside the solution",
        ),
        (
            {"prompt": "", "solution": ""},
            "record 1 has an empty prompt and an empty solution; .* write the problem, or take the record out",
        ),
        ({"prompt": "Q\ud800", "solution": ""}, "p.jsonl, record 1: 'prompt' has half of a character"),
    ],
)
def test_a_wrong_record_is_named(tmp_path, record, message):
    (tmp_path / "p.jsonl").write_text(json.dumps(record))
    with pytest.raises(ProblemError, match=message):
        read_problem_file(tmp_path / "p.jsonl")


def test_a_place_of_many_digits_gives_a_short_sentence(tmp_path):
    call = {"tool": "add", "arguments": None, "start": 0, "end": int("9" * 4000)}
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "Q", "solution": "", "calls": [call]}))
    with pytest.raises(ProblemError, match="spans lie inside the solution") as caught:
        read_problem_file(tmp_path / "p.jsonl")
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_two_of_one_id_and_none_are_refused(tmp_path):
    with pytest.raises(ProblemError, match="one or more"):
        write_problems(tmp_path / "p.jsonl", [])
    with pytest.raises(ProblemError, match="2 problems with the id 'x'"):
        write_problems(tmp_path / "p.jsonl", [Problem("x", "Q", "A"), Problem("x", "R", "A")])
    assert not list(tmp_path.iterdir())
