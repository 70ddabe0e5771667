"""Marked text: what was written, with each call and its result marked.

    marked_text(" 48 / 2 = 24 clips", trace)      # " 48 / 2 = [divide(48, 2) -> 24] clips"

A failed call is marked where it was tried: [divide(1, 0) failed]. Control characters are shown escaped, so that no text moves the cursor,
hides letters or turns the direction of a terminal.
"""

import unicodedata

from pydisp.toolken.decoding.trace import Trace

_SHOWN = "\n\t"  # of the text itself; inside a mark these are escaped too
_ESCAPED = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}  # control, format, private, half characters, line and paragraph separators


def marked_text(text: str, trace: Trace) -> str:
    """The written text with its calls.

    Args:
        text: what was written after the prompt. trace: of that text.
    """
    parts, done = [], 0
    for step in trace.steps:
        if step.outcome not in ("called", "failed"):
            continue
        call = f"{step.tool}({step.arguments or ''})"
        parts.append(shown(text[done : step.start], _SHOWN))
        if step.outcome == "failed":
            parts.append(f"[{shown(call)} failed]")
            done = step.start
            continue
        put_in = text[step.start : step.end]
        result = put_in.lstrip(" ")
        parts.append(put_in[: len(put_in) - len(result)] + f"[{shown(call)} -> {shown(result)}]")
        done = step.end
    return "".join([*parts, shown(text[done:], _SHOWN)])


def shown(text: str, kept: str = "") -> str:
    """The text with control characters escaped, but for those in `kept`."""
    return "".join(one if one in kept or unicodedata.category(one) not in _ESCAPED else _escape(one) for one in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
