"""JSON becomes its records, never prose; a source that is no text, or without an end, is refused at once."""

import gzip
import json
import os
import socket

import pytest
from fuzzing import peak_mib, reset_peak_mib

from pydisp import text_source
from pydisp.text import calibration_and_heldout, read_text

TEXTS = tuple(f"Document {n} tells of the sea." for n in range(20))
RECORDS = [{"text": text, "timestamp": "2019-04-25T12:57:54Z", "url": "https://example.org"} for text in TEXTS]
LINES = "\n".join(map(json.dumps, RECORDS))


@pytest.fixture
def write(tmp_path):
    def write(name: str, content: str | bytes) -> str:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "c4-train.00000-of-01024.json.gz", "a.jsonl.gz", "a.NDJSON.gz"])
@pytest.mark.parametrize("mark", ["", "\ufeff", "\n \n"], ids=["plain", "marked", "blank"])
def test_lines_of_json_are_documents_whatever_their_file_is_called(write, name, mark):
    assert read_text([write(name, mark + LINES + "\n")]).documents == TEXTS


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz"])
def test_a_line_of_25_mb_is_read_if_it_is_prose_and_refused_if_it_is_lists(write, name):
    prose = "a, [b], {c}, " * 2_000_000
    assert read_text([write(name, json.dumps({"text": prose}) + "\n")]).documents == (prose,)
    before = reset_peak_mib()
    with pytest.raises(ValueError, match="holds more than 2,000,000 values, and no more are read at once; "):
        read_text([write(name, '{"text": "a", "more": [' + "[1]," * 6_300_000 + "1]}\n")])
    assert peak_mib() - before < 256


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_or_an_object_of_json_is_records(write, indent):
    assert read_text([write("a.json", json.dumps(RECORDS, indent=indent))]).documents == TEXTS
    assert read_text([write("b.json.gz", json.dumps(RECORDS[0], indent=indent))]).documents == TEXTS[:1]
    assert read_text([write("c.json", json.dumps([{"output": "b"}], indent=indent)) + "#output"]).documents == ("b",)


def test_a_first_record_longer_than_what_is_looked_at_first_is_one_record(write):
    long = "word " * 40_000
    assert read_text([write("a.json", json.dumps({"text": long}) + "\n" + LINES)]).documents == (long, *TEXTS)


def test_null_is_a_record_without_text(write):
    records = [{"text": None}, {"text": "a"}, {"text": None, "n": 1}]
    assert read_text([write("a.jsonl", "\n".join(map(json.dumps, records)))]).documents == ("a",)
    assert read_text([write("a.json", json.dumps(records))]).documents == ("a",)
    with pytest.raises(ValueError, match="b.jsonl is empty; give a file with text in it"):
        read_text([write("b.jsonl", '{"text": null}')])


@pytest.mark.parametrize("content", [LINES, json.dumps(RECORDS), json.dumps(RECORDS, indent=2), json.dumps(RECORDS[0], indent=1),
                                     json.dumps(TEXTS)], ids=["lines", "list", "indented", "object", "strings"])  # fmt: skip
@pytest.mark.parametrize("name", ["a.txt", "a", "a.md.gz", "a.jl"])
def test_json_under_another_name_is_not_prose(write, name, content):
    with pytest.raises(ValueError, match=rf"{name} holds JSON, not prose; name it .jsonl \(an object a line\) or .json"):
        read_text([write(name, content)])


@pytest.mark.parametrize("prose", ["{% block %} text", "[1] A note.", '["Quoted"](page) text', '{"a"} is a set', "[ ] to do", '"a": 1'])
def test_prose_with_brackets_is_prose(write, prose):
    assert read_text([write("a.txt", prose)]).documents == (prose,)


def test_a_folder_takes_lines_of_json_and_leaves_other_json_alone(write, tmp_path):
    write("a.ndjson", '{"text": "a"}')
    write("package.json", '{"name": "x"}')
    os.mkfifo(tmp_path / "b.txt")
    assert read_text([str(tmp_path)]).documents == ("a",)
    (tmp_path / "a.ndjson").unlink()
    with pytest.raises(ValueError, match="holds no text; it needs .txt, .* name a .json file itself"):
        read_text([str(tmp_path)])


