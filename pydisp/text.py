"""Text: sources to documents, documents to one sequence of tokens, tokens to windows.

A source is one of

- a file: each line of a `.jsonl` file is a document, in its field `text` (or `notes.jsonl#body` for another field); any other file is one
  document;
- a folder: its `.txt .md .rst .py .jsonl` files at any depth, in the order of their paths, without hidden ones;
- either of these as `.gz`;
- `pythondoc`: the docstrings of this Python's standard library, without the part the demo model was trained on;
  `pythondoc:calibration`, `pythondoc:heldout` and `pythondoc:topics` (the help topics) name one part. A file of that name is `./pythondoc`;
- `hub:NAME[:CONFIG[:SPLIT[:FIELD]]]`: a data set of the hub (split `train`, field `text`). Only this source uses the network.

All sources are then treated alike. Documents are joined with a blank line and not changed otherwise. The text is tokenized once, with the
beginning-of-text token in front if the tokenizer has one, and no other special token. The tokens are cut into windows that do not overlap.
The first token of a window is not a target, and the rest at the end is dropped.

Held-out text is never calibration text. The last tenth of every source is held out: the last tenth of its documents if it has ten or more,
else the last tenth of its characters. The cut is then at the first blank line (else newline, else space) in the first half of that tenth.
A document that is in calibration too is left out of the held-out text. `pythondoc` has its own two parts.

    >>> calibration, heldout = calibration_and_heldout(["pythondoc"])
    >>> heldout.name.endswith("docstrings (heldout)")
    True
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydisp.distribution import install_command
from pydisp.pythondoc import documents, python_version

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".txt", ".md", ".rst", ".py", ".jsonl")
_JOINT = "\n\n"
_FEWEST_DOCUMENTS_TO_SPLIT = 10


@dataclass(frozen=True)
class Text:
    """Documents, and a name for them that a report may show: base names only, never a path.

    Raises: ValueError if the documents are only white space.
    """

    name: str
    documents: tuple[str, ...]

    def __post_init__(self):
        if not any(d.strip() for d in self.documents):
            raise ValueError(f"{self.name} holds no text; give a source with text in it.")

    @cached_property
    def joined(self) -> str:
        """The documents with a blank line between them."""
        return _JOINT.join(self.documents)

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the joined text in UTF-8; for one file, that of the file."""
        return hashlib.sha256(self.joined.encode()).hexdigest()

    @cached_property
    def bytes(self) -> int:
        """The length of the joined text in UTF-8."""
        return len(self.joined.encode())


