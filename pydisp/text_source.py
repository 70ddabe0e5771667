"""A source of text: what its name stands for, and its documents.

A source is one of

- a file of prose, which is one document;
- a file of JSON records: `.jsonl` and `.ndjson` have one on each line, `.json` too, or a list of them. A record is a document, in its field
  `text` (or `notes.jsonl#body` for another field); one whose field is null is left out;
- a folder: its `.txt .md .rst .py .jsonl .ndjson` files at any depth, in the order of their paths, without hidden ones (a `.json` in a folder
  is seldom text: name it);
- any of these as `.gz`;
- `pythondoc`: the docstrings of this Python's standard library, without the part the demo model was trained on;
  `pythondoc:calibration`, `pythondoc:heldout` and `pythondoc:topics` (the help topics) name one part. A file of that name is `./pythondoc`;
- `hub:NAME[:CONFIG[:SPLIT[:FIELD]]]`: a data set of the hub (split `train`, field `text`). Only this source uses the network.

A source has at most 1 GiB of text, of which calibration takes the first 32 MiB; a line of JSON has at most 32 MiB, a list at most 256 MiB.
A million characters without white space are no text.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydisp.distribution import install_command
from pydisp.given_file import decoded, first_bytes, read_bytes, read_lines, read_text
from pydisp.given_value import json_value, short
from pydisp.hub_bars import hub_as_ours
from pydisp.progress import Bar, silence
from pydisp.pythondoc import documents, python_version

PYTHONDOC = "pythondoc"
PROSE, RECORDS = (".txt", ".md", ".rst", ".py"), (".jsonl", ".ndjson")
MOST_BYTES, FIRST_BYTES, MOST_LINE_BYTES = 1 << 30, 1 << 25, 1 << 25
_MOST_LIST_BYTES = 1 << 28  # a list is parsed as a whole
_MOST_WORD = 1 << 20
_MOST_FILES = 10_000  # of a folder, that are looked through for data of a hub
_NEEDED = "text is a file, a folder, 'pythondoc' or 'hub:NAME'."
_STRING = r'"(?:[^"\\]|\\.)*"\s*'
_BEGINS_AS_JSON = re.compile(rf"\s*(?:(?:\[\s*)?\{{\s*{_STRING}:|\[\s*{_STRING},\s*{_STRING}[,\]])")
_MARK = b"\xef\xbb\xbf"  # of byte order
_LONGEST_CHARACTER = 4  # bytes in UTF-8
_HEAD_CHARACTERS = 1 << 16  # of a text, to see whether it is JSON


@dataclass(frozen=True)
class Source:
    """What was read.

    Args:
        given: the source as it was given.
        name: for a report: base names only, never a path.
        keys: of the files or documents, to notice what is named twice.
    """

    given: str
    name: str
    documents: tuple[str, ...]
    keys: tuple[str, ...]


def read_sources(sources: Sequence[str], *, first: bool = False, say: Callable[[str], None] = silence) -> list[Source]:
    """The sources in the given order.

    Args:
        first: of a source with more than FIRST_BYTES of text (in UTF-8), take the documents at its start that have no more together, or the
            start of the first document; the name then says so. Else more than MOST_BYTES are refused.
        say: a function that receives the progress of what takes more than 2 seconds to read.
    Raises: FileNotFoundError for a path that does not exist; ValueError for a source without text or with too much, for what is no regular
        file, no UTF-8 or no prose, for a record without the field (the message names its line), and for a file that is named twice;
        ImportError for `hub:` without its library.
    """
    if isinstance(sources, str) or not isinstance(sources, Sequence) or not all(isinstance(s, str) for s in sources):
        raise TypeError(f"sources is {short(sources)}; it must be a list of strings: files, folders, 'pythondoc' or 'hub:NAME'.")
    if not sources:
        raise ValueError("no source of text was given; name a file, a folder, 'pythondoc' or 'hub:NAME'.")
    if "" in sources:  # as a path it would be the current folder
        raise ValueError("the name of a source of text is empty; name a file, a folder, 'pythondoc' or 'hub:NAME'.")
    read, seen = [], set()
    for given in sources:
        source = _read(given, first, say)
        for key in source.keys:
            if key in seen:
                raise ValueError(f"{key} is read twice by the sources {', '.join(sources)}; name each text once.")
            seen.add(key)
        read.append(source)
    return read


def _read(given: str, first: bool, say: Callable[[str], None]) -> Source:
    if given.partition(":")[0] == PYTHONDOC:
        return read_pythondoc(given, say)
    if given.startswith("hub:"):
        return _hub(given, first, say)
    path, field = _path_and_field(given)
    if path.is_dir():
        return _folder(given, path, first, say)
    taken, suffix = _taken(given, ((given, part) for part in _file_documents(path, field, first)), first, say)
    if not taken:
        raise ValueError(f"{path} is empty; give a file with text in it.")
    return Source(given, path.name + suffix, taken, (_key(path),))


def _key(path: Path) -> str:
    return str(path.resolve())


def _path_and_field(given: str) -> tuple[Path, str]:
    before, hash_sign, field = given.rpartition("#")
    if hash_sign and not _exists(given):
        if _kind(Path(before)) not in (*RECORDS, ".json") or not field:
            raise ValueError(f"{given}: only a file of JSON records takes a field after '#', as in notes.jsonl#body.")
        return _existing(before), field
    return _existing(given), "text"


def _exists(given: str) -> bool:
    try:
        return Path(given).exists()
    except (OSError, ValueError):  # a name that is too long, or has a null character
        return False


def _existing(given: str) -> Path:
    if not _exists(given):
        raise FileNotFoundError(f"{given[:200]} does not exist; {_NEEDED}")
    return Path(given)


def _kind(path: Path) -> str:
    return (Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix).lower()


def _folder(given: str, folder: Path, first: bool, say: Callable[[str], None]) -> Source:
    paths = sorted(
        p
        for p in folder.rglob("*")
        if p.is_file() and _kind(p) in (*PROSE, *RECORDS) and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    )
    read, suffix = _taken(given, ((str(p), d) for p in paths for d in _file_documents(p, "text", first)), first, say)
    if not read:
        raise ValueError(
            f"folder {folder} holds no text; it needs {', '.join((*PROSE, *RECORDS))} files (also .gz) with something in them; "
            "name a .json file itself."
        )
    return Source(given, (folder.resolve().name or "folder") + suffix, read, tuple(map(_key, paths)))


def _taken(given: str, placed: Iterator[tuple[str, str]], first: bool, say: Callable[[str], None]) -> tuple[tuple[str, ...], str]:
    """The documents that hold something, up to the limit, and what to add to the name of their source.

    Args:
        placed: the documents, each with where it stands.
    """
    taken, left = [], FIRST_BYTES if first else MOST_BYTES
    with Bar(None, say, title=f"reading {Path(given).resolve().name}", unit="document", is_brief=True) as bar:
        for place, document in placed:
            bar.advance(1)
            if not document.strip():
                continue
            _check_words(place, document)
            left -= len(document.encode())
            if left < 0 and not first:
                raise ValueError(f"{given} has more than {MOST_BYTES >> 20:,} MiB of text, and no more is read; give a part of it.")
            if left < 0 and taken:
                break
            taken.append(document if left >= 0 else _start(document))
    return tuple(taken), f" (first {FIRST_BYTES >> 20} MiB)" if left < 0 else ""


def _start(document: str) -> str:
    """The whole words in its first FIRST_BYTES."""
    start = document.encode()[:FIRST_BYTES].decode(errors="ignore")  # the last character may be cut
    end = max(start.rfind("\n"), start.rfind(" "))
    return start[:end] if end > 0 else start


def _check_words(place: str, document: str) -> None:
    """Refuse a long run of characters without white space. A run of twice the limit has a block of the limit at a multiple of it."""
    for start in range(0, len(document) - _MOST_WORD + 1, _MOST_WORD):
        if not re.search(r"\s", document[start : start + _MOST_WORD]):
            raise ValueError(f"{place} has {_MOST_WORD:,} characters without white space, which is no text; give text with words in it.")


def _file_documents(path: Path, field: str, first: bool) -> Iterator[str]:
    kind = _kind(path)
    if kind in RECORDS:
        return _of_lines(path, field)
    return _of_json(path, field) if kind == ".json" else _of_prose(path, first)


def _of_prose(path: Path, first: bool) -> Iterator[str]:
    """One document: the file, or of a large one more than is taken."""
    if first:
        data = first_bytes(path, _NEEDED, most_bytes=FIRST_BYTES + 2 * _LONGEST_CHARACTER)
        if len(data) > FIRST_BYTES + _LONGEST_CHARACTER:
            data = _whole_characters(data)
    else:
        data = read_bytes(path, _NEEDED, most_bytes=MOST_BYTES)
    text = decoded(data, path)
    if _BEGINS_AS_JSON.match(text[:_HEAD_CHARACTERS]):
        raise ValueError(f"{path} holds JSON, not prose; name it .jsonl (an object a line) or .json, and its field as in notes.jsonl#body.")
    yield text


def _whole_characters(data: bytes) -> bytes:
    """Bytes of UTF-8 without a character that is cut at their end."""
    tail = data[-_LONGEST_CHARACTER:]
    begins = [n for n, byte in enumerate(tail) if byte & 0xC0 != 0x80]  # the others go on with a character
    return data[: len(data) - len(tail) + begins[-1]] if begins else data


def _of_lines(path: Path, field: str) -> Iterator[str]:
    for number, line in enumerate(read_lines(path, _NEEDED, most_bytes=MOST_LINE_BYTES), 1):
        place = f"{path}, line {number}"
        if line.strip():
            yield _record_text(json_value(decoded(line, place), place, _line_needed(field)), field, place)


def _of_json(path: Path, field: str) -> Iterator[str]:
    """Records of a `.json`: an object a line, as many data sets are named too, or one list or object."""
    head = first_bytes(path, _NEEDED, most_bytes=_HEAD_CHARACTERS).removeprefix(_MARK).lstrip()
    lines = read_lines(path, _NEEDED, most_bytes=MOST_LINE_BYTES) if head.startswith(b"{") else iter(())
    if _is_json(next((line for line in lines if line.strip()), b"").removeprefix(_MARK)):
        yield from _of_lines(path, field)
        return
    value = json_value(read_text(path, _NEEDED, most_bytes=_MOST_LIST_BYTES), str(path), "give one record a line, or a list of them.")
    for number, record in enumerate(value if isinstance(value, list) else [value], 1):
        yield _record_text(record, field, f"{path}, record {number}")


def _is_json(line: bytes) -> bool:
    try:
        json_value(line, "", "")
    except ValueError:
        return False
    return True


def _line_needed(field: str) -> str:
    return f'each line must be an object such as {{"{field}": "…"}}.'


def _record_text(record, field: str, place: str) -> str:
    """The text of a record; empty if it is null, as data sets have it for a record without text."""
    if not isinstance(record, dict):
        raise ValueError(f'{place} is no JSON object; each record must be one, such as {{"{field}": "…"}}.')
    text = record.get(field)
    if text is None and field in record:
        return ""
    if not isinstance(text, str):
        names = ", ".join(k[:60] for k, v in list(record.items())[:20] if isinstance(v, str)) or "none"
        raise ValueError(f"{place} has no text in the field '{field}' (fields with text: {names}); name one as FILE#FIELD.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{place} holds half a surrogate pair (character {error.start}); write it as valid Unicode.") from None
    return text


_PYTHONDOC_PARTS = {
    PYTHONDOC: (("docstrings", "calibration"), ("docstrings", "heldout")),
    "pythondoc:calibration": (("docstrings", "calibration"),),
    "pythondoc:heldout": (("docstrings", "heldout"),),
    "pythondoc:topics": (("topics", None),),
}


def read_pythondoc(given: str, say: Callable[[str], None] = silence) -> Source:
    """`pythondoc` or a part of it.

    Raises: ValueError for a part that does not exist.
    """
    if given not in _PYTHONDOC_PARTS:
        raise ValueError(f"unknown source {short(given)}; known: {', '.join(_PYTHONDOC_PARTS)}.")
    named = [(kind, d) for kind, part in _PYTHONDOC_PARTS[given] for d in documents(kind, part, say)]
    words = "help topics" if given == "pythondoc:topics" else "docstrings"
    part = given.partition(":")[2]
    name = f"Python {python_version()} {words}" + (f" ({part})" if part in ("calibration", "heldout") else "")
    return Source(given, name, tuple(d.text for _, d in named), tuple(f"pythondoc {kind} {d.name}" for kind, d in named))


def _hub(given: str, first: bool, say: Callable[[str], None]) -> Source:
    name, config, split, field = (given.split(":")[1:] + [""] * 4)[:4]
    if not name or given.count(":") > 4:
        raise ValueError(f"{given!r} names no data set; write hub:NAME[:CONFIG[:SPLIT[:FIELD]]].")
    split, field = split or "train", field or "text"
    if _exists(name) and not any(path.suffix in (".parquet", ".arrow", ".csv") for path in islice(Path(name).rglob("*"), _MOST_FILES)):
        raise ValueError(f"{given} stands on this machine, where datasets would make a document of each line; leave out hub:.")
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ImportError(f"{given} needs the library datasets; install it with: {install_command('data')}") from error
    with hub_as_ours(say, data_sets=True):
        data = load_dataset(name, config or None, split=split)
    if field not in data.column_names:
        raise ValueError(f"{given}: no column '{field}'; it has {', '.join(data.column_names)}. Name one as the last part.")
    texts, suffix = _taken(given, ((given, d) for d in data[field] if isinstance(d, str)), first, say)
    return Source(given, f"{name.rpartition('/')[2]} {split}{suffix}", texts, (f"hub:{name}:{config}:{split}:{field}",))
