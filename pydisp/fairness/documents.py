"""Documents: the replicates of an audit. Every scored token knows its document, though windows run over the ends of documents.

A text of fewer than 50 documents (one long file, say) is cut into blocks of about 1,024 tokens, which then count as its documents: intervals
need replicates, and rare types stand in some of them only. A block ends where a word begins.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from pydisp.progress import silence
from pydisp.text import Text, Tokens, tell_of_tokenizing

FEWEST_DOCUMENTS = 30  # for an interval
_FEWEST_WHOLE = 50
BLOCK_TOKENS = 1024
_JOINT_CHARACTERS = 2  # documents are joined with a blank line, which belongs to the document before it
_EXCERPT_CHARACTERS = 60


@dataclass(frozen=True, eq=False)
class Documents:
    """A text and where its documents begin.

    Args:
        text: the text; all places are characters of `text.joined`.
        starts: (D,) int64 the first character of each document.
        are_blocks: whether they are blocks of a text with fewer documents.
    """

    text: Text
    starts: np.ndarray
    are_blocks: bool

    @classmethod
    def of(cls, text: Text, read: "ReadTokens", word_starts: np.ndarray) -> "Documents":
        """The documents of a text, or blocks of it that hold BLOCK_TOKENS tokens of `read` and the rest of a word.

        Args:
            word_starts: sorted characters at which a word begins.
        """
        lengths = np.array([len(d) for d in text.documents], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(lengths + _JOINT_CHARACTERS)[:-1]])
        if len(starts) >= _FEWEST_WHOLE:
            return cls(text, starts, False)
        inner = []
        first_tokens = np.searchsorted(read.begins, starts)
        for start, first, last in zip(starts, first_tokens, [*first_tokens[1:], len(read.begins)], strict=True):
            cuts = read.begins[first + BLOCK_TOKENS : last : BLOCK_TOKENS]
            inner += [start, *word_starts[np.searchsorted(word_starts, cuts).clip(max=len(word_starts) - 1)]]
        blocks = np.unique(np.array(inner, dtype=np.int64))
        return cls(text, blocks, len(blocks) > len(starts))

    def __len__(self) -> int:
        return len(self.starts)

    def holding(self, characters: np.ndarray) -> np.ndarray:
        """(…) int64: the number of the document that holds each character."""
        return np.searchsorted(self.starts, characters, side="right") - 1

    def excerpt(self, number: int) -> str:
        """The first words of a document, on one line."""
        start = int(self.starts[number])
        words = " ".join(self.text.joined[start : start + 4 * _EXCERPT_CHARACTERS].split())
        return words if len(words) <= _EXCERPT_CHARACTERS else f"{words[: _EXCERPT_CHARACTERS - 1].rstrip()}…"


@dataclass(frozen=True, eq=False)
class ReadTokens:
    """The tokens of a text (as `pydisp.text.tokenize` makes them), each with the characters it stands for.

    Together the tokens stand for every character once: one that a tokenizer gives to no token (the space that some cut off) belongs to the
    next token, one that several tokens share (byte fallback) to the first of them.

    Args:
        tokens: ids, (T,), perhaps with the beginning-of-text token in front, which stands for no character.
        begins, ends: (T,) int64, `begins[0] == 0`, `begins[1:] == ends[:-1]`; the last end is the length of the text.
        is_apart: (T,) bool, whether no character before it is shared with this token: a unit may begin here.
    """

    tokens: Tokens
    begins: np.ndarray
    ends: np.ndarray
    is_apart: np.ndarray

    @cached_property
    def last_characters(self) -> np.ndarray:
        """(T,) the last character of each token: its place in the text (a token's front may be the white space before a word)."""
        return np.maximum(self.ends - 1, 0)


def read_tokens(text: Text, tokenizer, say: Callable[[str], None] = silence) -> ReadTokens:
    """Tokenize the whole text as `pydisp.text.tokenize` does, and keep the offsets; `say` is told how long that takes, if it is seconds.

    Raises: ValueError for a tokenizer without offsets, or if it makes no token.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"{type(tokenizer).__name__} does not tell the characters of a token; an audit needs a fast tokenizer (one with a tokenizer.json)."
        )
    tell_of_tokenizing(text, tokenizer, say, return_offsets_mapping=True)
    encoded = tokenizer(text.joined, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    if not encoded["input_ids"]:
        raise ValueError(f"{text.name}: the tokenizer made no token of {text.bytes} bytes; give the model's own tokenizer.")
    has_bos = tokenizer.bos_token_id is not None
    front = [tokenizer.bos_token_id] if has_bos else []
    tokens = Tokens(text.name, torch.tensor([*front, *encoded["input_ids"]]), text.bytes, has_bos)
    offsets = np.array([*[(0, 0)] * has_bos, *encoded["offset_mapping"]], dtype=np.int64)
    ends = np.maximum.accumulate(offsets[:, 1])
    ends[-1] = len(text.joined)
    begins = np.concatenate([[0], ends[:-1]])
    return ReadTokens(tokens, begins, ends, offsets[:, 0] >= begins)
