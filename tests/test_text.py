import gzip
import hashlib
import json
import sys

import pytest
import torch

from pydisp import progress, pythondoc
from pydisp import text as text_module
from pydisp.pythondoc import documents, python_version
from pydisp.text import Text, Tokens, calibration_and_heldout, other_text, read_text, split_heldout, tokenize


class Characters:
    """A tokenizer of one token a character, which would add its own special tokens if it were let."""

    def __init__(self, bos_token_id=None):
        self.bos_token_id = bos_token_id
        self.calls = 0

    def __call__(self, text, add_special_tokens=True, verbose=True):
        self.calls += 1
        ids = [ord(c) for c in text]
        return {"input_ids": [1, *ids, 2] if add_special_tokens else ids}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.txt").write_text("first", encoding="utf-8")
    (tmp_path / "b" / "c.md").write_text("second", encoding="utf-8")
    (tmp_path / "b" / "d.rst.gz").write_bytes(gzip.compress("third é".encode()))
    (tmp_path / "b" / "e.jsonl").write_text('{"text": "fourth"}\n\n{"text": " "}\n{"text": "fif\u2028th"}\n', encoding="utf-8")
    (tmp_path / "b" / "empty.py").write_text("", encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\0\1\2")
    (tmp_path / ".hidden.txt").write_text("no", encoding="utf-8")
    return tmp_path


class Slow(Characters):
    """One that takes a second for 64 KiB, says the clock."""

    def __init__(self, clock, bos_token_id=None):
        super().__init__(bos_token_id)
        self.clock = clock

    def __call__(self, text, **options):
        self.clock[0] += len(text) / 2**16
        return super().__call__(text, **options)


def test_tokenizing_a_large_text_is_told_with_the_time_it_takes_and_changes_no_token(monkeypatch):
    clock, said = [0.0], []
    monkeypatch.setattr(text_module.time, "perf_counter", lambda: clock[0])
    large, small = Text("large", ("word " * 2**18,)), Text("small", ("word " * 2**16,))
    told = tokenize(large, Slow(clock, 7), said.append)
    assert said == ["tokenizing large: 1.2 MiB, about 20 s"]
    assert torch.equal(told.ids, tokenize(large, Slow(clock, 7)).ids)
    tokenize(small, Slow(clock), said.append)  # 5 s, but no such tokenizer is so slow
    tokenize(large, Characters(), said.append)  # at once
    assert len(said) == 1


def test_reading_is_told_where_it_takes_seconds(monkeypatch, tmp_path):
    clock, said = [0.0], []
    (tmp_path / "many.jsonl").write_text('{"text": "words"}\n' * 5)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.__setitem__(0, clock[0] + 1.5) or clock[0])
    read_text([str(tmp_path / "many.jsonl")], said.append)
    assert said == ["reading many.jsonl: document 2, in 3 s", "reading many.jsonl: document 5 of 5, in 9 s"]
    said.clear()
    pythondoc._docstrings_read.clear()
    read_text(["pythondoc:heldout"], said.append)
    assert all(line.startswith("reading the documentation of Python: module ") for line in said) and len(said) > 4
    assert "left" in said[0] and ", in " in said[-1]


def test_folder_gives_its_documents_in_the_order_of_their_paths(folder):
    text = read_text([str(folder)])
    assert text.documents == ("first", "second", "third é", "fourth", "fif\u2028th")
    assert text.joined == "first\n\nsecond\n\nthird é\n\nfourth\n\nfif\u2028th"
    assert text.bytes == len(text.joined.encode()) and text.sha256 == hashlib.sha256(text.joined.encode()).hexdigest()


def test_name_holds_no_path(folder):
    assert read_text([str(folder / "a.txt"), str(folder / "b")]).name == "a.txt + b"
    assert read_text([str(folder)]).name == folder.name


def test_one_file_is_left_as_it_is(tmp_path):
    data = b"\n = Title = \r\n\r\n body \n\n"
    (tmp_path / "wiki.txt").write_bytes(data)
    assert read_text([str(tmp_path / "wiki.txt")]).sha256 == hashlib.sha256(data).hexdigest()


