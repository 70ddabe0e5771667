import hashlib
import json

import pytest
from killed import is_killed_at

from pydisp.holobench.sealed_file import json_line, manifest_path, read_manifest, read_records, sha256_of, write_sealed


class WrongError(ValueError):
    pass


RECORDS = [{"b": 1, "a": "Zoë\u2028\n"}, {"a": 1.5}]


def test_a_manifest_has_the_name_of_its_file(tmp_path):
    assert manifest_path("x/bench.jsonl").as_posix() == "x/bench.manifest.json"
    assert manifest_path("bench.txt").name == "bench.txt.manifest.json"


def test_lines_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "bench.jsonl"
    manifest = write_sealed(path, RECORDS, {"n": 2})
    records, sha256 = read_records(path, "items", WrongError)
    assert [record for _, record in records] == RECORDS and [number for number, _ in records] == [1, 2]
    assert read_manifest(path, WrongError) == manifest == {"n": 2, "sha256": sha256} and sha256 == sha256_of(RECORDS)
    assert path.read_bytes().startswith('{"a": "Zoë\u2028\\n", "b": 1}\n'.encode())


def test_an_order_of_keys_changes_no_byte(tmp_path):
    write_sealed(tmp_path / "a.jsonl", [{"a": 1, "b": 2}], {"x": 1, "y": 2})
    write_sealed(tmp_path / "b.jsonl", [{"b": 2, "a": 1}], {"y": 2, "x": 1})
    for suffix in ("jsonl", "manifest.json"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_file_that_is_there_has_its_manifest_after_a_kill_at_any_step(tmp_path):
    step = 0
    while is_killed_at(step, lambda: write_sealed(tmp_path / f"{step}.jsonl", RECORDS, {})):  # noqa: B023
        path = tmp_path / f"{step}.jsonl"
        if path.exists():
            assert read_manifest(path, WrongError)["sha256"] == sha256_of(RECORDS)
        step += 1
    assert step > 3


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_cannot_say_is_not_written(tmp_path, value):
    with pytest.raises(ValueError):
        write_sealed(tmp_path / "x.jsonl", [{"a": value}], {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", r" is no JSON \(.*\)"),
        (b"[1]", " is no JSON object"),
        (b"null", " is no JSON object"),
        (b'{"a": NaN}', ": NaN is no value of JSON"),
        (b'{"a": 1, "b": 2, "a": 3}', ": the key 'a' stands twice in one object, leave one out"),
        (b'{"a": 1e999}', " holds half of a character, or a number that no float can hold"),
        (b'{"a": "\\ud800"}', " holds half of a character"),
        (b"\xff", " is not UTF-8"),
        (b"[" * 100_000, " holds lists in lists, more than 64 deep"),
        (b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}", " holds lists in lists"),
        (b'{"a": [' + b"1," * 2_000_000 + b"1]}", " holds more than 2,000,000 values"),
    ],
)
def test_a_line_that_is_no_object_is_named(tmp_path, line, words):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n\n' + line + b"\n")
    with pytest.raises(WrongError, match=f"x.jsonl, line 3{words}.*; give a file of items with one object a line.$"):
        read_records(path, "items", WrongError)


@pytest.mark.parametrize("content", [b'{"a": 1}\n{"a": 2}\n', b'{"a": 1}\n{"a": 2}', b'\xef\xbb\xbf{"a": 1}\r\n\n{"a": 2}\n\n'])
def test_the_digest_is_that_of_all_bytes(tmp_path, content):
    (tmp_path / "x.jsonl").write_bytes(content)
    assert read_records(tmp_path / "x.jsonl", "items", WrongError)[1] == hashlib.sha256(content).hexdigest()


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}')
    assert [record["a"] for _, record in read_records(path, "items", WrongError)[0]] == [1, 2]


def test_only_a_file_is_read(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    for name, words in (
        ("none", "there is no file"),
        ("pipe", "is a pipe; give a file of items with one object a line."),
        (".", "a folder"),
    ):
        with pytest.raises(WrongError, match=words):
            read_records(tmp_path / name, "items", WrongError)
    (tmp_path / "x.manifest.json").write_text("[]")
    with pytest.raises(WrongError, match="no JSON object"):
        read_manifest(tmp_path / "x.jsonl", WrongError)
    assert read_manifest(tmp_path / "y.jsonl", WrongError) is None


def test_a_line_has_sorted_keys():
    assert (
        json.loads(json_line({"b": 1, "a": "é"})) == {"a": "é", "b": 1} and json_line({"b": 1, "a": "é"}) == '{"a": "é", "b": 1}\n'.encode()
    )
