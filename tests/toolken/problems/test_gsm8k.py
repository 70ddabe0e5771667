"""GSM8K's marks become calls whose characters are the results; what is no single operation is counted."""

import json
import os
from decimal import Decimal
from pathlib import Path

import pytest

from pydisp.toolken.problems.checking import executed
from pydisp.toolken.problems.generator import result_of
from pydisp.toolken.problems.gsm8k import read_gsm8k
from pydisp.toolken.problems.problem import ProblemError
from pydisp.toolken.tools.builtin import BUILTIN

RECORDS = [
    {
        "question": "A mill grinds 1,200 sacks and 35 more. How many?",
        "answer": "It grinds 1,200+35=<<1200+35=1235>>1,235 sacks.\nHalf is $<<1235/2=617.5>>617.50.\n#### 1,235",
    },
    {"question": "Three terms?", "answer": "All are 1+2+3=<<1+2+3=6>>6.\n#### 6"},
    {"question": "Odd numbers on 3,4?", "answer": "It is .5*08=<<.5*08=4>>4 and 9-2 = <<9-2=7>>8 or seven.\n#### 4"},
]


def write(path: Path, records) -> Path:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def test_a_record_by_hand(tmp_path):
    found = read_gsm8k(write(tmp_path / "train.jsonl", RECORDS))
    first, odd = found.problems
    assert first.prompt == "Question: A mill grinds 1200 sacks and 35 more. How many?\nAnswer:"
    assert first.solution == " It grinds 1200+35= 1235 sacks.\nHalf is $617.50.\n#### 1235" and first.answer == "1235"
    assert [(call.tool, call.arguments, first.solution[call.start : call.end]) for call in first.calls] == [
        ("add", "1200, 35", "1235"),
        ("divide", "1235, 2", "617.50"),
    ]
    assert [(call.tool, call.arguments) for call in odd.calls] == [("multiply", "0.5, 8")] and "on 3,4?" in odd.prompt
    assert first.id == "gsm8k-train-1" and first.source == "gsm8k" and found.tools["multiply"]


def test_what_is_not_used_is_counted(tmp_path):
    left_out = read_gsm8k(write(tmp_path / "train.jsonl", RECORDS)).left_out
    assert left_out == (
        "1 calculations are not followed by their result; they stay plain text.",
        "1 calculations are not of two numbers and one operation; they stay plain text.",
        "1 problems have no calculation of two numbers and one operation; they are left out.",
    )


def test_a_folder_is_all_its_files(tmp_path):
    write(tmp_path / "train.jsonl", RECORDS)
    write(tmp_path / "test.jsonl", RECORDS[:1])
    assert [one.id for one in read_gsm8k(tmp_path).problems] == ["gsm8k-test-1", "gsm8k-train-1", "gsm8k-train-3"]


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ProblemError, match="no .jsonl file"):
        read_gsm8k(tmp_path)
    with pytest.raises(ProblemError, match="there is no file .*none.jsonl; give the path of a UTF-8 file"):
        read_gsm8k(tmp_path / "none.jsonl")
    with pytest.raises(ProblemError, match="record 1 has no 'answer'"):
        read_gsm8k(write(tmp_path / "a.jsonl", [{"question": "Q"}]))
    with pytest.raises(ProblemError, match="without a last line"):
        read_gsm8k(write(tmp_path / "b.jsonl", [{"question": "Q", "answer": "5"}]))
    (tmp_path / "c.jsonl").write_text('{"question": \n')
    with pytest.raises(ProblemError, match="line 1 is no JSON"):
        read_gsm8k(tmp_path / "c.jsonl")


@pytest.mark.skipif("PYDISP_TOOLKEN_DATA" not in os.environ, reason="PYDISP_TOOLKEN_DATA names the folder with gsm8k/")
def test_the_whole_data_set():
    found = read_gsm8k(Path(os.environ["PYDISP_TOOLKEN_DATA"]) / "gsm8k" / "train.jsonl")
    assert len(found.problems) == 7146 and sum(len(one.calls) for one in found.problems) == 20066
    assert all(Decimal(one.answer).is_finite() for one in found.problems)

    class Direct:
        tools = BUILTIN

        def call(self, tool, arguments):
            return type("Result", (), {"text": result_of(tool, arguments), "error": None})

    right, wrong = executed(found.problems, Direct())
    assert len(right) == 7146 and wrong == []