def test_another_field_of_a_jsonl_file_can_be_named(tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text('{"text": "a", "body": "b"}\n', encoding="utf-8")
    assert read_text([f"{path}#body"]).documents == ("b",)
    (tmp_path / "odd#name.txt").write_text("c", encoding="utf-8")
    assert read_text([str(tmp_path / "odd#name.txt")]).documents == ("c",)


BAD_FILES = {
    "empty.txt": (b" \n", "empty.txt is empty"),
    "picture.txt": (b"PNG\0", r"picture.txt is a binary file \(it holds NUL bytes\); text must be UTF-8"),
    "latin.txt": ("é".encode("latin-1"), r"latin.txt is not UTF-8 \(byte 0, line 1\)"),
    "cut.txt.gz": (gzip.compress(b"a long enough text")[:-9], "cut.txt.gz is no whole gzip file"),
    "plain.txt.gz": (b"not compressed", "plain.txt.gz is no whole gzip file"),
    "broken.jsonl": (b'{"text": "a"}\n{"text"\n', "broken.jsonl, line 2 is no JSON"),
    "list.jsonl": (b'\n["a"]\n', "list.jsonl, line 2 is no JSON object"),
    "body.jsonl": (b'{"body": "a", "n": 1}\n', r"body.jsonl, line 1 has no text in the field 'text' \(fields with text: body\)"),
    "number.jsonl": (b'{"text": 3}\n', "number.jsonl, line 1 has no text in the field 'text'"),
    "half.jsonl": (b'{"text": "\\ud800"}\n', "half.jsonl, line 1 holds half a surrogate pair"),
    "notes.jsonl": (b"\n", "notes.jsonl is empty"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_refused_in_one_sentence(tmp_path, name):
    data, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message) as error:
        read_text([str(tmp_path / name)])
    assert "\n" not in str(error.value)


def test_bad_sources_are_refused(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="missing.txt does not exist"):
        read_text([str(tmp_path / "missing.txt")])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="nothing holds no text"):
        read_text([str(tmp_path / "nothing")])
    with pytest.raises(ValueError, match="no source of text was given"):
        read_text([])
    with pytest.raises(ValueError, match="the name of a source of text is empty"):
        read_text([""])
    for sources in ("notes.txt", None, folder):
        with pytest.raises(TypeError, match="must be a list of strings"):
            read_text(sources)
    with pytest.raises(ValueError, match="only a file of JSON records takes a field"):
        read_text([f"{folder / 'a.txt'}#body"])
    with pytest.raises(ValueError, match="unknown source 'pythondoc:all'"):
        read_text(["pythondoc:all"])
    with pytest.raises(ValueError, match="names no data set"):
        read_text(["hub:"])


def test_a_text_that_is_read_twice_is_refused(folder):
    with pytest.raises(ValueError, match="a.txt is read twice"):
        calibration_and_heldout([str(folder), str(folder / "a.txt")])
    with pytest.raises(ValueError, match="is read twice"):
        calibration_and_heldout(["pythondoc", "pythondoc:heldout"])


def test_missing_extra_names_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"hub:x needs the library datasets; install it with: pip install 'datasets>=3'"):
        read_text(["hub:x"])


def test_hub_source_is_split_by_its_colons(monkeypatch):
    calls = []

    class Data(dict):
        column_names = ["text", "body"]

    class Library:
        @staticmethod
        def load_dataset(name, config, split):
            calls.append((name, config, split))
            return Data(text=["a", "", "b"], body=["c"])

    monkeypatch.setitem(sys.modules, "datasets", Library)
    assert read_text(["hub:owner/set"]) == Text("set train", ("a", "b"))
    assert read_text(["hub:owner/set:raw:test:body"]) == Text("set test", ("c",))
    assert calls == [("owner/set", None, "train"), ("owner/set", "raw", "test")]
    with pytest.raises(ValueError, match="no column 'title'; it has text, body"):
        read_text(["hub:owner/set:::title"])


def test_texts_of_this_machine_are_not_read_past_the_gate(monkeypatch, tmp_path):
    (tmp_path / "a.txt").write_text("a\nb\n")
    for name in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(ValueError, match="stands on this machine, where datasets would make a document of each line; leave out hub:.$"):
            read_text([f"hub:{name}"])

    class Data(dict):
        column_names = ["text"]

    class Library:
        @staticmethod
        def load_dataset(name, config, split):
            return Data(text=["a"])

    monkeypatch.setitem(sys.modules, "datasets", Library)
    (tmp_path / "train.parquet").touch()
    assert read_text([f"hub:{tmp_path}"]).documents == ("a",)


def test_ten_documents_are_split_by_documents():
    calibration, heldout = split_heldout(Text("notes", tuple(f"document {i}" for i in range(25))))
    assert calibration.documents == tuple(f"document {i}" for i in range(23)) and heldout.documents == ("document 23", "document 24")
    assert calibration.name == "notes (first 90 %)" and heldout.name == "notes (last 10 %)"


