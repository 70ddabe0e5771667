"""Text: sources to documents, documents to one sequence of tokens, tokens to windows.

A source is a file, a folder, `pythondoc` or a data set of the hub (`pydisp.text_source`). All are treated alike. Documents are joined with
a blank line and not changed otherwise. The text is tokenized once, with the beginning-of-text token in front if the tokenizer has one, and
no other special token. The tokens are cut into windows that do not overlap. The first token of a window is not a target, and the rest at
the end is dropped.

Calibration takes the first 32 MiB of a larger source, in whole documents, and the text's name then says so: a whole corpus of gigabytes would
be tokenized for hours, while a search draws a few million tokens.

Held-out text is never calibration text. The last tenth of every source is held out: the last tenth of its documents if it has ten or more,
else the last tenth of its characters. The cut is then at the first blank line (else newline, else space) in the first half of that tenth.
A document that is in calibration too is left out of the held-out text. `pythondoc` has its own two parts.

    >>> calibration, heldout = calibration_and_heldout(["pythondoc"])
    >>> heldout.name.endswith("docstrings (heldout)")
    True
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pydisp.progress import FIRST_LINE_SECONDS, duration_words, is_silent, silence
from pydisp.text_source import PYTHONDOC, Source, read_pythondoc, read_sources

if TYPE_CHECKING:
    from torch import Tensor

_JOINT = "\n\n"
_FEWEST_DOCUMENTS_TO_SPLIT = 10
_LARGE_BYTES = 2**19  # what is smaller takes less than 2 seconds
_SAMPLE_CHARACTERS = 2**16  # of a large text, tokenized to reckon how long the whole takes


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


def tokenize(text: Text, tokenizer, say: Callable[[str], None] = silence) -> Tokens:
    """Tokenize the whole text in one call of a transformers tokenizer, with `tokenizer.bos_token_id` in front if there is one.

    say: as for `tell_of_tokenizing`.
    Raises: ValueError if the tokenizer returns no tokens.
    """
    import torch

    tell_of_tokenizing(text, tokenizer, say)
    ids = tokenizer(text.joined, add_special_tokens=False, verbose=False)["input_ids"]
    if not ids:
        raise ValueError(f"{text.name}: the tokenizer made no token of {text.bytes} bytes; give the model's own tokenizer.")
    has_bos = tokenizer.bos_token_id is not None
    front = [tokenizer.bos_token_id] if has_bos else []
    return Tokens(text.name, torch.tensor([*front, *ids]), text.bytes, has_bos)


def tell_of_tokenizing(text: Text, tokenizer, say: Callable[[str], None], **options) -> None:
    """Before a text is tokenized: tell `say` how long it will take, if that is seconds. (It is done in one call, which shows no progress.)

    options: of the tokenizer's call, if it takes longer with them.
    """
    if is_silent(say) or text.bytes < _LARGE_BYTES:
        return
    start, sample = time.perf_counter(), text.joined[:_SAMPLE_CHARACTERS]
    tokenizer(sample, add_special_tokens=False, verbose=False, **options)
    seconds = (time.perf_counter() - start) * len(text.joined) / len(sample)
    if seconds >= FIRST_LINE_SECONDS:
        say(f"tokenizing {text.name}: {text.bytes / 2**20:,.1f} MiB, about {duration_words(seconds)}")


def read_text(sources: Sequence[str], say: Callable[[str], None] = silence) -> Text:
    """All documents of all sources, in the given order; `say` receives the progress of what takes more than 2 seconds to read.

    Raises: as `pydisp.text_source.read_sources`.
    """
    read = read_sources(sources, say=say)
    return Text(_joined_name([s.name for s in read]), tuple(d for s in read for d in s.documents))


def calibration_and_heldout(sources: Sequence[str] | None = None, say: Callable[[str], None] = silence) -> tuple[Text, Text]:
    """Calibration and held-out text of the sources (by default `pythondoc`); each source is split as the top of this file says.

    say: as for `read_text`.

    Raises: as `read_text`; ValueError if no held-out text is left.
    """
    parts = []
    for source in read_sources([PYTHONDOC] if sources is None else sources, first=True, say=say):
        if source.given == PYTHONDOC:
            parts.append(tuple(_text(read_pythondoc(f"{PYTHONDOC}:{part}")) for part in ("calibration", "heldout")))
        else:
            parts.append(split_heldout(_text(source)))
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
    return _text(read_pythondoc(f"{PYTHONDOC}:topics"))


def _text(source: Source) -> Text:
    return Text(source.name, source.documents)


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
