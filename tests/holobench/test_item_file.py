import json

import pytest
from holobench_items import make_items
from tiny_text import tiny_tokenizer

from pydisp.holobench.item_file import FORMAT, ItemFileError, items_sha256, read_items, write_items
from pydisp.holobench.sealed_file import manifest_path, write_sealed

ITEMS, MANIFEST = make_items(tiny_tokenizer(), 3)


def write_records(path, records, **changes):
    """A benchmark of any records, with a manifest that fits."""
    write_sealed(path, records, {**MANIFEST, **changes})


def refused(path, *words):
    with pytest.raises(ItemFileError) as error:
        read_items(path)
    text = str(error.value)
    assert all(word in text for word in words), text
    assert "\n" not in text and text.endswith(".")


def test_items_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "bench.jsonl"
    manifest = write_items(path, ITEMS, {name: value for name, value in MANIFEST.items() if name not in ("format", "items", "sha256")})
    items, read = read_items(path)
    assert [one.as_dict() for one in items] == [one.as_dict() for one in ITEMS]
    assert read == manifest == MANIFEST and read["sha256"] == items_sha256(ITEMS)


def test_the_same_items_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_items(tmp_path / f"{name}.jsonl", make_items(tiny_tokenizer(), 3)[0], MANIFEST)
    for suffix in ("jsonl", "manifest.json"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_ids_differ_and_there_is_an_item(tmp_path):
    with pytest.raises(ItemFileError, match=f"several items of one id .{ITEMS[0].id}"):
        write_items(tmp_path / "x.jsonl", [ITEMS[0], ITEMS[1], ITEMS[0]], MANIFEST)
    with pytest.raises(ItemFileError, match="no items"):
        write_items(tmp_path / "x.jsonl", [], MANIFEST)
    assert not list(tmp_path.iterdir())
    write_records(tmp_path / "twice.jsonl", [one.as_dict() for one in (*ITEMS, *ITEMS)])
    refused(tmp_path / "twice.jsonl", ITEMS[0].id, ITEMS[2].id, "must differ")
    write_records(tmp_path / "none.jsonl", [])
    refused(tmp_path / "none.jsonl", "no items")


TEXTS = {"id", "context_id", "draw", "question", "sql", "context"}


@pytest.mark.parametrize("name", ITEMS[0].as_dict())
def test_a_field_of_a_wrong_kind_is_named_with_its_line(tmp_path, name):
    for value in ({}, [[1]], -1, True, *([1.5] if name != "asked" else []), *(["?"] if name not in TEXTS else [])):
        records = [one.as_dict() for one in ITEMS]
        records[1][name] = value
        write_records(tmp_path / "x.jsonl", records)
        refused(tmp_path / "x.jsonl", "line 2", repr(name), "must be")


@pytest.mark.parametrize("name", ITEMS[0].as_dict())
def test_a_missing_field_is_named(tmp_path, name):
    records = [one.as_dict() for one in ITEMS]
    del records[2][name]
    write_records(tmp_path / "x.jsonl", records)
    refused(tmp_path / "x.jsonl", "line 3", f"no {name!r}")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"class": "sum"}, "filter"),
        ({"placement": "left"}, "uniform"),
        ({"gold": {"columns": ["a"], "types": ["integer"], "rows": [[None]]}}, "gold"),
        ({"gold": {"columns": ["a"], "types": ["integer"], "rows": [[1, 2]]}}, "gold"),
        ({"gold": {"columns": ["a"], "types": ["float"], "rows": []}}, "gold"),
        ({"gold": {"columns": ["a", "b"], "types": ["text"], "rows": []}}, "gold"),
        ({"choices": ["1"]}, "choices"),
        ({"choices": ["1", "1"]}, "choices"),
        ({"choices": ["1", ""]}, "choices"),
        ({"correct": 4}, "correct"),
        ({"correct": None}, "correct"),
        ({"choices": None}, "correct"),
        ({"sha256": "ab"}, "SHA-256"),
        ({"density": 1.01}, "0 to 1"),
        ({"id": ""}, "not empty"),
        ({"offsets": [{"table": "t", "row": 0, "characters": [3, 1], "tokens": [0, 1]}]}, "offsets"),
        ({"more": 1}, "does not know"),
    ],
)
def test_a_field_without_sense_is_refused(tmp_path, changes, word):
    write_records(tmp_path / "x.jsonl", [{**ITEMS[0].as_dict(), **changes}])
    refused(tmp_path / "x.jsonl", "line 1", word)


def test_an_item_without_choices_or_rows_is_read(tmp_path):
    write_records(
        tmp_path / "x.jsonl",
        [{**ITEMS[0].as_dict(), "choices": None, "correct": None, "gold": {"columns": ["a"], "types": ["decimal(2)"], "rows": []}}],
    )
    item = read_items(tmp_path / "x.jsonl")[0][0]
    assert item.choices is None and item.gold.rows == ()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"format": "pydisp-holobench-0"}, FORMAT),
        ({"format": None}, FORMAT),
        ({"tokenizer": "tiny"}, "tokenizer"),
        ({"tokenizer": {"name": "tiny"}}, "tokenizer"),
        ({"style": {"template": "loud"}}, "style"),
        ({"style": None}, "style"),
        ({"style": {"other": 1}}, "style"),
    ],
)
def test_a_manifest_without_sense_is_refused(tmp_path, changes, word):
    write_records(tmp_path / "x.jsonl", [ITEMS[0].as_dict()], **changes)
    refused(tmp_path / "x.jsonl", "x.manifest.json", word)


def test_a_changed_file_and_one_without_its_manifest_are_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    write_items(path, ITEMS, MANIFEST)
    path.write_bytes(path.read_bytes().replace(b"Box 1 is", b"Box 1 was", 1))
    refused(path, "changed after it was built")
    manifest_path(path).write_text(json.dumps({**MANIFEST, "sha256": 1}))
    refused(path, "no sha256")
    manifest_path(path).unlink()
    refused(path, "x.manifest.json")
    refused(tmp_path / "none.jsonl", "there is no file")
