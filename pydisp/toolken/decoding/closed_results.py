"""Closed results: what a tool returned is not lengthened by what the model writes directly behind it.

    closed = ClosedResults(tokenizer, vocabulary)
    closed.forbidden("2661", "")       # (N,) ids that begin with a digit, or with a point or a comma and a digit behind it
    closed.forbidden("2661", ".")      # those that begin with a digit: 2661.05 is another number
    closed.forbidden("Sunday", "")     # those that go on with a letter

A language model knows nothing of calls. Behind " 6.29894924686" it finds one more digit likely, and with it the number is no longer what the tool
returned: so a weak model spoils half of its right calls. This rule is ours. It holds directly behind a result only, so that a text without calls stays
the plain model's.
"""

import re
from functools import cached_property

import torch
from torch import Tensor

_GOES_ON = "##"  # how WordPiece names what belongs to the word before; its other tokens begin a word
_NUMBER = re.compile(r"[.,]?[0-9]")
_NOTHING = torch.zeros(0, dtype=torch.long)


class ClosedResults:
    """The ids that would lengthen a result.

    Args:
        vocabulary: V, ids from there on are no words.
    """

    def __init__(self, tokenizer, vocabulary: int):
        self.tokenizer, self.vocabulary = tokenizer, vocabulary

    def forbidden(self, result: str, behind: str) -> Tensor:
        """(N,) int64, of a result and the text that was written behind it; none from the second character on."""
        last = result[-1:]
        if last.isdecimal():
            return self._numbers if not behind else self._digits if behind in (".", ",") else _NOTHING
        return self._letters if last.isalpha() and not behind else _NOTHING

    @cached_property
    def _glued(self) -> dict[int, str]:
        """What each token goes on with that stands directly behind the text before it."""
        names = self.tokenizer.convert_ids_to_tokens(list(range(self.vocabulary)))
        reserved = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
        if any(name is not None and name.startswith(_GOES_ON) and len(name) > len(_GOES_ON) and name[2:3].isalnum() for name in names):
            return {place: name[2:] for place, name in enumerate(names) if name is not None and name.startswith(_GOES_ON)}
        return {place: name for place, name in enumerate(names) if name and place not in reserved}

    @cached_property
    def _digits(self) -> Tensor:
        return torch.tensor([place for place, name in self._glued.items() if name[:1].isdecimal()], dtype=torch.long)

    @cached_property
    def _numbers(self) -> Tensor:
        return torch.tensor([place for place, name in self._glued.items() if _NUMBER.match(name)], dtype=torch.long)

    @cached_property
    def _letters(self) -> Tensor:
        # not isalpha(): byte-level names spell the space and all bytes beyond ASCII by letters
        return torch.tensor([place for place, name in self._glued.items() if name[:1].isascii() and name[:1].isalpha()], dtype=torch.long)