@dataclass(frozen=True)
class Tokens:
    """The tokens of a text.

    Args:
        name: name of the text.
        ids: (T,) int64, the beginning-of-text token included.
        text_bytes: the length of the text in UTF-8.
        has_bos: whether `ids[0]` is the beginning-of-text token, which stands for no bytes of the text.
    """

    name: str
    ids: "Tensor"
    text_bytes: int
    has_bos: bool

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tokens_per_byte(self) -> float:
        return (len(self.ids) - self.has_bos) / self.text_bytes

    def windows(self, context_tokens: int, most_tokens: int | None = None) -> "Tensor":
        """(N, context_tokens) int64 windows that do not overlap; a rest shorter than a window is dropped.

        Args:
            most_tokens: take only as many whole windows as have at most this many tokens together, and these evenly over the text: of 10
                windows, 4 are the numbers 0, 2, 5 and 7. The start alone would often be a single document.
        Raises: ValueError if the text is shorter than one window, if a window would have no target (fewer than 2 tokens), or if
            `most_tokens` is less than a window.
        """
        if context_tokens < 2:
            raise ValueError(f"context_tokens is {context_tokens}; a window needs 2 tokens or more, because the first is not scored.")
        count = len(self.ids) // context_tokens
        if count == 0:
            raise ValueError(
                f"{self.name}: found {len(self.ids)} tokens, one window needs {context_tokens}; give more text or a shorter context."
            )
        windows = self.ids[: count * context_tokens].view(count, context_tokens)
        if most_tokens is None:
            return windows
        wanted = most_tokens // context_tokens
        if wanted == 0:
            raise ValueError(f"at most {most_tokens} tokens were to be scored, one window has {context_tokens}; allow more tokens.")
        return windows if wanted >= count else windows[[number * count // wanted for number in range(wanted)]]


def tokenize(text: Text, tokenizer) -> Tokens:
    """Tokenize the whole text in one call of a transformers tokenizer, with `tokenizer.bos_token_id` in front if there is one.

    Raises: ValueError if the tokenizer returns no tokens.
    """
    import torch

    ids = tokenizer(text.joined, add_special_tokens=False, verbose=False)["input_ids"]
    if not ids:
        raise ValueError(f"{text.name}: the tokenizer made no token of {text.bytes} bytes; give the model's own tokenizer.")
    has_bos = tokenizer.bos_token_id is not None
    front = [tokenizer.bos_token_id] if has_bos else []
    return Tokens(text.name, torch.tensor([*front, *ids]), text.bytes, has_bos)


def read_text(sources: Sequence[str]) -> Text:
    """All documents of all sources, in the given order.

    Raises: FileNotFoundError for a path that does not exist; ValueError for a source without text, a file that is not UTF-8 text, a JSONL
        line without the field (the message names the line), or a file that is named twice; ImportError for `hub:` without its library.
    """
    read = _read_sources(sources)
    return Text(_joined_name([s.name for s in read]), tuple(d for s in read for d in s.documents))


def calibration_and_heldout(sources: Sequence[str] | None = None) -> tuple[Text, Text]:
    """Calibration and held-out text of the sources (by default `pythondoc`); each source is split as the top of this file says.

    Raises: as `read_text`; ValueError if no held-out text is left.
    """
    parts = []
    for source in _read_sources(["pythondoc"] if sources is None else sources):
        if source.name == _pythondoc_name("pythondoc"):
            parts.append((_pythondoc("pythondoc:calibration").text, _pythondoc("pythondoc:heldout").text))
        else:
            parts.append(split_heldout(source.text))
    calibration, heldout = (_together([p[i] for p in parts]) for i in (0, 1))
    return calibration, _without(heldout, calibration)


def split_heldout(text: Text) -> tuple[Text, Text]:
    """The text without its last tenth, and its last tenth; split by documents if there are ten or more, else by characters.

    Raises: ValueError if either part would be empty.
    """
    count = len(text.documents)
    if count >= _FEWEST_DOCUMENTS_TO_SPLIT:
        kept = count - count // 10
        parts = text.documents[:kept], text.documents[kept:]
    else:
        parts = tuple((part,) for part in _cut(text.joined))
    if not all(any(d.strip() for d in part) for part in parts):
        raise ValueError(f"{text.name}: {text.bytes} bytes in {count} documents are too few to hold out a tenth; give more text.")
    calibration = Text(f"{text.name} (first 90 %)", parts[0])
    return calibration, _without(Text(f"{text.name} (last 10 %)", parts[1]), calibration)


def other_text() -> Text:
    """Text of another kind than the default calibration text: the help topics of the running Python."""
    return _pythondoc("pythondoc:topics").text


@dataclass(frozen=True)
class _Source:
    name: str
    documents: tuple[str, ...]
    keys: tuple[str, ...]  # what was read, to notice a source that is named twice

    @property
    def text(self) -> Text:
        return Text(self.name, self.documents)


def _read_sources(sources: Sequence[str]) -> list[_Source]:
    if isinstance(sources, str) or not isinstance(sources, Sequence) or not all(isinstance(s, str) for s in sources):
        raise TypeError(f"sources is {sources!r}; it must be a list of strings: files, folders, 'pythondoc' or 'hub:NAME'.")
    if not sources:
        raise ValueError("no source of text was given; name a file, a folder, 'pythondoc' or 'hub:NAME'.")
    if "" in sources:  # as a path it would be the current folder
        raise ValueError("the name of a source of text is empty; name a file, a folder, 'pythondoc' or 'hub:NAME'.")
    read, seen = [], set()
    for name in sources:
        source = _read_source(name)
        for key in source.keys:
            if key in seen:
                raise ValueError(f"{key} is read twice by the sources {', '.join(sources)}; name each text once.")
            seen.add(key)
        read.append(source)
    return read


def _read_source(source: str) -> _Source:
    if source.partition(":")[0] == "pythondoc":
        return _pythondoc(source)
    if source.startswith("hub:"):
        return _hub(source)
    path, field = _path_and_field(source)
    if path.is_dir():
        return _folder(path)
    return _Source(path.name, _file_documents(path, field), (_key(path),))


def _key(path: Path) -> str:
    return str(path.resolve())


def _path_and_field(source: str) -> tuple[Path, str]:
    before, hash_sign, field = source.rpartition("#")
    if hash_sign and not Path(source).exists():
        if not _is_jsonl(Path(before)) or not field:
            raise ValueError(f"{source}: only a JSONL file takes a field after '#', as in notes.jsonl#body.")
        return _existing(before), field
    return _existing(source), "text"


def _existing(source: str) -> Path:
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{source} does not exist; text is a file, a folder, 'pythondoc' or 'hub:NAME'.")
    return path


def _kind(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def _is_jsonl(path: Path) -> bool:
    return _kind(path) == ".jsonl"


def _folder(folder: Path) -> _Source:
    paths = sorted(
        p
        for p in folder.rglob("*")
        if p.is_file() and _kind(p) in SUFFIXES and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    )
    read = [(p, d) for p in paths for d in _file_documents(p, "text", may_be_empty=True)]
    if not read:
        raise ValueError(f"folder {folder} holds no text; it needs {', '.join(SUFFIXES)} files (also .gz) with something in them.")
    return _Source(folder.resolve().name or "folder", tuple(d for _, d in read), tuple(_key(p) for p in paths))


def _file_documents(path: Path, field: str, may_be_empty: bool = False) -> tuple[str, ...]:
    text = _decoded(path)
    parts = _records(path, text, field) if _is_jsonl(path) else [text]
    parts = tuple(d for d in parts if d.strip())
    if not parts and not may_be_empty:
        raise ValueError(f"{path} is empty; give a file with text in it.")
    return parts


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is no whole gzip file ({error}); compress it again or give the plain text.") from error
    if b"\0" in data:
        raise ValueError(f"{path} is a binary file (it holds NUL bytes); text must be UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}); convert it, or leave it out if it is a binary file.") from error


def _records(path: Path, text: str, field: str) -> list[str]:
    texts = []
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: JSON strings may hold U+2028
        if not line.strip():
            continue
        texts.append(_record_text(line, field, f"{path}, line {number}"))
    return texts


def _record_text(line: str, field: str, place: str) -> str:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f'{place} is no JSON; each line must be an object such as {{"{field}": "…"}}.') from error
    if not isinstance(record, dict):
        raise ValueError(f'{place} is no JSON object; each line must be one, such as {{"{field}": "…"}}.')
    text = record.get(field)
    if not isinstance(text, str):
        names = ", ".join(k for k, v in record.items() if isinstance(v, str)) or "none"
        raise ValueError(f"{place} has no text in the field '{field}' (fields with text: {names}); name one as FILE#FIELD.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{place} holds half a surrogate pair (character {error.start}); write it as valid Unicode.") from error
    return text


_PYTHONDOC_PARTS = {
    "pythondoc": (("docstrings", "calibration"), ("docstrings", "heldout")),
    "pythondoc:calibration": (("docstrings", "calibration"),),
    "pythondoc:heldout": (("docstrings", "heldout"),),
    "pythondoc:topics": (("topics", None),),
}


def _pythondoc_name(source: str) -> str:
    kind = "help topics" if source == "pythondoc:topics" else "docstrings"
    part = source.partition(":")[2]
    return f"Python {python_version()} {kind}" + (f" ({part})" if part in ("calibration", "heldout") else "")


def _pythondoc(source: str) -> _Source:
    if source not in _PYTHONDOC_PARTS:
        raise ValueError(f"unknown source {source!r}; known: {', '.join(_PYTHONDOC_PARTS)}.")
    named = [(kind, d) for kind, part in _PYTHONDOC_PARTS[source] for d in documents(kind, part)]
    return _Source(_pythondoc_name(source), tuple(d.text for _, d in named), tuple(f"pythondoc {kind} {d.name}" for kind, d in named))


def _hub(source: str) -> _Source:
    name, config, split, field = (source.split(":")[1:] + [""] * 4)[:4]
    if not name or source.count(":") > 4:
        raise ValueError(f"{source!r} names no data set; write hub:NAME[:CONFIG[:SPLIT[:FIELD]]].")
    split, field = split or "train", field or "text"
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ImportError(f"{source} needs the library datasets; install it with: {install_command('data')}") from error
    data = load_dataset(name, config or None, split=split)
    if field not in data.column_names:
        raise ValueError(f"{source}: no column '{field}'; it has {', '.join(data.column_names)}. Name one as the last part.")
    texts = tuple(d for d in data[field] if isinstance(d, str) and d.strip())
    return _Source(f"{name.rpartition('/')[2]} {split}", texts, (f"hub:{name}:{config}:{split}:{field}",))


def _cut(joined: str) -> tuple[str, str]:
    start = len(joined) * 9 // 10
    half = start + (len(joined) - start) // 2
    for mark in (_JOINT, "\n", " "):
        at = joined.find(mark, start, half)
        if at >= 0:
            return joined[:at], joined[at + len(mark) :]
    return joined[:start], joined[start:]


def _without(heldout: Text, calibration: Text) -> Text:
    known = set(calibration.documents)
    left = tuple(d for d in heldout.documents if d not in known)
    if not left:
        raise ValueError(f"{heldout.name}: all held-out documents are calibration documents too; give text that does not repeat itself.")
    return Text(heldout.name, left)


def _together(texts: Sequence[Text]) -> Text:
    return Text(_joined_name([t.name for t in texts]), tuple(d for t in texts for d in t.documents))


def _joined_name(names: Sequence[str]) -> str:
    return " + ".join(names)
