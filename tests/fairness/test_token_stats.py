"""TokenStats are plain sums by type: they add up, and a file gives them back."""

import numpy as np
import pytest

from pydisp.fairness import TokenStats, UnitValues

_SUMS = ("count", "nats", "squares", "correct", "rank", "entropy", "confidence")


def random_values(rng, count):
    return UnitValues(
        rng.exponential(2, count), rng.random(count) < 0.3, rng.integers(0, 50, count), rng.exponential(1, count), rng.random(count)
    )


def equal(one: TokenStats, other: TokenStats, exactly: bool = True) -> bool:
    same = np.array_equal if exactly else (lambda a, b: np.allclose(a, b, rtol=1e-12))
    return (one.unit, one.vocabulary, one.keys.tolist()) == (other.unit, other.vocabulary, other.keys.tolist()) and all(
        same(getattr(one, name), getattr(other, name)) for name in _SUMS
    )


@pytest.mark.parametrize("unit", ["token", "word"])
def test_sums_are_those_of_a_loop_over_units(unit):
    rng = np.random.default_rng(1)
    values = random_values(rng, 400)
    ids = rng.integers(0, 40, 400)
    types = ids if unit == "token" else [f"w{n}" for n in ids]
    stats = TokenStats.of(unit, types, values)
    for place, key in enumerate(stats.keys.tolist()):
        mine = [n for n, one in enumerate(types) if one == key]
        assert stats.count[place] == len(mine)
        assert stats.nats[place] == pytest.approx(sum(values.nats[n] for n in mine), rel=1e-12)
        assert stats.squares[place] == pytest.approx(sum(values.nats[n] ** 2 for n in mine), rel=1e-12)
        assert stats.correct[place] == sum(bool(values.is_correct[n]) for n in mine)
        assert stats.rank[place] == sum(int(values.rank[n]) for n in mine)
    assert stats.average_nats == pytest.approx(values.nats.mean(), rel=1e-12)
    assert stats.balanced_nats == pytest.approx(np.mean([values.nats[np.asarray(types) == key].mean() for key in stats.keys]), rel=1e-12)


def test_parts_of_a_text_add_up_to_the_whole():
    rng = np.random.default_rng(2)
    values, types = random_values(rng, 300), rng.integers(0, 1000, 300)
    parts = [TokenStats.of("token", types[s], UnitValues(*(c[s] for c in values))) for s in (slice(0, 7), slice(7, 7), slice(7, 300))]
    assert equal(parts[0].merged(*parts[1:]), TokenStats.of("token", types, values), exactly=False)


@pytest.mark.parametrize("unit", ["token", "word"])
def test_a_file_gives_the_same_sums_back(unit, tmp_path):
    pytest.importorskip("pyarrow")
    rng = np.random.default_rng(3)
    types = rng.integers(0, 30, 200) if unit == "token" else [f"é{n}\n" for n in rng.integers(0, 30, 200)]
    stats = TokenStats.of(unit, types, random_values(rng, 200), vocabulary="abc")
    stats.save(tmp_path / "stats.parquet")
    assert equal(TokenStats.load(tmp_path / "stats.parquet"), stats)
    assert [path.name for path in tmp_path.iterdir()] == ["stats.parquet"]


def test_sums_of_other_dtypes_are_saved_as_they_are_read(tmp_path):
    pytest.importorskip("pyarrow")
    sums = {name: np.array([2, 3], np.int32 if name in ("count", "correct") else np.float32) for name in _SUMS}
    stats = TokenStats("token", np.array([1, 7]), **sums, vocabulary="abc")
    stats.save(tmp_path / "stats.parquet")
    assert equal(TokenStats.load(tmp_path / "stats.parquet"), stats)


def test_what_does_not_belong_together_is_refused(tmp_path):
    values = random_values(np.random.default_rng(4), 3)
    ids, words = TokenStats.of("token", [1, 2, 2], values, vocabulary="a"), TokenStats.of("word", ["a", "b", "b"], values, vocabulary="a")
    with pytest.raises(ValueError, match="of unit 'token' and 'word' cannot be added"):
        ids.merged(words)
    with pytest.raises(ValueError, match="of vocabulary 'a' and 'b' cannot be added"):
        ids.merged(TokenStats.of("token", [1, 2, 2], values, vocabulary="b"))
    with pytest.raises(ValueError, match="unit is 'byte'"):
        TokenStats("byte", *[ids.keys] * 8)
    with pytest.raises(ValueError, match="not sorted"):
        TokenStats("token", ids.keys[::-1], *[ids.nats] * 7)
    pyarrow = pytest.importorskip("pyarrow")
    (tmp_path / "no.parquet").write_text("no")
    with pytest.raises(ValueError, match="is no Parquet file"):
        TokenStats.load(tmp_path / "no.parquet")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"key": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="is not of format"):
        TokenStats.load(tmp_path / "other.parquet")


WHOLE, NUMBER = ("key", "count", "correct"), ("nats", "squares", "rank", "entropy", "confidence")
NOTES = {"format": "pydisp-token-stats-1", "unit": "token", "vocabulary": "a"}


@pytest.mark.parametrize(
    ("columns", "notes", "words"),
    [
        ({"key": [1, None]}, {}, "has 1 empty cells in the column key"),
        ({"count": ["a", "b"]}, {}, "has string in the column count, not what token stats hold there"),
        ({"nats": [1, 2]}, {}, "has int64 in the column nats"),
        ({"key": ["a", "b"]}, {}, "has string in the column key"),
        ({"key": [[1], [2]]}, {}, "has list<.*> in the column key, and it must hold numbers or texts"),
        ({"key": [2, 1]}, {}, "keys are not sorted"),
        ({"count": [0, 1]}, {}, "has a count below 1"),
        ({}, {"unit": "byte"}, "does not say its unit"),
        ({}, {"vocabulary": None}, "does not say its unit and its vocabulary"),
        ({}, {"more": b"\xff"}, "is not of format"),
    ],
)
def test_a_file_of_other_values_is_refused(tmp_path, columns, notes, words):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {name: [1, 2] for name in WHOLE} | {name: [1.0, 2.0] for name in NUMBER} | columns
    notes = {name: value for name, value in {**NOTES, **notes}.items() if value is not None}
    parquet.write_table(pyarrow.table(columns, metadata=notes), tmp_path / "s.parquet")
    with pytest.raises(ValueError, match=words):
        TokenStats.load(tmp_path / "s.parquet")


def test_the_file_of_the_test_above_is_right_otherwise(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {name: [1, 2] for name in WHOLE} | {name: [1.0, 2.0] for name in NUMBER}
    parquet.write_table(pyarrow.table(columns, metadata=NOTES), tmp_path / "s.parquet")
    assert len(TokenStats.load(tmp_path / "s.parquet")) == 2
