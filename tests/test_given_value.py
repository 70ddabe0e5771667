"""JSON and YAML of any shape are read, or refused in one sentence, without recursion to the end of the stack."""

import time

import pytest
import yaml
from fuzzing import peak_mib, reset_peak_mib

from pydisp import given_value
from pydisp.given_value import (
    JSON_DEEPEST,
    YAML_DEEPEST,
    YAML_MOST_VALUES,
    check_depth,
    csv_rows,
    first_line,
    json_value,
    short,
    yaml_value,
)

NEEDED = "write it anew."


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("value", [None, 3, "a", [], {"a": [{"b": 1.5}, True]}])
def test_values_are_read(value):
    import json

    assert json_value(json.dumps(value), "a", NEEDED) == value == yaml_value(json.dumps(value), "a", NEEDED)


def test_the_depth_that_is_allowed_is_read_and_the_next_is_not():
    json_value(nested(JSON_DEEPEST), "a", NEEDED), yaml_value(nested(YAML_DEEPEST), "a", NEEDED)
    with pytest.raises(ValueError, match=f"^a holds lists in lists, more than {JSON_DEEPEST} deep; write it anew.$"):
        json_value(nested(JSON_DEEPEST + 1), "a", NEEDED)
    with pytest.raises(ValueError, match=f"^a, line 1: there are lists in lists, more than {YAML_DEEPEST} deep"):
        yaml_value(nested(YAML_DEEPEST + 1), "a", NEEDED)
    check_depth({"a": ({"b": []},)}, "a", NEEDED, deepest=4)
    with pytest.raises(ValueError, match="more than 3 deep"):
        check_depth({"a": ({"b": []},)}, "a", NEEDED, deepest=3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"a is no JSON \(Expecting value at column 1\)"),
        ('{"a": 1,\n}', r"a is no JSON \(.* at line \d, column \d+\)"),
        ("[" * 100_000, "a holds lists in lists"),
        ("9" * 5000, "a holds a number of thousands of digits"),
        (b"\xff", "a is not UTF-8|a is no JSON"),
    ],
)
def test_what_is_no_json_is_refused(text, words):
    with pytest.raises(ValueError, match=f"^{words}.*; write it anew.$"):
        json_value(text, "a", NEEDED)


@pytest.mark.parametrize(
    "text",
    ["[" + "[1]," * 6_000_000 + "1]", '{"a": [' + '"b",' * 6_000_000 + "1]}", '[{"a": 1}' + ', {"a": 1}' * 2_500_000 + "]"],
    ids=["lists", "texts", "objects"],
)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_line_of_millions_of_values_is_refused_before_they_are_made(text, as_bytes):
    given = text.encode() if as_bytes else text
    before = reset_peak_mib()
    started = time.process_time()
    with pytest.raises(ValueError, match="^a holds more than 2,000,000 values, and no more are read at once; write it anew.$"):
        json_value(given, "a", NEEDED)
    assert peak_mib() - before < 64 and time.process_time() - started < 5  # the values would be 700 MiB


@pytest.mark.parametrize("words", ["a, [b], {c}, ", r"\n, \", \\[ ", "é, {東} "], ids=["commas", "escapes", "letters"])
def test_a_long_record_of_prose_is_read(words):
    prose = words * ((25 << 20) // len(words))
    before = reset_peak_mib()
    value = json_value('{"text": "' + prose + '"}', "a", NEEDED, strictly=True)
    assert len(value["text"]) > 10 << 20 and peak_mib() - before < 256


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("[]", 1),
        ("3", 0),
        ("[1, 2]", 2),
        ('{"a": 1}', 1),
        ('{"a,": ",[{"}', 1),
        ('["\\",[{", 1]', 2),
        ('["\\\\",[1]]', 3),
        ('[",[{', 1),
        ('"\\', 0),
    ],
)
def test_values_are_counted_outside_of_strings(text, count):
    for most in range(5):
        assert given_value._has_more_values(text, most) == (count > most)


def test_the_limit_is_the_callers():
    assert json_value("[1, 2]", "a", NEEDED, most_values=2) == [1, 2]
    with pytest.raises(ValueError, match="^a holds more than 1 values"):
        json_value("[1, 2]", "a", NEEDED, most_values=1)


def test_a_key_that_stands_twice_among_many_is_found_at_once():
    text = "{" + "".join(f'"{n}":0,' for n in range(100_000)) + '"99999":1}'
    started = time.process_time()
    with pytest.raises(ValueError, match="^a: the key '99999' stands twice"):
        json_value(text, "a", NEEDED, strictly=True)
    assert time.process_time() - started < 5  # a count of each key took minutes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands twice in one object"),
        ("[NaN]", "NaN is no value of JSON"),
        ("-Infinity", "-Inf"),
    ],
)
def test_json_is_read_strictly_where_that_is_asked(text, words):
    json_value(text, "a", NEEDED)
    with pytest.raises(ValueError, match=f"^a: {words}.*; write it anew.$"):
        json_value(text, "a", NEEDED, strictly=True)


