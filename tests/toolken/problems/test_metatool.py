"""MetaTool: a query's tool follows its prompt; queries without a tool hold one label; ambiguous ones are left out."""

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from pydisp.toolken.problems.labels import WORD, label
from pydisp.toolken.problems.metatool import read_metatool
from pydisp.toolken.problems.problem import GoldCall, ProblemError

TOOLS = {"Weather": "Tells the weather.", "Maps&Roads": "Finds the way."}
CSV = 'Query,Tool\nWill it rain?,Weather\n"Which way, and how far?",Maps&Roads\nWill it rain?,Weather\nAm I lost?,Weather\nAm I lost?,Maps&Roads\nHm?,Gone\n'
TASK = [
    {"query": "Is there hail  now?", "label": "positive", "tool": "Weather", "thought_prompt": "long"},
    {"query": "Write a poem.", "label": "negative", "tool": "", "thought_prompt": "long"},
]


def write(folder: Path) -> Path:
    (folder / "plugin_des.json").write_text(json.dumps(TOOLS))
    (folder / "all_clean_data.csv").write_text(CSV)
    (folder / "Task1.json.gz").write_bytes(gzip.compress(json.dumps(TASK).encode()))
    return folder


def test_queries_by_hand(tmp_path):
    found = read_metatool(write(tmp_path))
    assert found.tools.names == ("Weather", "Maps_Roads") and found.tools["Weather"].function is None
    assert [(one.kind, one.prompt, one.calls) for one in found.problems] == [
        ("single tool", "Question: Will it rain?\nAnswer:", (GoldCall("Weather", None, 0, 0),)),
        ("single tool", "Question: Which way, and how far?\nAnswer:", (GoldCall("Maps_Roads", None, 0, 0),)),
        ("needs a tool", "Question: Is there hail now?\nAnswer:", (GoldCall("Weather", None, 0, 0),)),
        ("no tool", "Question: Write a poem.\nAnswer:", ()),
    ]
    assert found.left_out == (
        "The tool 'Maps&Roads' is here 'Maps_Roads': a name has letters, digits, '_', '.' and '-'.",
        "2 queries are left out, for the data names several answers to them.",
        "1 queries are left out, for their tool has no description.",
        "1 queries are left out, for they stand there twice.",
    )


def test_a_query_without_a_tool_has_a_label(tmp_path):
    from tiny_text import tiny_tokenizer

    found = read_metatool(write(tmp_path))
    assert label(found.problems[-1], tiny_tokenizer(), found.tools).targets[0] == WORD
    assert label(found.problems[0], tiny_tokenizer(), found.tools).targets == (0,)


def test_a_folder_without_the_files_is_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "Task1.json.gz").unlink()
    with pytest.raises(ProblemError, match="no Task1.json or Task1.json.gz"):
        read_metatool(tmp_path)
    (tmp_path / "Task1.json").write_text('[{"query": "Q", "label": "maybe"}]')
    with pytest.raises(ProblemError, match="the label 'maybe'"):
        read_metatool(tmp_path)
    (tmp_path / "all_clean_data.csv").write_text("Question,Tool\na,b\n")
    (tmp_path / "Task1.json").write_text(json.dumps(TASK))
    with pytest.raises(ProblemError, match="it needs Query and Tool"):
        read_metatool(tmp_path)
    (tmp_path / "plugin_des.json").write_text("[]")
    with pytest.raises(ProblemError, match="description of each tool"):
        read_metatool(tmp_path)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ('"' + "x" * 140_000 + '",Weather\n', r"line 2: this is no CSV \(field larger than field limit"),
        ('a,"Weather\nb,c\n', r"line 3: this is no CSV \(unexpected end of data"),
        ('"a"b,Weather\n', "line 2: this is no CSV"),
    ],
)
def test_damaged_rows_are_refused_with_their_line(tmp_path, rows, words):
    (write(tmp_path) / "all_clean_data.csv").write_text("Query,Tool\n" + rows)
    with pytest.raises(ProblemError, match=f"all_clean_data.csv, {words}.*; copy the file again.$"):
        read_metatool(tmp_path)


@pytest.mark.parametrize("row", ["Hm?\n", "Hm?,\n", ",Weather\n", "\n", "Tool,a\n"])
def test_rows_without_a_query_or_a_tool_are_passed_over(tmp_path, row):
    (write(tmp_path) / "all_clean_data.csv").write_text("x,Query,Tool\n" + row)
    assert [one.kind for one in read_metatool(tmp_path).problems] == ["needs a tool", "no tool"]


@pytest.mark.skipif("PYDISP_TOOLKEN_DATA" not in os.environ, reason="PYDISP_TOOLKEN_DATA names the folder with metatool/")
def test_the_whole_data_set():
    found = read_metatool(Path(os.environ["PYDISP_TOOLKEN_DATA"]) / "metatool")
    assert len(found.tools) == 199
    assert Counter(one.kind for one in found.problems) == {"single tool": 20532, "needs a tool": 519, "no tool": 520}
