"""Data sets that a user brings: FuncQA, GSM8K-XL, KAMEL and VirtualHome, on records of our own."""

import json

import pytest

from pydisp.toolken.problems.funcqa import read_funcqa
from pydisp.toolken.problems.gsm8k_xl import read_gsm8k_xl
from pydisp.toolken.problems.kamel import read_kamel
from pydisp.toolken.problems.labels import label
from pydisp.toolken.problems.problem import GoldCall, ProblemError
from pydisp.toolken.problems.virtualhome import read_virtualhome


def write(path, records, *, as_lines: bool = False):
    path.write_text("\n".join(map(json.dumps, records)) if as_lines else json.dumps(records))
    return path


@pytest.mark.parametrize("as_lines", [False, True])
def test_funcqa(tmp_path, as_lines):
    records = [
        {"text": "Q: 2 to the 5?\nA: <power>(2, 5)=32<eoe> it is.", "start_token_idx": [9], "end_token_idx": [11]},
        {"question": "What is 2 to the 8?", "answer": 256, "func": "<power>(2,8)=256"},
        {"question": "Then by 4?", "answer": 64, "calculation": ["<power>(2, 8)=256", "<divide>(256, 4)=64"]},
        {"question": "Named only?", "answer": 6, "func": "<permutate>"},
        {"question": "Nothing known?", "answer": 6},
    ]
    found = read_funcqa(write(tmp_path / "f.json", records, as_lines=as_lines))
    assert [one.calls for one in found.problems] == [
        (GoldCall("power", "2, 5", 1, 3),),
        (GoldCall("power", "2, 8", 0, 0),),
        (GoldCall("power", "2, 8", 0, 0),),
        (GoldCall("permute", None, 0, 0),),
    ]
    assert [one.answer for one in found.problems] == [None, "256", "64", "6"]
    assert found.left_out == ("1 questions are left out, for the tool that they need first cannot be told.",)


def test_gsm8k_xl(tmp_path):
    records = [
        {"text": "Q: 48 and 24?\nA: 48+24=72", "tar_eq": ["<add>(48, 24)=72<eoe>"], "tar_number": ["72"]},
        {"question": "Ann has {v_1} and {v_2}.", "enhanced_v": [4800, 2.5], "enhanced_result": 4802.5},
    ]
    first, second = read_gsm8k_xl(write(tmp_path / "x.json", records)).problems
    assert first.calls == (GoldCall("add", "48, 24", 8, 10),)
    assert (second.prompt, second.answer, second.kind) == ("Question: Ann has 4800 and 2.5.\nAnswer:", "4802.5", "answer only")
    with pytest.raises(ProblemError, match=r"asks for \{v_3\}, and enhanced_v has 2 values"):
        read_gsm8k_xl(write(tmp_path / "y.json", [{"question": "{v_3}", "enhanced_v": [1, 2]}]))


def test_kamel(tmp_path):
    records = [
        {"question": "Who is the father of Ada?", "answer": ["Bo", "Al"], "api": "<P22>"},
        {"text": "Q: Where was Ada born?\nA: Lund", "api": "P19"},
        {"api": "P20"},
    ]
    path = write(tmp_path / "k.json", records)
    found = read_kamel(path)
    assert found.tools.names == ("P19", "P22") and found.tools["P22"].documentation == "The relation P22."
    assert [(one.calls[0].tool, one.answer, one.solution) for one in found.problems] == [("P22", "Bo, Al", ""), ("P19", "Lund", "")]
    assert found.left_out == (
        "1 records are left out, for they have no question.",
        "2 relations have no documentation but their names; a file documentation.json beside the records can give it.",
    )
    write(tmp_path / "documentation.json", {"P22": "Father of a person."})
    assert read_kamel(path).tools["P22"].documentation == "Father of a person."
    write(tmp_path / "documentation.json", {"P22": 5})
    with pytest.raises(ProblemError, match="not the documentation of relations"):
        read_kamel(path)
    with pytest.raises(ProblemError, match="no record with a question"):
        read_kamel(write(tmp_path / "z.json", [{"api": "P20"}]))


def test_virtualhome(tmp_path):
    from tiny_text import tiny_tokenizer

    records = [{"text": "Goal: drink\nPlan:\n[WALK] <kitchen>\n[GRAB] <water_glass>"}, {"text": "no plan"}]
    found = read_virtualhome(write(tmp_path / "v.json", records))
    (problem,) = found.problems
    assert problem.prompt == "Goal: drink\nPlan:\n" and problem.solution == "[WALK] <kitchen>\n[GRAB] <water_glass>"
    assert [problem.solution[call.start : call.end] for call in problem.calls] == ["[WALK]", "<kitchen>", "[GRAB]", "<water_glass>"]
    assert found.tools.names == ("GRAB", "WALK", "kitchen", "water_glass")
    assert found.tools["water_glass"].documentation == "The object water glass in a house."
    assert [one for one in label(problem, tiny_tokenizer(), found.tools).targets if one >= 0] == [1, 2, 0, 3]
    assert found.left_out == ("1 texts are left out, for they have no plan of [ACTIONS] and <objects> behind a goal.",)
    with pytest.raises(ProblemError, match="has no plan"):
        read_virtualhome(write(tmp_path / "w.json", [{"text": "no plan"}]))
