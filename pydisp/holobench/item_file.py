"""The file of a benchmark: items as JSON lines, and the manifest that says how they were built.

    write_items("bench.jsonl", items, manifest)
    items, manifest = read_items("bench.jsonl")

The manifest beside it has at least
{"format": "pydisp-holobench-1", "database": "shop", "tokenizer": {"name": "…", "digest": "…"}, "style": {…}, "seed": 0, "lengths": [512],
 "items": 40, "sha256": "…"}.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence

from pydisp.holobench.items import CLASSES, PLACEMENTS, Item
from pydisp.holobench.prompts import Style
from pydisp.holobench.sealed_file import manifest_path, read_manifest, read_records, sha256_of, shown, write_sealed

FORMAT = "pydisp-holobench-1"


class ItemFileError(ValueError):
    """A file that is no benchmark, or no longer the one that was built; the message is one sentence."""


def write_items(path: str | os.PathLike, items: Sequence[Item], manifest: dict) -> dict:
    """Write FILE.jsonl and FILE.manifest.json; each appears whole. The same items and manifest give the same bytes.

    Args:
        manifest: plain values; "format", "items" and "sha256" are added.
    Returns: the manifest as written.
    Raises: ItemFileError if there are no items, or two of one id.
    """
    _check_ids([item.id for item in items], path)
    return write_sealed(path, [item.as_dict() for item in items], {**manifest, "format": FORMAT, "items": len(items)})


def read_items(path: str | os.PathLike) -> tuple[list[Item], dict]:
    """The items in their order, and the manifest.

    Raises: ItemFileError with one sentence if the file or its manifest is missing, damaged, of another version, or was changed.
    """
    records, sha256 = read_records(path, "items", ItemFileError)
    for number, record in records:
        _check_fields(record, f"{path}, line {number}")
    _check_ids([record["id"] for _, record in records], path)
    manifest = read_manifest(path, ItemFileError)
    if manifest is None:
        raise ItemFileError(f"{path} has no {manifest_path(path).name} beside it; copy both files of the benchmark.")
    check_manifest(manifest, manifest_path(path))
    if manifest["sha256"] != sha256:
        raise ItemFileError(
            f"{path} was changed after it was built, its SHA-256 is not the manifest's; copy both files again or build anew."
        )
    return [Item.from_dict(record) for _, record in records], manifest


def items_sha256(items: Sequence[Item]) -> str:
    """The SHA-256 of the file that `write_items` makes of them."""
    return sha256_of(item.as_dict() for item in items)


def check_manifest(manifest: dict, place: str | os.PathLike) -> None:
    """Refuse the manifest of another version, and one that does not say how the items are asked.

    Raises: ItemFileError.
    """
    if manifest.get("format") != FORMAT:
        found = shown(manifest.get("format"))
        raise ItemFileError(f"{place} has the format {found}, this version of pydisp reads {FORMAT!r}; build the benchmark anew.")
    tokenizer = manifest.get("tokenizer")
    if not isinstance(tokenizer, dict) or not all(isinstance(tokenizer.get(name), str) for name in ("name", "digest")):
        raise ItemFileError(f"{place} does not say for which tokenizer the benchmark was built; build it anew.")
    try:
        Style(**manifest["style"])
    except (KeyError, TypeError, ValueError):
        raise ItemFileError(f"{place} does not say how the items are asked (style); build the benchmark anew.") from None
    if not _is_digest(manifest.get("sha256")):
        raise ItemFileError(f"{place} has no sha256 of the items; build the benchmark anew.")


def _check_ids(ids: Sequence[str], path) -> None:
    if not ids:
        raise ItemFileError(f"{path} has no items; a benchmark has at least one.")
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        more = f" and {len(twice) - 3} more" if len(twice) > 3 else ""
        raise ItemFileError(f"{path} has several items of one id ({', '.join(twice[:3])}{more}); ids must differ.")


def _check_fields(record: dict, place: str) -> None:
    for name, (is_right, needed) in _FIELDS.items():
        if name not in record:
            raise ItemFileError(f"{place} has no {name!r}; a line needs: {', '.join(_FIELDS)}.")
        if not is_right(record[name]):
            raise ItemFileError(f"{place}: {name!r} is {shown(record[name])}; it must be {needed}.")
    unknown = sorted(record.keys() - _FIELDS.keys())
    if unknown:
        raise ItemFileError(f"{place} has {unknown[0]!r}, which this version of pydisp does not know; build the benchmark anew.")
    choices, correct = record["choices"], record["correct"]
    if (choices is None) != (correct is None) or choices is not None and correct >= len(choices):
        raise ItemFileError(f"{place}: 'correct' is {correct}; it must be the place of one of the choices, or null if there are none.")


def _is_text(value) -> bool:
    return isinstance(value, str)


def _is_name(value) -> bool:
    return isinstance(value, str) and bool(value)


def _is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_share(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_positive(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e12


def _is_digest(value) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_list_of(is_one: Callable[[object], bool], value) -> bool:
    return isinstance(value, list) and all(map(is_one, value))


def _is_type(value) -> bool:
    return isinstance(value, str) and re.fullmatch(r"text|integer|identifier|date|decimal\(\d+\)", value) is not None


def _is_cell(value) -> bool:
    return isinstance(value, str) or isinstance(value, int | float) and not isinstance(value, bool) and -1e15 < value < 1e15


def _is_gold(value) -> bool:
    if not isinstance(value, dict) or value.keys() != {"columns", "types", "rows"}:
        return False
    columns, types, rows = value["columns"], value["types"], value["rows"]
    if not (_is_list_of(_is_text, columns) and _is_list_of(_is_type, types) and columns and len(columns) == len(types)):
        return False
    return isinstance(rows, list) and all(_is_list_of(_is_cell, row) and len(row) == len(columns) for row in rows)


def _is_choices(value) -> bool:
    return value is None or _is_list_of(_is_name, value) and len(value) > 1 and len(set(value)) == len(value)


def _is_span(value) -> bool:
    return _is_list_of(_is_count, value) and len(value) == 2 and value[0] <= value[1]


def _is_offset(value) -> bool:
    if not isinstance(value, dict) or not {"table", "row", "characters", "tokens"} <= value.keys():
        return False
    return _is_text(value["table"]) and _is_count(value["row"]) and _is_span(value["characters"]) and _is_span(value["tokens"])


_FIELDS = {
    "id": (_is_name, "a text that is not empty"),
    "context_id": (_is_name, "a text that is not empty"),
    "draw": (_is_name, "a text that is not empty"),
    "question": (_is_text, "a text"),
    "sql": (_is_text, "a text"),
    "class": (lambda value: value in CLASSES, f"one of: {', '.join(CLASSES)}"),
    "length": (_is_count, "a whole number of tokens"),
    "context": (_is_text, "a text"),
    "prompt_tokens": (_is_count, "a whole number of tokens"),
    "gold": (_is_gold, "columns, as many types and rows of as many values"),
    "choices": (_is_choices, "two or more different texts, or null"),
    "correct": (lambda value: value is None or _is_count(value), "a place among the choices, or null"),
    "offsets": (lambda value: _is_list_of(_is_offset, value), "a list of rows, each with table, row, characters and tokens"),
    "placement": (lambda value: value in PLACEMENTS, f"one of: {', '.join(PLACEMENTS)}"),
    "amount": (_is_count, "a whole number of tokens"),
    "density": (_is_share, "a number of 0 to 1"),
    "asked": (_is_positive, "a number above 0"),
    "seed": (_is_count, "a whole number"),
    "sha256": (_is_digest, "a SHA-256 in 64 hexadecimal digits"),
}  # fmt: skip