def test_rows_of_csv_have_their_lines():
    assert list(csv_rows('a;"b\nc"\n \nd;e', "a", NEEDED, delimiter=";")) == [(2, ["a", "b\nc"]), (4, ["d", "e"])]
    for text, line in (('a\n"b', 2), ('"a"b', 1), ("a\n" + "b" * 140_000, 2)):
        with pytest.raises(ValueError, match=f"^a, line {line}: this is no CSV .*; write it anew.$"):
            list(csv_rows(text, "a", NEEDED))


# "a": [9 × 9 × 9 … values] in a few hundred bytes
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "a, line 2: there is the alias *a0; write the value itself."),
        ("&a [*a]", "a, line 1: there is the alias *a"),
        ("{a: " * 5000, "a, line 1: there are lists in lists"),
        ("- " * 5000, "a, line 1: there are lists in lists"),
        ("x: 1\nx: 2", "a, line 2: the key 'x' stands twice"),
        ("y:\n  x: 1\n  x: 2", "a, line 3: the key 'x' stands twice"),
        ("[a]: 1", "a, line 1: a list or a mapping stands for a key"),
        ("x: 2024-13-45", "a, line 1: a value here cannot be read"),
        ("x: " + "9" * 5000, "a, line 1: a value here cannot be read"),
        ("x: !!int ''", "a, line 1: a value here cannot be read"),
        ("x: !!python/name:os.system x", "a, line 1: this is no YAML (could not determine a constructor"),
        ("x: \x07", "a, line 1: this is no YAML (the character '\\x07' is not allowed)"),
        ("x: \ud800", "a, line 1: this is no YAML"),
        ("x: [", "this is no YAML"),
        ("1\n---\n2", "a, line 2: this is no YAML (but found another document)"),
    ],
    ids=range(15),
)
def test_what_is_no_yaml_is_refused_with_its_line(text, words):
    with pytest.raises(ValueError) as error:
        yaml_value(text, "a", NEEDED)
    assert words in str(error.value) and str(error.value).endswith(".") and len(str(error.value)) < 300


RECORDS = """\
- id: "p-%d"  # a comment
  text: |
    The bank: shall keep
      a record.
  spans: [{concept: role, phrase: 'The bank'}, {concept: "é \\u2028", start: 0, end: 3}]
  more: [1, 2.5, ~, true, 2020-01-01, 0x1F, .inf, !!str 3, "", [], {}]
  folded: >-
    one
    two
"""


@pytest.mark.parametrize("reader", ["C", "Python"])
def test_a_large_yaml_is_read_alike_by_both_readers(monkeypatch, reader):
    if reader == "Python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    elif not yaml.__with_libyaml__:
        pytest.skip("this PyYAML has no libyaml")
    monkeypatch.setattr(given_value, "_LARGE_YAML", 0)
    count = 20
    small = "".join(RECORDS % n for n in range(count))
    assert yaml_value(small, "a", NEEDED) == [one for n in range(count) for one in yaml.safe_load(RECORDS % n)]
    for text, words in (
        (small + "- *a", f"a, line {9 * count + 1}: there is the alias"),
        (small + "- " * 50, f"a, line {9 * count + 1}: there are lists in lists"),
        (small + "- {a: 1, a: 2}", f"a, line {9 * count + 1}: the key 'a' stands twice"),
        (small + "- é\x07", f"a, line {9 * count + 1}: this is no YAML (the character '\\x07' is not allowed)"),
        (small + "- \ud800", f"a, line {9 * count + 1}: this is no YAML (the character"),
        (small + "- [", f"a, line {9 * count + 1 + (reader == 'C')}: this is no YAML"),
        (small + "- !!int 1x", "a, line 1: a value here cannot be read"),
    ):
        with pytest.raises(ValueError) as error:
            yaml_value(text, "a", NEEDED)
        assert str(error.value).startswith(words)


def test_a_megabyte_of_yaml_is_read_in_seconds():
    if not yaml.__with_libyaml__:
        pytest.skip("this PyYAML has no libyaml")
    text = "".join(RECORDS % n for n in range(4_000))
    assert len(text) > 1 << 20
    started = time.process_time()
    assert len(yaml_value(text, "a", NEEDED)) == 4_000
    assert time.process_time() - started < 8  # 13 s by the reader in Python


def test_more_values_of_yaml_than_are_read_are_refused_early():
    started = time.process_time()
    with pytest.raises(ValueError, match=f"^a, line 1: here the value {YAML_MOST_VALUES + 1:,} begins, and no more are read"):
        yaml_value("[" + "a," * 5_000_000 + "a]", "a", NEEDED)
    assert time.process_time() - started < 8


def test_without_libyaml_a_large_yaml_is_refused(monkeypatch):
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    with pytest.raises(ValueError, match="^a has more than 2,097,152 characters, and no more are read without libyaml; install"):
        yaml_value("a: " + "b" * (2 << 20), "a", NEEDED)


def test_what_a_library_says_is_cut_to_a_line():
    assert (
        first_line(ValueError("\n one\ntwo")) == "one"
        and first_line(ValueError("one:\n\n two:\nthree")) == "one: two"
        and first_line(KeyError()) == "KeyError"
    )
    assert len(first_line(ValueError("x" * 5000))) == 401


def test_any_value_is_shown_shortly():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert short("a") == "'a'" and len(short("a" * 100)) == 61
    assert short(deep) == "a value of type list, too large to be shown" and "of type int, too large" in short(10**5000)
    while deep:  # not freed by recursion
        deep = deep[0]
