"""Counts: how often a text, best the model's training text, has each type.

Counts.read("counts.json", "word")            # {"the": 58023, "zygote": 1}, or ids as keys; or Parquet with the columns key and count
counts.of(units.keys)                         # (V,) int64; 0 for a type that is not there
"""

import gzip
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from pydisp.arguments import PATH, RECEIVER, SWITCH, TEXT, TOKENIZER, check_fields, instance_of, one_of, optional, takes
from pydisp.fairness.documents import read_tokens
from pydisp.fairness.parquet_table import read_parquet
from pydisp.fairness.units import word_texts
from pydisp.given_file import check_kind, read_text
from pydisp.given_value import json_value, short
from pydisp.progress import silence
from pydisp.text import Text

_NAMES = {"token": ("key", "id", "token", "token_id"), "word": ("key", "word", "type", "token")}
_UNIT = one_of(tuple(_NAMES))
_MAPPING = instance_of(Mapping, "give a mapping from id or word to count")
_COUNT_NAMES = ("count", "n", "frequency")
_MOST_BYTES, _MOST_TYPES = 1 << 28, 4_000_000  # about a GiB of memory; a thousand million words have about as many types
DEMO_FILES = {"token": "token_counts.json.gz", "word": "word_counts.json.gz"}  # beside the demo model: what its training text had


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts by type.

    Args:
        source: where they are from, for people.
        unit: "token" or "word".
        by_type: from id or word to count.
        is_biased: whether they are from the scored text itself: a rare type is then one that this text happens to have rarely.
    """

    source: str
    unit: str
    by_type: Mapping[int | str, int]
    is_biased: bool = False

    def __post_init__(self):
        check_fields(self, source=TEXT, unit=_UNIT, by_type=_MAPPING, is_biased=SWITCH)

    def of(self, keys: np.ndarray) -> np.ndarray:
        """(V,) int64 the count of each key."""
        return np.fromiter((self.by_type.get(key, 0) for key in keys.tolist()), dtype=np.int64, count=len(keys))

    def check(self, keys: np.ndarray, vocabulary: int | None = None) -> None:
        """Refuse counts that belong to another vocabulary or another unit.

        Args:
            keys: types of the scored text.
            vocabulary: number of ids, for tokens.
        Raises: ValueError.
        """
        if self.unit == "token" and vocabulary is not None and self.by_type:
            outside = next((one for one in (min(self.by_type), max(self.by_type)) if not 0 <= one < vocabulary), None)
            if outside is not None:
                raise ValueError(
                    f"{self.source} has a count for id {outside}, the vocabulary has the ids 0 to {vocabulary - 1}; "
                    "give counts made with this model's tokenizer, or count by word."
                )
        if not np.any(self.of(keys)):
            raise ValueError(f"{self.source} has none of the {len(keys)} types of the text; give counts of {self.unit}s of such text.")

    @classmethod
    @takes(
        text=instance_of(Text, "give what pydisp.text.read_text returns"),
        unit=_UNIT,
        tokenizer=optional(TOKENIZER),
        is_biased=SWITCH,
        say=RECEIVER,
    )
    def of_text(cls, text: Text, unit: str, tokenizer=None, *, is_biased: bool = False, say: Callable[[str], None] = silence) -> "Counts":
        """Count a text: its words, or the ids that the tokenizer makes of it; `say` as for `read_tokens`."""
        if unit == "word":
            types = word_texts(text.joined)
        else:
            read = read_tokens(text, tokenizer, say)
            types = read.tokens.ids[int(read.tokens.has_bos) :].tolist()
        counts: dict = {}
        for one in types:
            counts[one] = counts.get(one, 0) + 1
        return cls(text.name, unit, counts, is_biased)

    @classmethod
    def of_demo(cls, unit: str) -> "Counts":
        """What the training text of the demo model had."""
        packed = (resources.files("pydisp.demo") / "model" / DEMO_FILES[unit]).read_bytes()
        return cls("training text of the demo model", unit, _checked(json.loads(gzip.decompress(packed)), unit, DEMO_FILES[unit]))

    @classmethod
    @takes(path=PATH, unit=_UNIT)
    def read(cls, path: str | os.PathLike, unit: str) -> "Counts":
        """Counts from a file: a JSON object (also .gz) from id or word to count, or Parquet with a column of each.

        Raises: FileNotFoundError; ImportError for Parquet without pyarrow; ValueError, naming the entry, for anything else.
        """
        path = Path(path)
        check_kind(path, f"--counts takes a JSON or Parquet file of counts by {unit}.")
        values = _from_parquet(path, unit) if path.suffix == ".parquet" else _from_json(path)
        return cls(path.name, unit, _checked(values, unit, path.name))

    @classmethod
    @takes(values=_MAPPING, unit=_UNIT)
    def given(cls, values: Mapping, unit: str) -> "Counts":
        """Counts from a mapping of id or word to count.

        Raises: ValueError, naming the entry, for anything else.
        """
        return cls("the given counts", unit, _checked(dict(values), unit, "the given counts"))

    @takes(path=PATH)
    def write(self, path: str | os.PathLike) -> None:
        """Write the counts as JSON, the most frequent type first; as gzip if the name ends in .gz, with the same bytes each time."""
        from pydisp.workspace import write_whole

        ordered = dict(sorted(self.by_type.items(), key=lambda item: (-item[1], item[0])))
        text = json.dumps(ordered, ensure_ascii=False, separators=(",", ":"))
        write_whole(path, gzip.compress(text.encode(), mtime=0) if str(path).endswith(".gz") else text)


def _from_json(path: Path) -> dict:
    needed = "write an object from id or word to count."
    values = json_value(read_text(path, needed, most_bytes=_MOST_BYTES), str(path), needed, strictly=True, most_values=_MOST_TYPES)
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {short(values)}; it must hold an object from id or word to count.")
    return values


def _from_parquet(path: Path, unit: str) -> dict:
    needed = f"give one with the columns {_NAMES[unit][1]} and {_COUNT_NAMES[0]}."
    table = read_parquet(path, (*_NAMES[unit], *_COUNT_NAMES), needed)
    named = [next((name for name in names if name in table.column_names), None) for names in (_NAMES[unit], _COUNT_NAMES)]
    if None in named:
        raise ValueError(f"{path} has of the columns that are read {', '.join(table.column_names) or 'none'}; {needed}")
    keys, counts = (table[name].to_pylist() for name in named)
    found = dict(zip(keys, counts, strict=True))
    if len(found) < len(keys):
        seen: set = set()
        twice = next(key for key in keys if key in seen or seen.add(key))
        raise ValueError(f"{path} gives {short(twice)} twice; add its counts up.")
    return found


def _checked(values: dict, unit: str, name: str) -> dict:
    checked: dict = {}
    if unit == "word" and values and all(isinstance(key, int) or isinstance(key, str) and key.isdecimal() for key in values):
        raise ValueError(f"{name} has numbers for words, as counts by id have; count by id with --mode id, or give counts by word.")
    for key, count in values.items():
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 2**53:
            raise ValueError(f"{name}: the count of {short(key)} is {short(count)}; it must be a whole number from 0 to 2**53 - 1.")
        if unit == "token":
            if isinstance(key, str) and re.fullmatch(r"0|[1-9][0-9]{0,17}", key):
                key = int(key)
            if isinstance(key, bool) or not isinstance(key, int) or key < 0:
                raise ValueError(f"{name}: {short(key)} is no token id; give counts by id, or count by word with --mode word.")
        elif not isinstance(key, str):
            raise ValueError(f"{name}: {short(key)} is no word; give counts by word, or count by id with --mode id.")
        checked[key] = count
    if not any(checked.values()):
        raise ValueError(f"{name} has no count above 0; give counts of a text.")
    return checked
