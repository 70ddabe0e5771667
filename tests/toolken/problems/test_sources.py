"""Problems come by the name of their source; what is unknown or empty is refused in one sentence."""

import json
import os
from collections import Counter

import pytest

from pydisp.toolken.problems.generator import generate
from pydisp.toolken.problems.problem import GoldCall, Problem, ProblemError
from pydisp.toolken.problems.problem_file import write_problems
from pydisp.toolken.problems.sources import drawn, read_problems
from pydisp.toolken.tools.builtin import BUILTIN
from pydisp.toolken.tools.tool import Tool
from pydisp.toolken.tools.tools import Tools


def test_the_generated_ones_are_of_the_family_that_trains_unless_the_other_is_named():
    assert read_problems("builtin", seed=3, count=20).problems == tuple(generate("a", 20, 3))
    assert read_problems("builtin:a", seed=3, count=20).problems == tuple(generate("a", 20, 3))
    found = read_problems("builtin:b", seed=3, count=20)
    assert found.problems == tuple(generate("b", 20, 3)) and found.tools == BUILTIN and found.name == "builtin:b"
    with pytest.raises(ProblemError, match="no family 'c'"):
        read_problems("builtin:c", seed=3)


def test_every_reader_is_found_by_its_name(tmp_path):
    files = {
        "gsm8k": [{"question": "Q", "answer": "1+2=<<1+2=3>>3\n#### 3"}],
        "funcqa": [{"question": "Q", "answer": 1, "func": "<add>"}],
        "gsm8k_xl": [{"text": "Q: a\nA: 1+2=3", "tar_eq": ["<add>(1, 2)=3<eoe>"]}],
        "kamel": [{"question": "Q", "answer": "A", "api": "P22"}],
        "virtualhome": [{"text": "Goal:\n[WALK]"}],
    }
    for name, records in files.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, records)))
        found = read_problems(f"{name}:{path}", seed=0)
        assert len(found.problems) == 1 and found.problems[0].calls[0].tool in found.tools
        assert found.problems[0].source == name and found.name == f"{name}:{path.name}"
    with pytest.raises(ProblemError, match="plugin_des.json"):
        read_problems(f"metatool:{tmp_path}", seed=0)


def test_a_file_of_problems_takes_the_built_in_tools_or_those_given(tmp_path):
    path = tmp_path / "p.jsonl"
    problems = generate("a", 30, seed=1)
    write_problems(path, problems)
    assert read_problems(str(path), seed=0).problems == tuple(problems)
    with pytest.raises(ProblemError, match="which is not among the tools .*give the tools of this file"):
        read_problems(str(path), seed=0, tools=Tools([Tool("cube", "Cubes.")]))
    write_problems(path, [Problem("1", "Q", " 8", (GoldCall("cube", "2", 1, 2),))])
    assert read_problems(str(path), seed=0, tools=Tools([Tool("cube", "Cubes.")])).tools.names == ("cube",)


def test_a_count_draws_each_kind_as_often_while_it_lasts():
    problems = tuple(Problem(str(n), "Q", " A", kind="rare" if n % 10 == 0 else "common") for n in range(100))
    some = drawn(problems, 0, 30)
    assert Counter(one.kind for one in some) == {"rare": 10, "common": 20}
    assert [int(one.id) for one in some] == sorted(int(one.id) for one in some)
    assert Counter(one.kind for one in drawn(problems, 0, 8)) == {"rare": 4, "common": 4}
    assert drawn(problems, 0, 30) == some != drawn(problems, 1, 30)
    assert drawn(problems, 0, None) == drawn(problems, 0, 100) == list(problems)


def of_tool(number: int, tool: str | None, kind: str = "") -> Problem:
    calls = () if tool is None else (GoldCall(tool, None, 0, 0),)
    return Problem(f"{kind}{number}", f"Question: {kind} {number}?\nAnswer:", "" if calls else " A", calls, kind=kind)


def test_a_count_draws_each_tool_of_a_kind_as_often_while_it_lasts():
    """One tool has nearly all problems, as in MetaTool: every other one is drawn all the same."""
    many = [of_tool(number, "common", "one") for number in range(500)]
    rare = [of_tool(1000 + number, f"rare{number % 20}", "one") for number in range(60)]
    none = [of_tool(number, None, "none") for number in range(100)]
    for seed in range(3):
        some = drawn([*many, *rare, *none], seed, 84)
        assert Counter(one.kind for one in some) == {"one": 42, "none": 42}
        assert Counter(one.calls[0].tool for one in some if one.calls) == {"common": 2, **{f"rare{number}": 2 for number in range(20)}}
    few = [{one.calls[0].tool for one in drawn([*many, *rare], seed, 10)} for seed in (0, 1)]
    assert few[0] != few[1] and len(few[0]) == len(few[1]) == 10


