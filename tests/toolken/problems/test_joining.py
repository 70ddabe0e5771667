"""Gold texts have their results where decoding puts them in: the labelled tokens are those that decoding writes."""

import json
import os
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toolken_tokenizers import TOKENIZERS

from pydisp.toolken.problems.generator import FAMILIES
from pydisp.toolken.problems.joining import joined, put_in
from pydisp.toolken.problems.labels import MASKED, continuation_ids, label
from pydisp.toolken.problems.problem import GoldCall, Problem, ProblemError
from pydisp.toolken.problems.problem_file import write_problems
from pydisp.toolken.problems.sources import read_problems

RECORDS = {
    "gsm8k": [
        {
            "question": "A mill?",
            "answer": "It is 1,200+35=<<1200+35=1235>>1,235 or $ <<1235/2=617.5>>617.50 (<<2*3=6>>6).\n<<6-5=1>>1\n#### 1",
        }
    ],
    "funcqa": [{"text": "Q: 2 to the 5?\nA: <power>(2, 5)=32<eoe>-fold; 4=<add>(1, 3)=4<eoe>"}],
    "gsm8k_xl": [{"text": "Q: 48 and 24?\nA: 48+24=72 and 72/2=  36.", "tar_eq": ["<add>(48, 24)=72<eoe>", "<divide>(72, 2)=36<eoe>"]}],
    "virtualhome": [{"text": "Goal: drink\nPlan:\n[WALK]<kitchen>\n[GRAB]  <glass>"}],
}


@cache
def tokenizer(name: str):
    return TOKENIZERS[name]()


def sources(folder: Path):
    for name, records in RECORDS.items():
        path = folder / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, records)))
        yield f"{name}:{path}"
    path = folder / "mine.jsonl"
    write_problems(path, [Problem("1", "Question: 3 times 60?\nAnswer:", "3*60=180 cups", (GoldCall("multiply", "3, 60", 5, 8),))])
    yield str(path)
    yield from (f"builtin:{family}" for family in FAMILIES)


def both_ways(problem: Problem, of, tools) -> tuple[list[list[int]], list[list[int]]]:
    """At each call with a result the labelled tokens, and what decoding writes behind the tokens before them."""
    one, learned, written = label(problem, of, tools), [], []
    results = iter([problem.solution[call.start : call.end] for call in problem.calls])
    for place, (token, target) in enumerate(zip(one.ids[one.first :], one.targets, strict=False), one.first):
        if target >= 0:
            learned.append([])
            before = of.decode(one.ids[:place], skip_special_tokens=True, clean_up_tokenization_spaces=False)
            written.append(continuation_ids(put_in(before, next(results)), of))
        if target >= 0 or target == MASKED:
            learned[-1].append(token)
    return learned, written


@pytest.mark.parametrize("name", ["merging", "byte level", "byte level, trimmed", "metaspace first", "prepended", "single digits"])
def test_labelled_tokens_are_those_that_decoding_puts_in_for_every_source(name, tmp_path):
    compared = 0
    for source in sources(tmp_path):
        read, of = read_problems(source, seed=0, count=60), tokenizer(name)
        for problem in read.problems:
            try:
                learned, written = both_ways(problem, of, read.tools)
            except ProblemError:  # a tokenizer without some of the characters; training leaves such problems out
                continue
            assert learned == written, (source, problem)
            compared += len(learned)
    assert compared > 50


@pytest.mark.skipif("PYDISP_TOOLKEN_DATA" not in os.environ, reason="PYDISP_TOOLKEN_DATA names the folder with gsm8k/")
def test_labelled_tokens_are_those_that_decoding_puts_in_for_gsm8k():
    read, of = read_problems(f"gsm8k:{os.environ['PYDISP_TOOLKEN_DATA']}/gsm8k", seed=0, count=600), tokenizer("single digits")
    for problem in read.problems:
        learned, written = both_ways(problem, of, read.tools)
        assert learned == written, problem


def test_results_move_and_keep_their_characters():
    one = Problem(
        "p", "Q:", "12*7=84, then $ 19 (  3)\n 5", tuple(GoldCall("t", None, *span) for span in ((5, 7), (16, 18), (22, 23), (26, 27)))
    )
    found = joined(one)
    assert found.solution == "12*7= 84, then $19 (3)\n5"
    assert [found.solution[call.start : call.end] for call in found.calls] == ["84", "19", "3", "5"]
    assert joined(found) is found


def test_the_end_of_the_prompt_counts_and_calls_without_a_result_stay():
    assert joined(Problem("p", "Q:", "84", (GoldCall("t", None, 0, 2),))).solution == " 84"
    assert joined(Problem("p", "Q: $", " 84", (GoldCall("t", None, 1, 3),))).solution == "84"
    unknown = Problem("p", "Q:", " so  ", (GoldCall("t", None, 5, 5),))
    assert joined(unknown) is unknown


@given(st.lists(st.tuples(st.text("a =$(\n", max_size=4), st.text("1 ", min_size=1, max_size=3)), max_size=4), st.text("a ", max_size=3))
def test_only_spaces_before_results_change(parts, tail):
    solution, calls = "", []
    for before, result in parts:
        solution += before + result
        calls.append(GoldCall("t", None, len(solution) - len(result), len(solution)))
    one = Problem("p", "Q:", solution + tail, tuple(calls))
    found = joined(one)
    assert joined(found) == found and found.solution.replace(" ", "") == one.solution.replace(" ", "")
    assert [found.solution[call.start : call.end] for call in found.calls] == [result for _, result in parts]
    assert found.solution.endswith(tail)
