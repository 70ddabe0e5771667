"""Counts, token stats and sweeps of any content are what they hold, or one sentence."""

import json

import numpy as np
import pytest
from fuzzing import ODD, VALUES, changed_bytes, changed_json, fuzz
from hypothesis import strategies as st

from pydisp.fairness.counts import Counts
from pydisp.fairness.token_stats import TokenStats, UnitValues
from pydisp.fairness.weight_decay.config import read_config

WORDS, IDS = {"the": 58023, "é": 2, "zygote": 1, "a": 0}, {"3": 5, "17": 1, "4": 0}
COLUMNS = st.one_of(
    st.lists(st.integers(0, 2**53), min_size=3, max_size=3),
    st.lists(st.text(max_size=3).filter(lambda text: "\ud800" not in text), min_size=3, max_size=3),
    st.lists(st.none() | st.integers(-1, 5), min_size=3, max_size=3),
    st.lists(st.floats(), min_size=3, max_size=3),
    st.lists(st.lists(st.integers(0, 5)), min_size=3, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.just([{"a": 1}] * 3),
    st.just([b"a", b"b", b"c"]),
)  # fmt: skip


def test_counts(tmp_path):
    def outcome(case):
        unit, suffix, content = case
        path = tmp_path / f"c.{suffix}"
        path.write_bytes(content)
        read = Counts.read(path, unit)
        kind = str if unit == "word" else int
        assert all(type(key) is kind and type(count) is int and count >= 0 for key, count in read.by_type.items()) and any(
            read.by_type.values()
        )

    units = st.sampled_from(["word", "token"])
    texts = st.one_of(
        changed_json(WORDS), changed_json(IDS), changed_bytes(json.dumps(WORDS).encode()), VALUES.map(lambda one: json.dumps(one).encode())
    )
    right = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), st.integers(0, 2**53 - 1)).map(
        lambda one: json.dumps(one).encode()
    )
    fuzz("counts", st.tuples(units, st.just("json"), st.one_of(texts, right)), outcome)


@pytest.fixture(scope="module")
def parquet():
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    return parquet


def written(parquet, path, columns: dict, notes: dict | None = None) -> bytes:
    import pyarrow

    parquet.write_table(pyarrow.table(columns, metadata=notes), path)
    return path.read_bytes()


def test_counts_of_parquet(tmp_path, parquet):
    path = tmp_path / "c.parquet"
    right = written(parquet, path, {"word": ["a", "b", "é"], "count": [3, 1, 0]})

    def outcome(case):
        if isinstance(case, bytes):
            path.write_bytes(case)
        else:
            written(parquet, path, case)
        for unit in ("word", "token") if isinstance(case, dict) and "id" in case else ("word",):
            read = Counts.read(path, unit)
            assert all(type(count) is int and count >= 0 for count in read.by_type.values())
        if case == right:
            assert read.by_type == {"a": 3, "b": 1, "é": 0}

    tables = st.fixed_dictionaries({}, optional={name: COLUMNS for name in ("word", "id", "count", "key", "x")})
    words = st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(0, 2**53 - 1), min_size=1)
    right_tables = words.map(lambda one: {"word": list(one), "count": list(one.values())})
    fuzz("counts of Parquet", st.one_of(tables, right_tables, changed_bytes(right), st.just(right)), outcome)


def test_token_stats(tmp_path, parquet):
    path = tmp_path / "s.parquet"
    ones = np.ones(3)
    stats = TokenStats.of("token", [1, 2, 2], UnitValues(*[ones] * 5), vocabulary="a")
    stats.save(path)
    right = path.read_bytes()
    table = parquet.read_table(path)
    columns, notes = table.to_pydict(), {key.decode(): value for key, value in table.schema.metadata.items()}

    def outcome(case):
        if isinstance(case, bytes):
            path.write_bytes(case)
        else:
            changed, more = case
            written(parquet, path, {**columns, **{name: column[:2] for name, column in changed.items()}}, {**notes, **more})
        read = TokenStats.load(path)
        assert len(read) == len(read.count) and (read.count >= 1).all() and read.merged(read).unit == read.unit

    some = st.dictionaries(st.sampled_from(sorted(columns)), COLUMNS, max_size=2)
    others = st.dictionaries(
        st.sampled_from(["format", "unit", "vocabulary", "x"]), st.sampled_from([b"word", b"token", b"", b"\xff"]), max_size=1
    )
    fuzz("token stats", st.one_of(st.tuples(some, others), changed_bytes(right), st.just(right)), outcome)


SWEEP = {
    "name": "small", "train": ["a.txt"], "held_out": "b.txt", "vocabulary_size": 512, "train_tokens": 10_000, "weight_decay": [0.0, 0.1],
    "arms": {"one": {"epochs": 2}, "two": {"steps": 20, "seeds": [0, 1]}},
}  # fmt: skip


def test_sweeps(tmp_path):
    path = tmp_path / "s.yaml"

    def outcome(content: bytes):
        path.write_bytes(content)
        read = read_config(path)
        assert read.arms and all(isinstance(one, str) for one in (*read.train, *read.held_out))

    good = json.dumps(SWEEP).encode()
    odd = st.dictionaries(st.sampled_from([*SWEEP, "epochs", "steps", "seeds", "x"]), ODD, max_size=2).map(
        lambda one: json.dumps({**SWEEP, **one}).encode()
    )
    whole = st.integers(256, 10_000).map(lambda size: json.dumps({**SWEEP, "vocabulary_size": size}).encode())
    fuzz(
        "sweep",
        st.one_of(changed_json(SWEEP), changed_json(SWEEP, ("arms",)), odd, whole, changed_bytes(good), st.just(good)),
        outcome,
    )
