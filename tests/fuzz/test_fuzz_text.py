"""A text source of any content and name gives its documents, never JSON as prose, or one sentence."""

import gzip
import json
import os

from fuzzing import RAW, VALUES, changed_bytes, changed_json, fuzz
from hypothesis import strategies as st

from pydisp.text import calibration_and_heldout, read_text

NAMES = [
    "a.txt",
    "a.md",
    "a",
    "a.jsonl",
    "a.ndjson",
    "a.json",
    "a.csv",
    "a.txt.gz",
    "a.json.gz",
    "a.jsonl.gz",
    "A.JSON",
    "a b#c.txt",
    "é.txt",
]
JSON_NAMES = ["a.jsonl", "a.ndjson", "a.json", "a.json.gz", "a.JSONL.gz"]
RECORDS = [{"text": f"Record {n} of \u2028 some é words.", "url": "https://example.org", "meta": {"n": n}} for n in range(12)]
LINES = "\n".join(map(json.dumps, RECORDS)).encode()
WORDS = st.text(min_size=1, max_size=200).filter(lambda text: "\0" not in text)


@st.composite
def records(draw) -> tuple[str, bytes, tuple[str, ...]]:
    """Records under any of JSON's names, in any of its forms, with the documents that they are."""
    found = [
        {"text": text, **extra} for text, extra in draw(st.lists(st.tuples(st.none() | WORDS, st.just({}) | st.just({"n": 1})), min_size=1))
    ]
    indent = draw(st.sampled_from([None, None, 1]))
    if draw(st.booleans()):
        content, names = json.dumps(found, indent=indent), ["a.json", "a.json.gz"]
    else:
        content, names = draw(st.sampled_from(["\n", "\r\n", "\n\n"])).join(map(json.dumps, found)), JSON_NAMES
    texts = tuple(one["text"] for one in found if one["text"] is not None and one["text"].strip())
    return draw(st.sampled_from(names)), content.encode(), texts


@st.composite
def contents(draw) -> tuple[str, bytes, None]:
    """Anything under any name."""
    line = st.tuples(st.sampled_from(["text", "body", ""]), VALUES).map(lambda pair: json.dumps({pair[0]: pair[1]}).encode())
    strange = RAW.map(lambda raw: b'{"text": "a", "more": ' + raw.encode() + b"}")
    content = draw(
        st.one_of(
            changed_bytes(LINES),
            changed_json(RECORDS),
            st.lists(st.one_of(line, strange, RAW.map(str.encode)), max_size=5).map(b"\n".join),
            st.text().map(str.encode),
            st.binary(max_size=300),
            st.tuples(st.sampled_from([b"x", b"{", b"[", b'"', b" ", b"\xe2\x82\xac", b"\0", b"a b "]), st.integers(1, 1 << 22)).map(
                lambda pair: pair[0] * (pair[1] // len(pair[0]))
            ),
            st.integers(1, 1 << 22).map(lambda size: b'{"text": "' + b"x" * size + b'"}'),
        )
    )
    return draw(st.sampled_from(NAMES)), content, None


SPECIAL = st.sampled_from(
    [*((name, kind, None) for name in ("a.txt", "a.jsonl", "a.txt.gz") for kind in ("pipe", "folder", "nothing", "loop")),
     ("bomb.txt.gz", gzip.compress(bytes(1 << 25)), None), ("bomb.jsonl.gz", gzip.compress(b" " * (1 << 26), 1), None)]
)  # fmt: skip
DEVICES = st.sampled_from(["/dev/zero", "/dev/null", "/dev/stdin/x", "/", "\0", "x" * 5000, "hub:", "pythondoc:x", "", "a#b", "#", "~"])


def test_texts(tmp_path):
    number = iter(range(10**9))

    def outcome(case):
        name, content, texts = case if isinstance(case, tuple) else (case, None, None)
        folder = tmp_path / str(next(number) % 10)  # few folders, and none is cleared while a case that failed is looked at
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.rmdir() if old.is_dir() and not old.is_symlink() else old.unlink()
        path = folder / name if content is not None else name
        if content == "pipe":
            os.mkfifo(path)
        elif content == "folder":
            path.mkdir()
        elif content == "loop":
            path.symlink_to(path.name)
        elif isinstance(content, bytes):
            packed = name.endswith(".gz") and not content.startswith(b"\x1f\x8b")
            path.write_bytes(gzip.compress(content, 1) if packed else content)
        try:
            read = read_text([str(path)])
        except (ValueError, OSError):
            assert not texts, "records were refused"
            raise
        assert all(document.strip() for document in read.documents) and read.sha256
        if texts is not None:
            assert read.documents == texts
        elif content == LINES:
            assert name not in ("a.txt", "a.md", "a")
        calibration, heldout = calibration_and_heldout([str(path)])
        assert not set(calibration.documents) & set(heldout.documents)

    fuzz(
        "text source",
        st.one_of(records(), contents(), contents(), SPECIAL, DEVICES, st.sampled_from(NAMES).map(lambda n: (n, LINES, None))),
        outcome,
    )
