"""TokenStats: what a model did on each type (a token id or a word) of a text, as sums that can be added up and kept.

stats = TokenStats.of("token", ids, values)                 # from each unit's own type and values
both = stats.merged(other)                                  # another document, run or checkpoint
both.save("stats.parquet"); TokenStats.load("stats.parquet")
both.average_nats, both.balanced_nats                       # mean over the units, mean over the types
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import NamedTuple

import numpy as np

from pydisp.arguments import PATH, TEXT, check_fields, instance_of, one_of, takes
from pydisp.fairness.parquet_table import pyarrow_and_parquet, read_parquet
from pydisp.workspace import whole_file

UNITS = ("token", "word")
_KEY_DTYPES = {"token": np.int64, "word": object}
_COLUMN = instance_of(np.ndarray, "give a numpy array of one value a type")
_FORMAT = "pydisp-token-stats-1"
_A_FILE = "give a file that TokenStats.save of this version wrote."


class UnitValues(NamedTuple):
    """What a model did on each unit of a text; all (U,)."""

    nats: np.ndarray
    is_correct: np.ndarray
    rank: np.ndarray
    entropy: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True, eq=False)
class TokenStats:
    """Sums by type, in the order of `keys`.

    Args:
        unit: "token" (keys are ids, int64) or "word" (keys are texts).
        keys: (V,) sorted, each once.
        count: (V,) int64: how often the type was scored.
        nats, squares: (V,) float64: sums of the loss and of its square.
        correct: (V,) int64: how often it was the model's first choice.
        rank, entropy, confidence: (V,) float64: sums of the rank (0 for the first choice), of the entropy in nats, of the probability of the
            first choice.
        vocabulary: digest of the tokenizer that the ids belong to; empty for words.
    Raises: ValueError for an unknown unit, sums of different lengths, or keys that are not sorted.
    """

    unit: str
    keys: np.ndarray
    count: np.ndarray
    nats: np.ndarray
    squares: np.ndarray
    correct: np.ndarray
    rank: np.ndarray
    entropy: np.ndarray
    confidence: np.ndarray
    vocabulary: str = ""

    def __post_init__(self):
        check_fields(self, unit=one_of(UNITS), vocabulary=TEXT, **dict.fromkeys(("keys", *_SUMS), _COLUMN))
        for name in _SUMS:  # as `save` writes them
            object.__setattr__(self, name, getattr(self, name).astype(np.int64 if name in _WHOLE else np.float64, copy=False))
        lengths = {name: len(getattr(self, name)) for name in ("keys", *_SUMS)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"TokenStats: {lengths} differ; every sum needs one value a type.")
        if not bool(np.all(self.keys[:-1] < self.keys[1:])):
            raise ValueError("TokenStats: keys are not sorted, or one stands twice; sort them and add up the sums of equal keys.")

    @classmethod
    @takes(unit=one_of(UNITS), values=instance_of(UnitValues, "give UnitValues"), vocabulary=TEXT)
    def of(cls, unit: str, types: Sequence | np.ndarray, values: UnitValues, *, vocabulary: str = "") -> "TokenStats":
        """The sums of these units.

        Args:
            types: (U,) the id or the word of each unit.
            values: what the model did on each.
        """
        lengths = {name: np.shape(column) for name, column in {"types": types, **values._asdict()}.items()}
        if len(set(lengths.values())) > 1 or len(lengths["types"]) != 1:
            raise ValueError(f"TokenStats: types and values are of the shapes {lengths}; give one value of each for every unit.")
        keys, place = np.unique(np.asarray(types, dtype=_KEY_DTYPES[unit]), return_inverse=True)

        def total(column, dtype=np.float64):
            summed = np.bincount(place, weights=np.asarray(column, dtype=np.float64), minlength=len(keys))
            return summed.astype(dtype)

        nats = np.asarray(values.nats, dtype=np.float64)
        return cls(
            unit, keys, np.bincount(place, minlength=len(keys)), total(nats), total(nats * nats), total(values.is_correct, np.int64),
            total(values.rank), total(values.entropy), total(values.confidence), vocabulary,
        )  # fmt: skip

    def merged(self, *others: "TokenStats") -> "TokenStats":
        """The sums of these and all others.

        Raises: ValueError for other units or another vocabulary.
        """
        for other in others:
            for name in ("unit", "vocabulary"):
                if getattr(self, name) != getattr(other, name):
                    raise ValueError(
                        f"TokenStats of {name} {getattr(self, name)!r} and {getattr(other, name)!r} cannot be added; count both by word."
                    )
        whole = (self, *others)
        keys, place = np.unique(np.concatenate([stats.keys for stats in whole]), return_inverse=True)
        sums = {}
        for name in _SUMS:
            column = np.concatenate([getattr(stats, name) for stats in whole])
            sums[name] = np.bincount(place, weights=column, minlength=len(keys)).astype(column.dtype)
        return TokenStats(self.unit, keys, **sums, vocabulary=self.vocabulary)

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def mean_nats(self) -> np.ndarray:
        """(V,) the mean loss of each type."""
        return self.nats / self.count

    @property
    def average_nats(self) -> float:
        """The mean loss over all units."""
        return float(self.nats.sum() / self.count.sum())

    @property
    def balanced_nats(self) -> float:
        """The mean over the types of their mean loss: each type counts the same, however rare."""
        return float(self.mean_nats.mean())

    @property
    def balanced_accuracy(self) -> float:
        """The mean over the types of their accuracy."""
        return float((self.correct / self.count).mean())

    @takes(path=PATH)
    def save(self, path: str | os.PathLike) -> None:
        """Write one Parquet file, a row for each type; it appears whole or not at all.

        Raises: ImportError without pyarrow.
        """
        pyarrow, parquet = pyarrow_and_parquet()
        columns = {"key": pyarrow.array(self.keys.tolist(), pyarrow.int64() if self.unit == "token" else pyarrow.string())}
        columns |= {name: pyarrow.array(getattr(self, name)) for name in _SUMS}
        notes = {"format": _FORMAT, "unit": self.unit, "vocabulary": self.vocabulary}
        with whole_file(path) as partial:
            parquet.write_table(pyarrow.table(columns, metadata=notes), partial)

    @classmethod
    @takes(path=PATH)
    def load(cls, path: str | os.PathLike) -> "TokenStats":
        """Read a file that `save` wrote.

        Raises: ImportError without pyarrow; FileNotFoundError; ValueError for any other file.
        """
        table = read_parquet(path, ("key", *_SUMS), _A_FILE)
        try:
            notes = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items() if key != b"ARROW:schema"}
        except UnicodeDecodeError:
            notes = {}
        if notes.get("format") != _FORMAT or {"key", *_SUMS} - set(table.column_names):
            raise ValueError(f"{path} is not of format {_FORMAT}; {_A_FILE}")
        unit, vocabulary = notes.get("unit"), notes.get("vocabulary")
        if unit not in UNITS or vocabulary is None:
            raise ValueError(f"{path} does not say its unit and its vocabulary; {_A_FILE}")
        _check_types(table, unit, path)
        keys = np.asarray(table["key"].to_pylist(), dtype=_KEY_DTYPES[unit])
        return cls(unit, keys, **{name: table[name].to_numpy() for name in _SUMS}, vocabulary=vocabulary)


def _check_types(table, unit: str, path) -> None:
    """Refuse columns of other types than `save` writes, and a type that was never scored: its mean would be a division by zero."""
    from pyarrow import compute, types

    is_whole, is_number, is_text = (types.is_int64,), (types.is_float64,), (types.is_string, types.is_large_string)
    right = {"key": is_whole if unit == "token" else is_text} | {name: is_whole if name in _WHOLE else is_number for name in _SUMS}
    for name, kinds in right.items():
        if not any(is_it(table.schema.field(name).type) for is_it in kinds):
            raise ValueError(
                f"{path} has {table.schema.field(name).type} in the column {name}, not what {unit} stats hold there; {_A_FILE}"
            )
    if len(table) and compute.min(table["count"]).as_py() < 1:
        raise ValueError(f"{path} has a count below 1; {_A_FILE}")


_SUMS = tuple(f.name for f in fields(TokenStats) if f.name not in ("unit", "keys", "vocabulary"))
_WHOLE = ("count", "correct")
