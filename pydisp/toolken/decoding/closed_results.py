"""Closed results: what a tool returned is not lengthened by what the model writes directly behind it.

    closed = closed_results(tokenizer, vocabulary)
    closed.forbidden("2661", "")       # (N,) ids that begin with a digit, or with a point or a comma and a digit behind it
    closed.forbidden("2661", ".")      # those that begin with a digit: 2661.05 is another number
    closed.forbidden("Sunday", "")     # those that go on with a letter from a to z

A language model knows nothing of calls. Behind " 6.29894924686" it finds one more digit likely, and with it the number is no longer what the tool
returned: so a weak model spoils many of its right calls (LOG). This rule is ours. It holds directly behind a result only, so that a text without calls stays
the plain model's.
"""

import re
from functools import cached_property, lru_cache

import torch
from torch import Tensor

_NUMBER = re.compile(r"[.,]?\d")
_BYTE = re.compile(r"<0x([0-7][0-9A-F])>")  # as SentencePiece writes a byte
_NOTHING = torch.zeros(0, dtype=torch.long)


@lru_cache(maxsize=4)
def closed_results(tokenizer, vocabulary: int) -> "ClosedResults":
    """The same for the same tokenizer, whose whole vocabulary is read with the first result."""
    return ClosedResults(tokenizer, vocabulary)


class ClosedResults:
    """The ids that would lengthen a result.

    Args:
        tokenizer: a fast one. vocabulary: V, ids from there on are no words.
    """

    def __init__(self, tokenizer, vocabulary: int):
        self.tokenizer, self.vocabulary = tokenizer, vocabulary

    def forbidden(self, result: str, behind: str) -> Tensor:
        """(N,) int64, of a result and what was written behind it: "", or the name of one token."""
        last = result[-1:]
        if last.isdecimal():
            return self._numbers if not behind else self._digits if behind in (".", ",") else _NOTHING
        return self._letters if last.isalpha() and not behind else _NOTHING

    @cached_property
    def _glued(self) -> dict[int, str]:
        """What each token goes on with that stands directly behind the text before it."""
        names = self.tokenizer.convert_ids_to_tokens(list(range(self.vocabulary)))
        special = set(self.tokenizer.all_special_ids)
        named = {place: name for place, name in enumerate(names) if name and place not in special}
        model = self.tokenizer.backend_tokenizer.model
        if type(model).__name__ == "WordPiece":  # its other tokens begin a word
            prefix = model.continuing_subword_prefix
            return {place: name.removeprefix(prefix) for place, name in named.items() if name.startswith(prefix)}
        return {place: chr(int(byte[1], 16)) if (byte := _BYTE.fullmatch(name)) else name for place, name in named.items()}

    @cached_property
    def _digits(self) -> Tensor:
        return torch.tensor([place for place, name in self._glued.items() if name[:1].isdecimal()], dtype=torch.long)

    @cached_property
    def _numbers(self) -> Tensor:
        return torch.tensor([place for place, name in self._glued.items() if _NUMBER.match(name)], dtype=torch.long)

    @cached_property
    def _letters(self) -> Tensor:
        # of ASCII only: byte-level names spell the space and all other bytes by letters beyond
        return torch.tensor([place for place, name in self._glued.items() if name[:1].isascii() and name[:1].isalpha()], dtype=torch.long)