BAD = {
    "strings.json": ('["a", "b"]', "strings.json, record 1 is no JSON object; each record must be one"),
    "fields.json": ('{"data": [{"text": "a"}]}', r"fields.json, line 1 has no text in the field 'text' \(fields with text: none\)"),
    "cut.json": ('[{"text": "a"}, {"te', "cut.json is no JSON .*; give one record a line, or a list of them"),
    "lists.json": ('["a"]\n["b"]', "lists.json is no JSON"),
    "deep.jsonl": ('{"text": "a"}\n' + "[" * 100_000, "deep.jsonl, line 2 holds lists in lists, more than 64 deep"),
    "deep.json": ('{"text": "a", "more": ' + "[" * 100 + "]" * 100 + "}", "deep.json holds lists in lists, more than 64 deep"),
    "digits.jsonl": ('{"text": ' + "9" * 5000 + "}", "digits.jsonl, line 1 holds a number of thousands of digits"),
    "half.jsonl": ('{"text": "\\udc00"}', "half.jsonl, line 1 holds half a surrogate pair"),
    "word.txt": ("x" * (1 << 21), "word.txt has 1,048,576 characters without white space, which is no text"),
    "word.jsonl": (json.dumps({"text": "a " + "x" * (1 << 21)}), "word.jsonl, line|word.jsonl has 1,048,576 characters without white space"),
    "utf16.txt": ("one\ntwo".encode("utf-16"), "utf16.txt is UTF-16, as some programs of Windows write text; save it as UTF-8"),
    "utf16.jsonl": (LINES.encode("utf-16"), "utf16.jsonl, line 1 is UTF-16"),
    "unmarked.txt": ("Some words in Latin letters".encode("utf-16-le"), "unmarked.txt is UTF-16"),
    "unmarked.md": ("Some words in Latin letters".encode("utf-16-be"), "unmarked.md is UTF-16"),
    "utf32.json": (LINES.encode("utf-32"), "utf32.json is UTF-16"),
    "bits.txt": (bytes(range(256)) * 20, "bits.txt is a binary file"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_text_is_refused_in_one_sentence(write, name):
    content, message = BAD[name]
    with pytest.raises(ValueError, match=message) as error:
        read_text([write(name, content)])
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_what_never_ends_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    for name in ("pipe.txt", "pipe.jsonl", "pipe.json", "pipe.txt.gz"):
        os.mkfifo(name)
        with pytest.raises(ValueError, match=f"{name} is a pipe; text is a file, a folder"):
            read_text([name])
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("s.txt")
        with pytest.raises(ValueError, match="s.txt is a socket"):
            read_text(["s.txt"])
    for device in ("/dev/zero", "/dev/null"):
        with pytest.raises(ValueError, match=f"{device} is a device"):
            read_text([device])


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "a\nb"])
def test_a_name_that_no_file_can_have_does_not_exist(name):
    with pytest.raises(FileNotFoundError, match="does not exist; text is a file"):
        read_text([name])


@pytest.fixture
def small(monkeypatch):
    """Limits of 1,000 bytes for all of a source, 100 for calibration and 200 for a line."""
    for name, limit in {"MOST_BYTES": 1000, "FIRST_BYTES": 100, "MOST_LINE_BYTES": 200}.items():
        monkeypatch.setattr(text_source, name, limit)


def taken(path: str) -> tuple[str, list[str]]:
    source = text_source.read_sources([path], first=True)[0]
    return source.name, list(source.documents)


def test_calibration_takes_the_first_whole_documents_and_says_so(write, small):
    assert taken(write("a.jsonl", LINES)) == ("a.jsonl (first 0 MiB)", list(TEXTS[:3]))
    assert taken(write("a.json", json.dumps(RECORDS))) == ("a.json (first 0 MiB)", list(TEXTS[:3]))
    assert taken(write("b.jsonl", '{"text": "a"}')) == ("b.jsonl", ["a"])


@pytest.mark.parametrize("letter", ["a", "é", "€", "😀"])
@pytest.mark.parametrize("shift", range(4))
def test_calibration_takes_whole_words_of_a_long_document(write, small, letter, shift):
    prose = "x" * shift + " ".join([letter * 5] * 200)
    name, (document,) = taken(write("a.txt", prose))
    assert name == "a.txt (first 0 MiB)" and prose.startswith(document + " ")
    assert 100 - len(letter.encode()) * 5 - 1 <= len(document.encode()) <= 100
    fits = (letter * 5 + " ")[: 100 // len(letter.encode())]
    assert taken(write("b.txt", fits)) == ("b.txt", [fits])
    with pytest.raises(ValueError, match="a.txt has more than 1,000 bytes"):
        read_text([write("a.txt", prose)])
    with pytest.raises(ValueError, match="a.txt.gz has more than 1,000 bytes"):
        read_text([write("a.txt.gz", prose)])


def test_too_much_text_and_too_long_a_line_are_refused(write, small):
    with pytest.raises(ValueError, match=r"b.jsonl has more than 0 MiB of text, and no more is read; give a part of it"):
        read_text([write("b.jsonl", "\n".join(['{"text": "' + "word " * 10 + '"}'] * 30))])
    with pytest.raises(ValueError, match="c.jsonl, line 2 has more than 200 bytes, and no longer line is read"):
        read_text([write("c.jsonl", '{"text": "a"}\n{"text": "' + "word " * 60)])


def test_the_held_out_text_of_a_long_source_is_of_the_part_that_is_taken(write, small):
    calibration, heldout = calibration_and_heldout([write("a.jsonl", "\n".join(json.dumps({"text": f"{n} n"}) for n in range(99)))])
    read = [*calibration.documents, *heldout.documents]
    assert read == [f"{n} n" for n in range(len(read))] and sum(map(len, read)) <= 100 < sum(map(len, read)) + 4
    assert heldout.name == "a.jsonl (first 0 MiB) (last 10 %)" and len(heldout.documents) == len(read) // 10
