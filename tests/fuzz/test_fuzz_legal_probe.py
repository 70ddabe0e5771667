"""Concepts and matrices of any content are what they hold, or one sentence."""

import json

import numpy as np
from fuzzing import VALUES, changed_bytes, changed_json, fuzz
from hypothesis import strategies as st

from pydisp.legal_probe.matrices import read_matrix
from pydisp.legal_probe.passages import read_concepts

TEXT = "The bank, or any other bank,\n shall keep a record \u2028 of it."
RECORDS = [
    {"groups": {"all": ["role", "duty"]}},
    {
        "id": "a",
        "text": TEXT,
        "spans": [{"concept": "role", "phrase": "bank", "occurrence": "all"}, {"concept": "duty", "start": 30, "end": 35}],
    },
    {"id": "b", "text": TEXT, "source": "x", "spans": [{"concept": "role", "regex": r"\bbanks?", "occurrence": 2}]},
]
LINES = "\n".join(map(json.dumps, RECORDS)).encode()
YAML = b"""\
groups:
  all: [role, duty]
passages:
  - id: a
    text: |
      The bank, or any other bank,
       shall keep a record of it.
    spans:
      - {concept: role, phrase: bank, occurrence: all}
      - concept: "duty"
        start: 31
        end: 36
  - id: 'b'  # a comment
    text: The bank.
    source: >-
      x
    spans: [{concept: role, regex: ba.k}]
"""
SPANS = st.fixed_dictionaries(
    {"concept": st.sampled_from(["role", "duty", "x"])},
    optional={
        "phrase": st.sampled_from(["bank", "The", " ", "record", "x"]),
        "regex": st.sampled_from(["a", ".", "[a-z]+", "(", "x*", r"\w+(?= b)", "(?i)THE", "$", "(?P<a>b)(?P=a)?"]),
        "occurrence": st.sampled_from([1, 2, "all", 99, None, True]),
        "start": st.integers(-1, 60),
        "end": st.integers(-1, 60),
    },
)


def _lines(records) -> bytes:
    return "\n".join(map(json.dumps, records)).encode()


def test_concepts(tmp_path):
    def outcome(case):
        suffix, content = case
        path = tmp_path / f"c.{suffix}"
        path.write_bytes(content)
        read = read_concepts(path)
        assert read.passages and read.concepts
        for passage in read.passages:
            for span in passage.spans:
                words = passage.text[span.start : span.end]
                assert words and words == words.strip()
        if content in (LINES, YAML):
            assert [len(one.spans) for one in read.passages] == [3, 1] and read.groups == {"all": ("role", "duty")}

    as_yaml = st.sampled_from([*range(len(RECORDS))]).flatmap(lambda n: changed_json(RECORDS[n])).map(lambda one: b"- " + one)
    one_changed = st.integers(0, len(RECORDS) - 1).flatmap(
        lambda n: changed_json(RECORDS[n]).map(lambda one: b"\n".join([*map(str.encode, map(json.dumps, RECORDS[:n])), one]))
    )
    spans = st.lists(SPANS, min_size=1, max_size=3).map(lambda some: _lines([{"id": "a", "text": TEXT, "spans": some}]))
    right = st.tuples(
        st.sampled_from([dict(phrase="bank"), dict(regex="b[a-z]+"), dict(regex=r"\ba\w*"), dict(phrase="r")]),
        st.sampled_from([1, 2, "all"]),
    )
    right = right.map(lambda one: _lines([{"id": "a", "text": TEXT, "spans": [{"concept": "role", "occurrence": one[1], **one[0]}]}]))
    fuzz(
        "concepts",
        st.one_of(
            one_changed.map(lambda content: ("jsonl", content)),
            spans.map(lambda content: ("jsonl", content)),
            right.map(lambda content: ("jsonl", content)),
            changed_bytes(LINES).map(lambda content: ("jsonl", content)),
            as_yaml.map(lambda content: ("yaml", content)),
            changed_bytes(YAML).map(lambda content: ("yml", content)),
            st.sampled_from([("jsonl", LINES), ("yaml", YAML), ("yaml", b""), ("txt", LINES)]),
        ),
        outcome,
    )


MATRIX = b"layer,0,1,2\n0,0.0911,0.1024,0.0876\n1,1e-3,-2,.5\n"
CELLS = st.sampled_from(
    ["0", "1.5", "-2e3", "", " ", "layer", "a", '"1"', '"', "nan", "inf", "1_0", "1,5", "0x1", "9" * 400, "١"]
) | st.floats().map(str)
ROWS = st.lists(st.lists(CELLS, min_size=1, max_size=4), min_size=1, max_size=4)


def test_matrices(tmp_path):
    path = tmp_path / "m.csv"

    def outcome(content: bytes):
        path.write_bytes(content)
        read = read_matrix(path)
        assert read.ndim == 2 and read.size and read.dtype == np.float64 and np.isfinite(read).all()
        if content == MATRIX:
            assert read.tolist() == [[0.0911, 0.1024, 0.0876], [1e-3, -2, 0.5]]

    table = st.tuples(ROWS, st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n", "\r"])).map(
        lambda case: case[2].join(case[1].join(row) for row in case[0]).encode()
    )
    odd = VALUES.map(lambda value: json.dumps(value).encode())
    square = st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False).map(str), min_size=3, max_size=3), min_size=1).map(
        lambda rows: "\n".join(map(",".join, rows)).encode()
    )
    fuzz("matrix", st.one_of(table, square, changed_bytes(MATRIX), odd, st.just(MATRIX), st.just(b'"' + b"x" * 200_000)), outcome)
