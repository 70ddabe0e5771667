"""Beginnings of strings: with which characters an open one becomes a string that a call may have.

string_rest("k", "", '"', ["km", "kg"], limits) == 'm"'
"""

import re

from pydisp.toolken.tools.arguments import ESCAPES, written_character
from pydisp.toolken.tools.limits import Limits

_UNICODE_BEGUN = re.compile(r"u(?:[0-9a-cefA-CEF][0-9a-fA-F]{0,2}|[dD](?:[0-7][0-9a-fA-F]?)?)?")
_ESCAPED = {character: mark for mark, character in ESCAPES.items()}


def string_rest(content: str, escape: str | None, quote: str, choices: list[str] | None, limits: Limits) -> str | None:
    """The characters that end a string, None where nothing does.

    Args:
        content: the characters that it has so far. escape: what follows a backslash that ends the text; None where none does.
        quote: the one that it began with. choices: the values it can have; None for every one.
    """
    if choices is None:
        length = len(content) + (escape is not None)
        end = "" if escape is None else _escape_end(escape, None)
        return None if end is None or length > limits.text_length else end + quote
    for choice in choices:
        if not choice.startswith(content) or len(choice) > limits.text_length:
            continue
        missing, end = choice[len(content) :], ""
        if escape is not None:
            if not missing or (end := _escape_end(escape, missing[0])) is None:
                continue
            missing = missing[1:]
        return end + "".join("\\'" if one == quote == "'" else written_character(one) for one in missing) + quote
    return None


def _escape_end(begun: str, character: str | None) -> str | None:
    """What completes an escape of the character, or of any."""
    if begun == "":
        if character is None:
            return "n"
        if character in _ESCAPED:
            return _ESCAPED[character]
    elif _UNICODE_BEGUN.fullmatch(begun) is None:
        return None
    if character is None:
        return "0" * (5 - len(begun))
    code = f"u{ord(character):04x}"
    return code[len(begun) :] if len(code) == 5 and code.startswith(begun.lower()) else None
