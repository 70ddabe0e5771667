"""Beginnings of calls as they are to be written: plainly, so that a weak model does not lose itself in what the parser would also read.

    plainly_continues(BUILTIN["add"], "12, 7"); not plainly_continues(BUILTIN["add"], "12 , 7"); not plainly_continues(BUILTIN["add"], "12,  7")

Of the calls that `argument_prefix` knows it leaves those in which

    one space at most stands behind an opening bracket, a comma or an equals sign, none elsewhere, and neither tabs nor line ends do;
    a choice is spelt in one way for each quotation mark;
    other strings have no escapes but \\" and \\\\.

Every plain beginning can become a whole plain call: `plain_completion` gives its end.
"""

import re
from collections.abc import Sequence
from decimal import Decimal

from pydisp.toolken.tools.argument_prefix import Beginning, Broken, Ended
from pydisp.toolken.tools.limits import Limits
from pydisp.toolken.tools.number_prefix import number_rest
from pydisp.toolken.tools.string_prefix import string_rest
from pydisp.toolken.tools.tool import Tool

_ONE_SPACE = re.compile(r" ?")


def plainly_continues(tool: Tool, text: str, limits: Limits = Limits()) -> bool:  # noqa: B008 (frozen)
    """Whether a plain call of the tool begins with the text, or is it; the text is what stands after "name("."""
    return plain_completion(tool, text, limits) is not None


def plain_completion(tool: Tool, text: str, limits: Limits = Limits()) -> str | None:  # noqa: B008
    """An end with which the text becomes a plain call of the tool: "" where it is one, None where there is no such end."""
    return _PlainBeginning(tool, text, limits).completion()


class _PlainBeginning(Beginning):
    """Reads the beginning of a plain call."""

    def skip_spaces(self) -> None:
        self.place = _ONE_SPACE.match(self.text, self.place).end()

    def skip_spaces_behind(self) -> None:
        """None may stand there."""

    def number(self, is_whole: bool, allowed: list[int | Decimal] | None) -> None:
        if allowed is None:
            return super().number(is_whole, None)
        signs = ["-" if choice < 0 else "" for choice in allowed]
        rests = [number_rest(sign, is_whole, [choice], self.limits) for sign, choice in zip(signs, allowed, strict=True)]
        self.one_of([sign + rest for sign, rest in zip(signs, rests, strict=True) if rest is not None])

    def string(self, quote: str, allowed: list[str] | None) -> None:
        if allowed is None:
            return super().string(quote, None)
        rests = [string_rest("", None, quote, [choice], self.limits) for choice in allowed]
        self.one_of([quote + rest for rest in rests if rest is not None])

    def one_of(self, spellings: Sequence[str]) -> None:
        left = self.text[self.place :]
        for spelling in spellings:
            if spelling.startswith(left):
                raise Ended(spelling[len(left) :])
        whole = max((spelling for spelling in spellings if left.startswith(spelling)), key=len, default=None)
        if whole is None:
            raise Broken
        self.place += len(whole)

    def escaped(self, content: str, quote: str, allowed: list[str] | None) -> str:
        for character in ('"', "\\"):
            if self.took(character):
                return character
        if not self.is_at_end or len(content) >= self.limits.text_length:
            raise Broken
        raise Ended(f'"{quote}')
