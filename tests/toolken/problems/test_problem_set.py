"""Records of a user's files: what cannot be read is named by file and line, with what to do."""

import gzip
import json
import time

import pytest

from pydisp.toolken.problems.problem import ProblemError
from pydisp.toolken.problems.problem_set import read_json, read_records, read_text

GOOD = '{"prompt": "Q", "solution": " A"}'
MANY = "[" * 100_000
LONG = "9" * 5000


def said(read, path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ProblemError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize(
    "content, message",
    [
        (MANY, " holds lists in lists, more than 64 deep; a record is an object of texts, numbers and short lists: correct it."),
        (f'{GOOD}\n{{"calls": {MANY}}}', ", line 2 holds lists in lists, more than 64 deep"),
        (f'{GOOD}\n\n{{"start": {LONG}}}\n', ", line 3 holds a number of thousands of digits; a record is an object"),
        (f'[{{"start": {LONG}}}]', " holds a number of thousands of digits"),
        ('{"prompt": "x\\ud800", "solution": "A"}', r", record 1: 'prompt' has half of a character (\ud800), which is no text; write both halves, or leave it out."),
        (f'{GOOD}\n\n{{"solution": "\\uDFFF"}}', r", record 2: 'solution' has half of a character (\udfff)"),
        (f'{GOOD}\n{{"calls": [{{"tool": "\\ud800"}}]}}', ", record 2: 'calls' has half of a character"),
        (f'{GOOD}\n{{"\\ud800": 1}}', r", record 2: '\ud800' has half of a character"),
        (f'[{GOOD}, {{"prompt": "\\ud800"}}]', ", record 2: 'prompt' has half of a character"),
    ],
)  # fmt: skip
def test_what_no_text_or_number_can_be_is_named(tmp_path, content, message):
    assert said(read_records, tmp_path / "p.jsonl", content).startswith(message)


@pytest.mark.parametrize(
    "content, message",
    [
        ("", " is empty; give a JSON list of objects, or JSON lines."),
        (" \n\n", " is empty; give a JSON list of objects, or JSON lines."),
        ("[]", " is an empty list; give a JSON list of objects, or JSON lines."),
        (f"{GOOD}\n\n5\n", ", line 3 is the number 5; each line is one JSON object: correct it."),
        (f'{GOOD}\n"some text"', ", line 2 is the text 'some text'; each line"),
        (f"[1]\n{GOOD}", ", line 1 is a list; each line"),
        (f"{GOOD}\nnull", ", line 2 is null; each line"),
        (f"{GOOD}\ntrue", ", line 2 is true; each line"),
        (f"[{GOOD}, 5]", ", record 2 is the number 5; each record is one JSON object: correct it."),
    ],
)
def test_files_without_records_say_what_they_hold(tmp_path, content, message):
    assert said(read_records, tmp_path / "p.jsonl", content).startswith(message)


@pytest.mark.parametrize(
    "content, message",
    [
        (f"{GOOD}\n{{'prompt': 5}}\n{GOOD}", ", line 2 is no JSON (Expecting property name enclosed in double quotes at column 2); each line is one JSON object: correct it."),
        ('{\n "prompt": "Q"\n}', ", line 1 is no JSON (Expecting property name enclosed in double quotes at column 2); each line"),
        (f'{{"prompt": "Q\n{GOOD}', ", line 1 is no JSON (Unterminated string starting at column 12); each line"),
        (f"{GOOD} {GOOD}\n", ", line 1 is no JSON (Extra data at column 35); each line"),
        ('{"prompt": "Q" "solution"}', ", line 1 is no JSON (Expecting ',' delimiter at column 16); each line"),
        (f'{GOOD}\n{{"prompt": "Q', ", line 2 is no JSON (Unterminated string starting at column 12): the file is cut off; copy it again."),
        (f'{GOOD}\n{{"prompt": \n\n', ", line 2 is no JSON (Expecting value at column 11): the file is cut off; copy it again."),
        (f"[{GOOD},\n{{'a': 1}}]", " is no JSON (Expecting property name enclosed in double quotes at line 2, column 2); correct it there."),
        (f"[{GOOD},\n", " is no JSON (Expecting value at line 2, column 1): the file is cut off; copy it again."),
    ],
)  # fmt: skip
def test_only_a_file_that_is_cut_off_is_to_be_copied_again(tmp_path, content, message):
    assert said(read_records, tmp_path / "p.jsonl", content).startswith(message)


def test_json_says_the_same(tmp_path):
    path = tmp_path / "p.json"
    assert said(read_json, path, "").startswith(" is empty; give")
    assert said(read_json, path, MANY).startswith(" holds lists in lists")
    assert said(read_json, path, LONG).startswith(" holds a number of thousands of digits")
    assert said(read_json, path, '{"a": "\\ud800"}').startswith(": 'a' has half of a character")
    assert said(read_json, path, "{'a': 1}").endswith("correct it there.")
    assert said(read_json, path, '{"a": ').endswith("copy it again.")


@pytest.mark.parametrize("content", [GOOD, f"[{GOOD}]"])
def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path, content):
    path = tmp_path / "p.jsonl"
    path.write_text(content, encoding="utf-8-sig")
    assert read_records(path) == [{"prompt": "Q", "solution": " A"}]
    assert read_json(path) == json.loads(content)
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(f"\ufeff{content}\n{content}".encode()))
    assert read_text(path) == f"{content}\n{content}"


def test_both_halves_of_a_character_and_a_written_backslash_are_text(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(r'{"prompt": "\ud83d\ude00", "solution": "\\ud800"}')
    assert read_records(path) == [{"prompt": "\U0001f600", "solution": r"\ud800"}]


@pytest.mark.parametrize("damage", ["first block", "check sum", "end"])
def test_an_archive_that_is_damaged_is_named(tmp_path, damage):
    data = bytearray(gzip.compress(GOOD.encode() * 9))
    if damage == "end":
        del data[-12:]
    else:
        data[10 if damage == "first block" else -8] ^= 0xFF
    assert " is no whole gzip file (" in said(read_text, tmp_path / "p.jsonl.gz", bytes(data))


def test_records_with_whole_characters_are_looked_at_once(tmp_path):
    """The text is searched once, not once a record."""
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join([GOOD] * 30_000 + [r'{"prompt": "\ud83d\ude00"}']))
    start = time.process_time()
    assert len(read_records(path)) == 30_001
    assert time.process_time() - start < 5


def test_lines_hold_no_more_values_together_than_one(tmp_path):
    line = b'{"a": [' + b"1," * 999 + b"1]}\n"
    (tmp_path / "p.jsonl").write_bytes(line * 100)
    assert len(read_records(tmp_path / "p.jsonl")) == 100
    (tmp_path / "p.jsonl").write_bytes(line * 2000)
    with pytest.raises(ProblemError, match="p.jsonl holds more than 2,000,000 values, and no more are read at once; split the file.$"):
        read_records(tmp_path / "p.jsonl")
