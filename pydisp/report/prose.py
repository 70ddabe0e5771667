"""Prose: text as HTML, escaped, with what belongs together kept on one line."""

import html
import re

_KEPT = "\u00a0"  # a space at which no line ends
# `5.3 %`, `0.2 to 0.4`, `3.2 ± 0.1`, `p < 0.01`, `n = 31`: half of one says nothing, or something else.
_TOGETHER = re.compile(r"(?<=\d) (?=%)|(?<=[\d%]) (?:to|±|×|÷) (?=[-+−]?\d)|(?<=\b[pn]) [=<>≤≥] (?=[\d.])|(?<=±) (?=\d)")
_LONGEST_KEPT = 24  # letters of a word with hyphens that stays on one line; a longer one may end a line at a hyphen
_GAP = re.compile(r"([ \t\n]+)")


def escaped(text: str) -> str:
    """The text as it is, for an element or an attribute."""
    return html.escape(text, quote=True)


def together(text: str) -> str:
    """The text with spaces at which no line ends, where a figure would be cut from its unit or its other half."""
    return _TOGETHER.sub(lambda found: found[0].replace(" ", _KEPT), text)


def prose(text: str) -> str:
    """A sentence."""
    return escaped(together(text))


def cell(text: str) -> str:
    """A cell of a table: there a word with hyphens, a span of numbers such as `1-9` or a unit such as `tokens/s` stays whole."""
    return "".join(f'<span class="whole">{escaped(part)}</span>' if _is_cut(part) else escaped(part) for part in _GAP.split(together(text)))


def _is_cut(word: str) -> bool:
    """Whether browsers end a line within this short word."""
    return len(word) <= _LONGEST_KEPT and re.search(r"[-–/]", word[1:-1]) is not None


def name(text: str) -> str:
    """A name of a program, which may end a line after an underscore or a point."""
    return re.sub(r"(?<=_)(?=\w)|(?<=[A-Za-z]\.)(?=\w)", "<wbr>", escaped(text))


def cell_words(text: str) -> list[str]:
    """The parts of a cell between which a line may end."""
    return [word for word in together(text).replace("\t", " ").replace("\n", " ").split(" ") if word]
