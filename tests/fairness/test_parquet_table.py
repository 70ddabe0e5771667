"""Parquet files are read, or refused in one sentence, whatever stands in them."""

import os

import pytest

from pydisp.fairness import parquet_table
from pydisp.fairness.parquet_table import read_parquet

pyarrow = pytest.importorskip("pyarrow")
NEEDED = "give another."


def written(path, columns, **options):
    from pyarrow import parquet

    parquet.write_table(columns if isinstance(columns, pyarrow.Table) else pyarrow.table(columns), path, **options)
    return path


def test_the_columns_that_are_known_are_read(tmp_path):
    table = read_parquet(written(tmp_path / "a.parquet", {"n": [1, 2], "x": [[1], [2]], "word": ["a", "b"]}), ("word", "n", "key"), NEEDED)
    assert table.to_pydict() == {"n": [1, 2], "word": ["a", "b"]}


def test_texts_may_be_stored_as_a_dictionary(tmp_path):
    words = pyarrow.array(["b", "a", "b"])
    for column in (words.dictionary_encode(), words.cast(pyarrow.string_view())):
        assert read_parquet(written(tmp_path / "a.parquet", {"word": column}), ("word",), NEEDED)["word"].to_pylist() == ["b", "a", "b"]


def test_what_is_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = written(tmp_path / "a.parquet", {"n": list(range(100)), "x": list(range(100))}, compression="none")
    monkeypatch.setattr(parquet_table, "MOST_ROWS", 99)
    with pytest.raises(ValueError, match="has 100 rows, and no more than 99 are read; give another.$"):
        read_parquet(path, ("n",), NEEDED)
    monkeypatch.setattr(parquet_table, "MOST_ROWS", 100)
    monkeypatch.setattr(parquet_table, "_MOST_BYTES", 100)
    with pytest.raises(ValueError, match="bytes in these columns, and no more than 100 are read"):
        read_parquet(path, ("n",), NEEDED)


def test_what_is_no_file_of_it_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has two columns named n; give another.$"):
        read_parquet(written(tmp_path / "two.parquet", pyarrow.table([[1], [2]], names=["n", "n"])), ("n",), NEEDED)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is a pipe; give another.$"):
        read_parquet(tmp_path / "pipe", ("n",), NEEDED)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_parquet(tmp_path / "none", ("n",), NEEDED)
    whole = written(tmp_path / "a.parquet", {"n": list(range(1000)), "word": list("ab" * 500)}).read_bytes()
    for size in (0, 4, len(whole) // 2, len(whole) - 4):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"is no Parquet file, or is damaged \(.*\); give another.$"):
            read_parquet(tmp_path / "cut", ("n",), NEEDED)