def test_one_document_is_cut_at_the_next_blank_line():
    text = "a" * 85 + "\n\n" + "b" * 4 + "\n" + "c" * 1 + "\n\n" + "d" * 6  # the last tenth starts at 89; the blank line is at 93
    calibration, heldout = split_heldout(Text("notes", (text,)))
    assert (calibration.joined, heldout.joined) == (text[:93], "d" * 6)


@pytest.mark.parametrize("mark", ["\n", " ", ""])
def test_one_document_without_blank_line_is_cut_at_a_smaller_mark(mark):
    text = "a" * 93 + mark + "b" * (100 - 93 - len(mark))
    calibration, heldout = split_heldout(Text("notes", (text,)))
    assert (calibration.joined, heldout.joined) == ((text[:93], text[94:]) if mark else (text[:90], text[90:]))


def test_heldout_is_never_calibration_text():
    repeated = tuple(f"document {i % 15}" for i in range(40))
    with pytest.raises(ValueError, match="all held-out documents are calibration documents too"):
        split_heldout(Text("notes", repeated))
    calibration, heldout = split_heldout(Text("notes", (*repeated[:36], "new", *repeated[:3])))
    assert heldout.documents == ("new",)
    assert not set(calibration.documents) & set(heldout.documents)


def test_each_source_gives_its_own_last_tenth(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": f"{name}{i}"}) + "\n" for i in range(10)), encoding="utf-8")
    calibration, heldout = calibration_and_heldout([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")])
    assert heldout.documents == ("a9", "b9") and len(calibration.documents) == 18
    (tmp_path / "c.txt").write_text("a", encoding="utf-8")
    with pytest.raises(ValueError, match="too few to hold out a tenth"):
        calibration_and_heldout([str(tmp_path / "c.txt")])


def test_a_document_of_one_source_is_not_held_out_by_another(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": f"{i}"}) + "\n" for i in range(10)), encoding="utf-8")
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": f"{i}"}) + "\n" for i in range(9, -1, -1)), encoding="utf-8")
    with pytest.raises(ValueError, match="all held-out documents are calibration documents too"):
        calibration_and_heldout([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")])


def test_pythondoc_is_the_default_and_has_its_own_parts():
    calibration, heldout = calibration_and_heldout()
    assert calibration.documents == tuple(d.text for d in documents("docstrings", "calibration"))
    assert heldout.documents == tuple(d.text for d in documents("docstrings", "heldout"))
    assert calibration.name == f"Python {python_version()} docstrings (calibration)"
    assert other_text().documents == tuple(d.text for d in documents("topics"))
    trained_on = {d.text for d in documents("docstrings", "train")}
    assert not trained_on & set(read_text(["pythondoc"]).documents)


@pytest.mark.parametrize("bos", [None, 7])
def test_tokens_are_the_joined_text_with_at_most_one_bos(bos):
    tokenizer = Characters(bos)
    tokens = tokenize(Text("notes", ("ab", "cé")), tokenizer)
    front = [] if bos is None else [bos]
    assert tokens.ids.tolist() == front + [ord(c) for c in "ab\n\ncé"]
    assert tokens.ids.dtype == torch.int64 and tokenizer.calls == 1
    assert tokens.text_bytes == 7 and tokens.tokens_per_byte == 6 / 7


def test_a_limit_takes_windows_evenly_over_the_text():
    tokens = Tokens("ten", torch.arange(41), 41, has_bos=False)
    assert tokens.windows(4, 19)[:, 0].tolist() == [0, 8, 20, 28]
    assert torch.equal(tokens.windows(4, 40), tokens.windows(4)) and torch.equal(tokens.windows(4, 10**9), tokens.windows(4))
    with pytest.raises(ValueError, match="at most 3 tokens were to be scored, one window has 4; allow more tokens"):
        tokens.windows(4, 3)


def test_windows_do_not_overlap_and_drop_the_tail():
    tokens = tokenize(Text("notes", ("abcdefgh",)), Characters(0))
    assert tokens.windows(4).tolist() == [[0, *b"abc"], [*b"defg"]]


def test_too_short_a_text_is_refused():
    tokens = tokenize(Text("notes", ("abcdefgh",)), Characters())
    with pytest.raises(ValueError, match="notes: found 8 tokens, one window needs 9; give more text or a shorter context"):
        tokens.windows(9)
    with pytest.raises(ValueError, match="context_tokens is 1; a window needs 2 tokens or more"):
        tokens.windows(1)
    with pytest.raises(ValueError, match="notes holds no text"):
        Text("notes", (" ",))
