"""Counts come from files, texts or the demo model, and wrong ones are refused in a sentence."""

import gzip
import json

import numpy as np
import pytest

from pydisp.fairness.counts import Counts
from pydisp.loading import load_tokenizer
from pydisp.text import Text


def test_files_give_the_counts_of_keys(tmp_path):
    (tmp_path / "ids.json").write_text('{"3": 5, "17": 1, "4": 0}')
    (tmp_path / "words.json.gz").write_bytes(gzip.compress(json.dumps({"the": 9, "naïve": 2}).encode()))
    assert Counts.read(tmp_path / "ids.json", "token").of(np.array([3, 4, 5, 17])).tolist() == [5, 0, 0, 1]
    assert Counts.read(tmp_path / "words.json.gz", "word").of(np.array(["naïve", "x", "the"], dtype=object)).tolist() == [2, 0, 9]


def test_parquet_gives_the_same(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"word": ["a", "b"], "count": [3, 1]}), tmp_path / "c.parquet")
    assert Counts.read(tmp_path / "c.parquet", "word").by_type == {"a": 3, "b": 1}
    with pytest.raises(ValueError, match="has of the columns that are read count; give one with the columns id and count."):
        Counts.read(tmp_path / "c.parquet", "token")
    for columns, words in (
        ({"word": ["a", "a"], "count": [1, 2]}, "gives 'a' twice"),
        ({"word": ["a"], "count": [1.5]}, "whole number"),
        ({"word": [["a"]], "count": [1]}, "has list<.*> in the column word, and it must hold numbers or texts"),
        ({"word": [{"a": 1}], "count": [1]}, "has struct<.*> in the column word"),
        ({"word": ["a", None], "count": [1, 1]}, "has 1 empty cells in the column word"),
        ({"word": ["a"], "count": ["1"]}, "the count of 'a' is '1'"),
    ):
        parquet.write_table(pyarrow.table(columns), tmp_path / "wrong.parquet")
        with pytest.raises(ValueError, match=words):
            Counts.read(tmp_path / "wrong.parquet", "word")
    parquet.write_table(pyarrow.table({"id": [70.5], "count": [3]}), tmp_path / "wrong.parquet")
    with pytest.raises(ValueError, match="70.5 is no token id"):
        Counts.read(tmp_path / "wrong.parquet", "token")


def test_a_text_is_counted_by_word_and_by_id():
    text = Text("text", ("the cat, the hat",))
    assert Counts.of_text(text, "word").by_type == {"the": 2, "cat": 1, ",": 1, "hat": 1}
    tokenizer = load_tokenizer("demo")
    counts = Counts.of_text(text, "token", tokenizer)
    ids = tokenizer("the cat, the hat", add_special_tokens=False)["input_ids"]
    assert sum(counts.by_type.values()) == len(ids) and all(counts.by_type[i] == ids.count(i) for i in ids)


def test_the_demo_model_ships_counts_of_its_training_text(tmp_path):
    words, ids = Counts.of_demo("word"), Counts.of_demo("token")
    assert words.by_type["the"] == max(count for word, count in words.by_type.items() if word.isalpha())
    assert max(ids.by_type) < 2048 and sum(ids.by_type.values()) > 10**6
    words.write(tmp_path / "again.json.gz")
    assert Counts.read(tmp_path / "again.json.gz", "word").by_type == words.by_type


@pytest.mark.parametrize(
    "content, unit, words",
    [("[1]", "token", "holds \\[1\\]"), ("{", "token", "is no JSON"), ("[" * 100_000, "token", "lists in lists"), ('{"a": NaN}', "word", "NaN is no value of JSON"), ('{"a": 1}', "token", "'a' is no token id"),
     ('{"3": 1.5}', "token", "must be a whole number"), ('{"3": -1}', "token", "must be a whole number"), ('{"3": true}', "token", "whole number"),
     ("{}", "word", "no count above 0"), ('{"a": 0}', "word", "no count above 0"),
     ('{"a": 1, "a": 2}', "word", "the key 'a' stands twice in one object"), ('{"7_0": 1}', "token", "no token id"), ('{"-1": 1}', "token", "no token id"),
     ('{"a": 9007199254740993}', "word", "from 0 to 2"), ("3", "word", "holds 3"),
     ('{"3": 4, "42": 1}', "word", "count by id with --mode id")],
)  # fmt: skip
def test_wrong_files_are_refused(content, unit, words, tmp_path):
    (tmp_path / "counts.json").write_text(content)
    with pytest.raises(ValueError, match=words):
        Counts.read(tmp_path / "counts.json", unit)


def test_counts_of_another_vocabulary_are_refused(tmp_path):
    counts = Counts("file", "token", {5: 1, 900: 3})
    with pytest.raises(ValueError, match="has a count for id 900, the vocabulary has the ids 0 to 299"):
        counts.check(np.array([5]), 300)
    with pytest.raises(ValueError, match="has a count for id -1"):
        Counts("file", "token", {5: 1, -1: 3}).check(np.array([5]), 300)
    with pytest.raises(ValueError, match="has none of the 2 types"):
        counts.check(np.array([6, 7]), 1000)
    with pytest.raises(FileNotFoundError, match="there is no file .*absent.json; --counts takes"):
        Counts.read(tmp_path / "absent.json", "token")
