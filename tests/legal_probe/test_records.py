"""Files of passages: JSONL and YAML give the same records, and what cannot be read is refused with its line."""

import json

import pytest

from pydisp.legal_probe.passages import ConceptsError, Span, concept_set, read_concepts, shipped
from pydisp.legal_probe.records import records_of

YAML = """\
# actions of people
groups:
  actions: [may, must not]
passages:
- id: a
  source: "Act, s 3"
  text: |
    A person may drive, and
    must not sleep.
  spans:
    - {concept: may, phrase: drive}
    - concept: must not
      regex: must\\s\\w+
- {id: b, text: "He may go.", spans: [{concept: may, start: 3, end: 9}]}
"""


def test_yaml_says_what_json_says(tmp_path):
    (tmp_path / "c.yaml").write_text(YAML, encoding="utf-8")
    read = read_concepts(tmp_path / "c.yaml")
    text = "A person may drive, and\nmust not sleep.\n"
    spans = [{"concept": "may", "phrase": "drive"}, {"concept": "must not", "phrase": "must not"}]
    records = [
        {"id": "a", "text": text, "source": "Act, s 3", "spans": spans},
        {"id": "b", "text": "He may go.", "spans": [{"concept": "may", "phrase": "may go"}]},
        {"groups": {"actions": ["may", "must not"]}},
    ]
    from_python = concept_set(records)
    assert [(one.id, one.text, one.spans, one.source) for one in read.passages] == [
        (one.id, one.text, one.spans, one.source) for one in from_python.passages
    ]
    assert read.groups == from_python.groups and [one.place for one in read.passages] == ["c.yaml, line 5", "c.yaml, line 14"]
    (tmp_path / "list.YML").write_text(json.dumps(records), encoding="utf-8")  # JSON is YAML; a list of records may hold groups too
    assert read_concepts(tmp_path / "list.YML").groups == read.groups


def test_ends_of_lines_and_a_byte_order_mark_are_no_part_of_a_file(tmp_path):
    line = json.dumps({"id": "a", "text": "x\u2028y\x85z", "spans": [{"concept": "c", "phrase": "y"}]}, ensure_ascii=False)
    (tmp_path / "c.jsonl").write_bytes(b"\xef\xbb\xbf" + f"\r\n{line}\r\n".encode())
    (passage,) = read_concepts(tmp_path / "c.jsonl").passages
    assert passage.spans == (Span("c", 2, 3),) and passage.place == "c.jsonl, line 2"


GOOD = '{"id": "a", "text": "He may go.", "spans": [{"concept": "may", "phrase": "may"}]}\n'
LINES = [
    ("", "c.jsonl: there is no passage"),
    (" \n\n", "c.jsonl: there is no passage"),
    (GOOD + "\n{", "c.jsonl, line 3 is no JSON (Expecting property name enclosed in double quotes at column 2)"),
    (GOOD + "[1]", "c.jsonl, line 2: a passage is [1]"),
    (GOOD.replace('"may"}', 'NaN}'), "c.jsonl, line 1: NaN is no value of JSON"),
    (GOOD.replace('"may"}', '-Infinity}'), "c.jsonl, line 1: -Infinity is no value of JSON"),
    (GOOD.replace('"phrase": "may"', '"start": ' + "9" * 5000), "c.jsonl, line 1 holds a number of thousands of digits"),
    (GOOD + "[" * 100_000, "c.jsonl, line 2 holds lists in lists"),
    (GOOD.replace('"phrase"', '"concept"'), "c.jsonl, line 1: the key 'concept' stands twice in one object"),
    (GOOD.encode() + b'"\xff"', "c.jsonl is not UTF-8 (byte 83, line 2)"),
    (GOOD.encode("utf-16"), "c.jsonl is UTF-16"),
]  # fmt: skip