def test_seen_problems_are_left_out_before_the_draw(tmp_path):
    problems = [of_tool(number, tool) for number, tool in enumerate(["add", "add", "subtract", "subtract"] * 10)]
    path = tmp_path / "p.jsonl"
    write_problems(path, problems)
    seen = {one.prompt for one in problems[:25]}
    found = read_problems(str(path), seed=0, count=10, is_unseen=lambda one: one.prompt not in seen)
    assert len(found.problems) == 10 and not seen & {one.prompt for one in found.problems}
    assert Counter(one.calls[0].tool for one in found.problems) == {"add": 5, "subtract": 5}
    assert found.left_out == ("25 of 40 problems are left out, because they were seen in training.",)
    with pytest.raises(ProblemError, match="all 40 problems of .* were seen in training; give other problems.$"):
        read_problems(str(path), seed=0, is_unseen=lambda one: False)
    asked = []
    read_problems(str(path), seed=0, is_unseen=lambda one: not asked.append(one))
    assert asked == problems


def test_generated_problems_that_were_seen_are_made_up_for():
    first = generate("a", 60, 3)
    seen = {one.prompt for one in first[10:40]}
    found = read_problems("builtin", seed=3, count=20, is_unseen=lambda one: one.prompt not in seen)
    assert list(found.problems) == [one for one in first if one.prompt not in seen][:20]
    assert found.left_out == ("30 of the first 50 problems that seed 3 generates are left out, because they were seen in training.",)
    with pytest.raises(ProblemError) as caught:
        read_problems("builtin", seed=3, count=20, is_unseen=lambda one: False)
    assert str(caught.value) == (
        "20 problems of builtin were asked for, and all of the first 320 that seed 3 generates were seen in training; give another seed, or other problems."
    )


def test_the_name_of_a_source_has_no_path_of_a_machine(tmp_path):
    path = tmp_path / "mine.jsonl"
    write_problems(path, [Problem("1", "Q", " A")])
    assert read_problems(str(path), seed=0).name == "mine.jsonl"
    (tmp_path / "test.jsonl").write_text(json.dumps({"question": "Q", "answer": "2+3=<<2+3=5>>5\n#### 5"}))
    assert read_problems(f"gsm8k:{tmp_path}/test.jsonl", seed=0).name == "gsm8k:test.jsonl"


def test_one_problem_is_said_as_one(tmp_path):
    write_problems(tmp_path / "p.jsonl", [Problem("1", "Q", " A")])
    with pytest.raises(ProblemError, match="^the one problem of .* was seen in training; give other problems.$"):
        read_problems(str(tmp_path / "p.jsonl"), seed=0, is_unseen=lambda one: False)
    with pytest.raises(ProblemError, match="^1 problem of builtin was asked for, and all of the first 16 that seed 3"):
        read_problems("builtin", seed=3, count=1, is_unseen=lambda one: False)
    (first,) = {one.prompt for one in generate("a", 1, 3)}
    found = read_problems("builtin", seed=3, count=20, is_unseen=lambda one: one.prompt == first)
    assert found.left_out[0].endswith("; 1 is there instead of 20.")
    assert read_problems("builtin", seed=3, count=20, is_unseen=lambda one: True).left_out == ()


def test_fewer_generated_problems_than_asked_for_are_said():
    few = {one.prompt for one in generate("a", 7, 3)}
    found = read_problems("builtin", seed=3, count=20, is_unseen=lambda one: one.prompt in few)
    assert len(found.problems) == 7
    assert found.left_out == (
        "313 of the first 320 problems that seed 3 generates are left out, because they were seen in training; 7 are there instead of 20.",
    )


@pytest.mark.skipif("PYDISP_TOOLKEN_DATA" not in os.environ, reason="PYDISP_TOOLKEN_DATA names the folder with metatool/")
def test_600_queries_of_metatool_have_every_tool_under_each_seed():
    for seed in range(2):
        found = read_problems(f"metatool:{os.environ['PYDISP_TOOLKEN_DATA']}/metatool", seed=seed, count=600)
        assert Counter(one.kind for one in found.problems) == {"single tool": 200, "needs a tool": 200, "no tool": 200}
        assert {one.calls[0].tool for one in found.problems if one.calls} == set(found.tools.names)


def test_what_is_no_source_is_refused(tmp_path):
    for source in ("nothing", "gsm8k", "http:x"):
        with pytest.raises(ProblemError, match="there are no problems .*; give builtin, builtin:a, builtin:b, gsm8k:PATH"):
            read_problems(source, seed=0)
    with pytest.raises(ProblemError, match="is a folder; give a JSONL file of problems, or a data set as gsm8k:PATH"):
        read_problems(str(tmp_path), seed=0)
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(ValueError, match="pipe.jsonl is a pipe; give a JSONL file of problems.$"):
        read_problems(str(tmp_path / "pipe.jsonl"), seed=0)
    with pytest.raises(ProblemError, match="^'kamel:' names no file; give kamel:PATH"):
        read_problems("kamel:", seed=0)
    for count in (0, True, 1.5):
        with pytest.raises(ValueError, match="it must be a whole number from 1 to 1000000"):
            read_problems("builtin", seed=0, count=count)
    path = tmp_path / "g.jsonl"
    path.write_text(json.dumps({"question": "Q", "answer": "5\n#### 5"}))
    with pytest.raises(ProblemError, match="has no problem that can be used: 1 problems have no calculation"):
        read_problems(f"gsm8k:{path}", seed=0)
