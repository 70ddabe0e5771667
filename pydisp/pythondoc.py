"""The documentation that comes with every Python, as text: a corpus that needs no download.

There are two kinds of documents, read from the running interpreter: `docstrings` (one document per standard-library module, read from
its source without importing it) and `topics` (one document per entry of pydoc's help). A hash of a document's name decides its part,
the same in all of pydisp: the demo model is trained on `train`, masks are learned on `calibration`, and figures are measured on
`heldout`. The text differs between Python versions, so every figure names the version (`python_version`).

    >>> [d.name for d in documents("docstrings", "heldout")][:1]
    ['asyncio/threads.py']
"""

import ast
import gc
import hashlib
import os
import platform
import sysconfig
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydisp.progress import Bar, silence

KINDS = ("docstrings", "topics")
PARTS = ("train", "calibration", "heldout")

# Folders without library documentation (tests, bundled copies), and folders that are not part of the standard library.
_SKIPPED_FOLDERS = frozenset(
    ("site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__", "pydoc_data", "turtledemo")
    + ("ensurepip", "encodings")
)
_SHORTEST_DOCSTRING_CHARACTERS = 80
_STATEMENT_FIELDS = frozenset(("body", "handlers", "orelse", "finalbody", "cases"))


@dataclass(frozen=True)
class Document:
    """A named text; the name is the path of a module below the standard library, or a topic."""

    name: str
    text: str


def python_version() -> str:
    """The interpreter whose documentation this is, such as `3.11.7`."""
    return platform.python_version()


def part_of(name: str) -> str:
    """`train` (55 % of the names), `calibration` (35 %) or `heldout` (10 %), by a hash of the name alone."""
    bucket = int(hashlib.sha1(name.encode()).hexdigest(), 16) % 20
    return "heldout" if bucket < 2 else "calibration" if bucket < 9 else "train"


def documents(kind: str, part: str | None = None, say: Callable[[str], None] = silence) -> list[Document]:
    """The documents of one kind, in the order of their names; of one part, or of all three. `say` receives the progress of reading them.

    Raises: ValueError for a kind or part that does not exist.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of Python documentation {kind!r}; known: {', '.join(KINDS)}.")
    if part is not None and part not in PARTS:
        raise ValueError(f"unknown part {part!r} of the Python documentation; known: {', '.join(PARTS)}.")
    everything = _docstrings(say) if kind == "docstrings" else _topics()
    return [d for d in everything if part is None or part_of(d.name) == part]


_docstrings_read: list[Document] = []  # all of them, once they are read: it takes seconds


def _docstrings(say: Callable[[str], None]) -> list[Document]:
    if not _docstrings_read:
        _docstrings_read.extend(_parsed_docstrings(say))
    return _docstrings_read


def _parsed_docstrings(say: Callable[[str], None]) -> list[Document]:
    root = Path(sysconfig.get_paths()["stdlib"])
    read, seen = [], set()
    modules = _modules(root)
    reading = Bar(len(modules), say, title="reading the documentation of Python", unit="module", is_brief=True)
    with _no_garbage_collection(), warnings.catch_warnings(), reading as bar:
        warnings.simplefilter("ignore")  # warnings about invalid escapes in a module's source do not concern our users
        for path in modules:
            bar.advance(1)
            try:
                tree = ast.parse(path.read_text(encoding="utf-8"))
            except (SyntaxError, UnicodeDecodeError, OSError):
                continue  # a few files of the standard library are templates, not modules
            texts = []
            for text in _docstrings_of(tree):
                if len(text) > _SHORTEST_DOCSTRING_CHARACTERS and text not in seen:
                    seen.add(text)
                    texts.append(text)
            if texts:
                read.append(Document(path.relative_to(root).as_posix(), "\n\n".join(texts)))
    return read


def _modules(root: Path) -> list[Path]:
    paths = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [s for s in subfolders if s not in _SKIPPED_FOLDERS]  # os.walk descends into what is left
        paths += [Path(folder, name) for name in names if name.endswith(".py")]
    return sorted(paths)


def _docstrings_of(module: ast.Module) -> Iterator[str]:
    """Breadth first through the statements. Expressions are skipped: they hold no docstrings and are seven eighths of a tree."""
    queue = deque([module])
    while queue:
        node = queue.popleft()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
            yield text
        for field in node._fields:
            if field in _STATEMENT_FIELDS:
                queue.extend(getattr(node, field))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Switch garbage collection off meanwhile: syntax trees are a million objects without garbage (1.5 s of CPU instead of 6.0 s)."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@cache
def _topics() -> tuple[Document, ...]:
    from pydoc_data.topics import topics

    read, seen = [], set()
    for name in sorted(topics):
        # Topics quote each other. A paragraph stays only in the first topic that has it, so that no part holds text of another part.
        paragraphs = [p for p in topics[name].split("\n\n") if p not in seen]
        seen.update(paragraphs)
        if paragraphs:
            read.append(Document(name, "\n\n".join(paragraphs)))
    return tuple(read)
