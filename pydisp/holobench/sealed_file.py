"""Sealed files: JSON lines, and beside FILE.jsonl a FILE.manifest.json that knows the SHA-256 of the lines.

    write_sealed("bench.jsonl", records, {"format": "pydisp-holobench-1"})
    read_records("bench.jsonl", "items", ItemFileError), read_manifest("bench.jsonl")

The same records give the same bytes. A file that is there has its manifest, and a file that was changed later does not match it.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from pydisp.given_file import read_bytes, read_lines
from pydisp.given_value import json_value
from pydisp.workspace import whole_file

_MOST_BYTES, _MOST_LINE_BYTES = 1 << 30, 1 << 26  # a line is an item: ten million tokens


def manifest_path(path: str | os.PathLike) -> Path:
    """bench.manifest.json of bench.jsonl; NAME.manifest.json of any other name."""
    path = Path(path)
    return path.with_name(f"{path.name.removesuffix('.jsonl')}.manifest.json")


def json_line(record: dict) -> bytes:
    """The record as one line with sorted keys.

    Raises: ValueError for NaN, an infinity and text that is no Unicode.
    """
    return f"{json.dumps(record, ensure_ascii=False, allow_nan=False, sort_keys=True)}\n".encode()


def sha256_of(records: Iterable[dict]) -> str:
    """Of the file that these records make."""
    return hashlib.sha256(b"".join(map(json_line, records))).hexdigest()


def write_sealed(path: str | os.PathLike, records: Iterable[dict], manifest: dict) -> dict:
    """Write both files; each appears whole, the lines last.

    Returns: the manifest with the "sha256" of the lines.
    """
    lines = b"".join(map(json_line, records))
    manifest = {**manifest, "sha256": hashlib.sha256(lines).hexdigest()}
    text = json.dumps(manifest, ensure_ascii=False, allow_nan=False, sort_keys=True, indent=1) + "\n"
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as data, whole_file(manifest_path(path)) as beside:  # renamed in the opposite order
        data.write_bytes(lines)
        beside.write_bytes(text.encode())
    return manifest


def read_records(path: str | os.PathLike, what: str, error: type[ValueError]) -> tuple[list[tuple[int, dict]], str]:
    """The records with the numbers of their lines, and the SHA-256 of the file; empty lines are passed over.

    Args:
        what: what the records are, for messages. error: raised, with one sentence, if there is no such file or a line is no JSON object.
    """
    digest, records = hashlib.sha256(), []
    needed = f"give a file of {what} with one object a line."
    lines = read_lines(path, needed, most_bytes=_MOST_LINE_BYTES, digest=digest)
    try:
        for number, line in enumerate(lines, 1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if line.strip():
                records.append((number, _object(line, f"{path}, line {number}", needed)))
    except (OSError, ValueError) as failed:
        raise error(str(failed)) from None
    return records, digest.hexdigest()


def read_manifest(path: str | os.PathLike, error: type[ValueError]) -> dict | None:
    """The manifest beside a file; None if there is none."""
    beside = manifest_path(path)
    if not beside.exists():
        return None
    try:
        return _object(read_file(beside, "JSON", error), str(beside), f"copy it again from where {Path(path).name} was made.")
    except ValueError as failed:
        raise error(str(failed)) from None


def read_file(path: str | os.PathLike, what: str, error: type[ValueError]) -> bytes:
    """Its bytes; anything but a file is refused, for reading a pipe would wait."""
    try:
        return read_bytes(path, f"give a file of {what}.", most_bytes=_MOST_BYTES)
    except (OSError, ValueError) as failed:
        raise error(str(failed)) from None


def shown(value) -> str:
    """A value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _object(content: bytes, place: str, needed: str) -> dict:
    """The object of JSON.

    Raises: ValueError if it is none, has a key twice, NaN, an infinity or text that is no Unicode (a lone surrogate, which no tokenizer takes).
    """
    value = json_value(content, place, needed, strictly=True)
    if not isinstance(value, dict):
        raise ValueError(f"{place} is no JSON object; {needed}")
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:  # 1e999 is read as an infinity
        raise ValueError(f"{place} holds half of a character, or a number that no float can hold; {needed}") from None
    return value