@pytest.mark.parametrize("content, words", LINES)
def test_a_wrong_line_of_json_is_named(tmp_path, content, words):
    (tmp_path / "c.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConceptsError) as error:
        read_concepts(tmp_path / "c.jsonl")
    assert words in str(error.value) and str(error.value).endswith(".")


def changed(old: str, new: str) -> str:
    assert old in YAML
    return YAML.replace(old, new)


PLACES = [
    ("", "c.yaml: there is no passage"),
    ("passages: []", "c.yaml: there is no passage"),
    ("groups: {}", "c.yaml: there is no passage"),
    ("just words", "c.yaml, line 1: the passages are 'just words'; write a list of passages"),
    ("\npassages:", "c.yaml, line 2: the passages are None"),
    ("- 3", "c.yaml, line 1: a passage is 3"),
    (changed("passages:", "passage:"), "c.yaml: the file has the unknown key 'passage' (did you mean 'passages'?)"),
    (changed("must not]", "must]"), "c.yaml, line 3: the group 'actions' holds 'must'"),
    (changed("\n  actions: [may, must not]", " [may]"), "c.yaml, line 2: groups is ['may']"),
    (changed("  actions: [may, must not]", "  x: [may]\n  y: [may]\n  may: [may]"), "c.yaml, line 5: the group 'may' has the name of a concept"),
    (changed("phrase: drive", "phrase: walk"), "c.yaml, line 11: the phrase 'walk' does not occur in the text of passage 'a'"),
    (changed("regex: must", "regex: can"), "c.yaml, line 12: the regex"),
    (changed("concept: must not\n", "concept: may\n      phrase: drive, and\n").replace("regex:", "#"), "c.yaml, line 12: the spans"),
    (changed("{concept: may, phrase: drive}", "3"), "c.yaml, line 11: a span of passage 'a' is 3"),
    (changed("spans:\n", "spans: x\n").replace("    - {", "  # {").replace("    - c", "  # c").replace("      r", "  # r"), "c.yaml, line 5: the spans"),
    (changed("end: 9", "end: 99"), "c.yaml, line 14: a span of 'may' in passage 'b' runs from 3 to 99"),
    (changed("end: 9", "end: .nan"), "c.yaml, line 14: the end of a span of 'may' in passage 'b' is nan; it must be a whole number"),
    (changed("end: 9", "end: yes"), "is True; it must be a whole number"),
    (changed("id: b", "id: 1"), "c.yaml, line 14: the id is 1; it must be a string, in quotes"),
    (changed("id: b", "id: 2024-02-31"), "c.yaml, line 14: a value here cannot be read, such as a date"),
    (changed("id: b", "id: !!python/name:os.system x"), "c.yaml, line 14: this is no YAML (could not determine a constructor"),
    (changed("id: b", "id: b, id: c"), "c.yaml, line 14: the key 'id' stands twice in one mapping"),
    (changed("- {id: b", "- {? [id] : b"), "c.yaml, line 14: a list or a mapping stands for a key"),
    (changed("groups:", "groups: {}\ngroups:"), "c.yaml, line 3: the key 'groups' stands twice"),
    (changed("id: b", "id: *b"), "c.yaml, line 14: there is the alias *b; write the value itself"),
    (changed("id: b", "id: " + "[" * 30), "c.yaml, line 14: there are lists in lists, more than 20 deep"),
    (changed("end: 9}]}", "end: 9"), "this is no YAML ("),
    (changed("\n- {id", "\n\t- {id"), "c.yaml, line 14: this is no YAML (found character '\\t' that cannot start any token)"),
    (changed("id: b", "id: \x07"), "c.yaml, line 14: this is no YAML (the character '\\x07' is not allowed)"),
    (YAML + "---\n- 3\n", "c.yaml, line 15: this is no YAML (but found another document)"),
]  # fmt: skip


@pytest.mark.parametrize("content, words", PLACES)
def test_a_wrong_place_of_yaml_is_named(tmp_path, content, words):
    (tmp_path / "c.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(ConceptsError) as error:
        read_concepts(tmp_path / "c.yaml")
    assert words in str(error.value) and str(error.value).endswith(".")


def test_what_is_no_file_of_passages_is_refused(tmp_path):
    (tmp_path / "c.json").write_text(GOOD)
    for path, words in (
        (tmp_path / "none.jsonl", "there is no file "),
        (tmp_path, " is a folder; give a .jsonl or .yaml file"),
        ("a\0b.jsonl", "path is 'a\\x00b.jsonl'; give a path"),
        ("x" * 5000 + ".jsonl", "; give a path, as a text or a pathlib.Path, whose names have at most 255 bytes and no null character."),
        (tmp_path / "c.json", "c.json is neither JSONL nor YAML by its name; end the name in .jsonl, .yaml or .yml."),
    ):
        with pytest.raises(ValueError) as error:
            read_concepts(path)
        assert words in str(error.value) and str(error.value).endswith(".")


def test_the_shipped_passages_are_read():
    concepts = shipped()
    assert {"definiendum", "role", "permissible action"} <= set(concepts.concepts)
    assert concepts.passages[0].place.startswith("passages.jsonl, line ") and all(one.source for one in concepts.passages)


def test_lines_hold_no_more_values_together_than_one():
    line = b'{"a": [' + b"1," * 999 + b"1]}\n"
    assert len(records_of(line * 100, "c.jsonl")) == 100
    with pytest.raises(ConceptsError, match="^c.jsonl holds more than 2,000,000 values, and no more are read at once; split the file.$"):
        records_of(line * 2000, "c.jsonl")
