"""Tools, problems and folders of toolkens of any content are what they hold, or one sentence."""

import hashlib
import json

import torch
from fuzzing import VALUES, changed_bytes, changed_json, fuzz
from hypothesis import strategies as st
from safetensors.torch import save
from toolken_training import TOOLS, problems

from pydisp.toolken.problems.metatool import read_metatool
from pydisp.toolken.problems.problem_file import read_problem_file, write_problems
from pydisp.toolken.toolkens import FACTS_FILE, ROWS_FILE, Toolkens
from pydisp.toolken.tools.tool_file import read_tools
from pydisp.toolken.tools.tools import Tools

SCHEMA = {
    "type": "function",
    "function": {
        "name": "find", "description": "Finds.",
        "parameters": {"type": "object", "required": ["what"], "properties": {
            "what": {"type": "string", "enum": ["a", "b"], "description": "x"}, "count": {"type": ["integer", "null"]}, "all": {"const": True},
        }},
    },
}  # fmt: skip
TOOL_LIST = [*(tool.as_dict() for tool in TOOLS), SCHEMA]


def test_tools(tmp_path):
    path, again = tmp_path / "t.json", tmp_path / "again.json"

    def outcome(content: bytes):
        path.write_bytes(content)
        read = read_tools(path)
        again.write_text(json.dumps([tool.as_dict() for tool in read]))
        assert isinstance(read, Tools) and read_tools(again) == read and all(tool.signature for tool in read)

    good = json.dumps(TOOL_LIST).encode()
    some = st.lists(st.sampled_from(TOOL_LIST), min_size=1, unique_by=str).map(lambda tools: json.dumps(tools).encode())
    one = st.sampled_from(TOOL_LIST).flatmap(lambda tool: changed_json([tool], (0,)))
    fuzz(
        "tools",
        st.one_of(one, one, changed_json(TOOL_LIST), some, changed_bytes(good), VALUES.map(lambda value: json.dumps(value).encode())),
        outcome,
    )


def test_problems(tmp_path):
    path, again = tmp_path / "p.jsonl", tmp_path / "again.jsonl"
    made = problems(4)
    write_problems(path, made)
    good = path.read_bytes()
    records = [json.loads(line) for line in good.splitlines()]

    def outcome(content: bytes):
        path.write_bytes(content)
        read = read_problem_file(path)
        write_problems(again, read)
        assert read_problem_file(again) == read
        if content == good:
            assert read == made

    one = st.integers(0, len(records) - 1).flatmap(
        lambda n: changed_json(records[n]).map(lambda one: b"\n".join([*(json.dumps(two).encode() for two in records[:n]), one]))
    )
    fuzz("problems", st.one_of(one, one, changed_json(records), changed_bytes(good), st.just(good)), outcome)


def test_metatool(tmp_path):
    files = {
        "plugin_des.json": json.dumps({"Weather": "Tells the weather.", "Maps": "Finds the way."}).encode(),
        "all_clean_data.csv": b'Query,Tool\nWill it rain?,Weather\n"Which way, and how far?",Maps\n',
        "Task1.json": json.dumps(
            [{"query": "Hail?", "label": "positive", "tool": "Weather"}, {"query": "A poem.", "label": "negative"}]
        ).encode(),
    }

    def outcome(case):
        changed, content = case
        for name, whole in files.items():
            (tmp_path / name).write_bytes(content if name == changed else whole)
        read = read_metatool(tmp_path)
        assert len({one.id for one in read.problems}) == len(read.problems)
        if not changed:
            assert len(read.problems) == 4

    fuzz(
        "MetaTool",
        st.one_of(
            *(changed_bytes(whole).map(lambda content, name=name: (name, content)) for name, whole in files.items()),
            *(
                changed_json(json.loads(files[name])).map(lambda content, name=name: (name, content))
                for name in files
                if name.endswith(".json")
            ),
            st.just(("", b"")),
        ),
        outcome,
    )


def test_folders_of_toolkens(tmp_path):
    rows = {"rows": torch.randn(3, 8), "rerank_rows": torch.randn(4, 8)}
    made = Toolkens(
        TOOLS, **rows, vocabulary=257, base={"name": "tiny", "digest": "a", "hidden_size": 8}, tokenizer_digest="b",
        calibration={"temperature": 1.5, "threshold": 0.6, "k": 2, "ece": None},
        training={"merged": [{"trained_on": ["a-1"], "settings": {"seed": 3}}], "removed": ["x"], "losses": [1.0]},
    )  # fmt: skip
    made.save(tmp_path / "one")
    content, facts = (tmp_path / "one" / ROWS_FILE).read_bytes(), json.loads((tmp_path / "one" / FACTS_FILE).read_text())

    def outcome(case):
        tensors, notes = case
        folder = tmp_path / "one"
        (folder / ROWS_FILE).write_bytes(tensors)
        (folder / FACTS_FILE).write_bytes(notes if notes is not None else json.dumps({**facts, "rows_digest": _digest(tensors)}).encode())
        read = Toolkens.load(folder)
        read.save(tmp_path / "two")
        assert Toolkens.load(tmp_path / "two").digest == read.digest and all(isinstance(one, str) for one in read.trained_on)
        assert read.policy().k == read.k and repr(read)
        if len(read.tools) > 1:
            read.without(read.tools.names[0])
        if case == (content, None):
            assert read.digest == made.digest

    def _digest(tensors: bytes) -> str:
        return hashlib.sha256(tensors).hexdigest()

    @st.composite
    def other_rows(draw) -> bytes:
        tensors = {name: one.clone() for name, one in rows.items()}
        name = draw(st.sampled_from(sorted(rows)))
        how = draw(st.sampled_from(["value", "dtype", "shape", "remove", "more"]))
        if how == "value":
            tensors[name][0, 0] = draw(st.floats(width=32))
        elif how == "dtype":
            tensors[name] = tensors[name].to(draw(st.sampled_from([torch.float16, torch.int64, torch.bool, torch.float64])))
        elif how == "shape":
            tensors[name] = draw(
                st.sampled_from([tensors[name][None], tensors[name][:0], tensors[name][:1], tensors[name][0]])
            ).contiguous()
        elif how == "remove":
            del tensors[name]
        else:
            tensors["x"] = torch.zeros(1)
        return save(tensors)

    fuzz(
        "toolkens",
        st.one_of(
            changed_json(facts).map(lambda notes: (content, notes)),
            changed_json(facts, ("training",)).map(lambda notes: (content, notes)),
            changed_bytes(json.dumps(facts).encode()).map(lambda notes: (content, notes)),
            other_rows().map(lambda tensors: (tensors, None)),
            changed_bytes(content).map(lambda tensors: (tensors, None)),
            st.just((content, None)),
        ),
        outcome,
    )
