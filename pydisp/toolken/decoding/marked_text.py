"""Marked text: what was written, with each call and its result marked.

    marked_text(" 48 / 2 = 24 clips", trace)      # " 48 / 2 = [divide(48, 2) -> 24] clips"

A failed call is marked where it was tried, with the reason in few words: [divide(1, 0) failed: a division by zero has no result]. A text that
ended because a result had no room ends with a mark: [multiply(12, 7) has no room: 37 tokens]. Repeated calls are not marked.

Control characters are shown escaped, so that no text moves the cursor, hides letters or turns the direction of a terminal.
"""

import re
import unicodedata

from pydisp.toolken.decoding.trace import Step, Trace

_REASON = 70  # characters of a reason
_SHOWN = "\n\t"  # of the text itself; inside a mark these are escaped too
_ESCAPED = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}  # control, format, private, half characters, line and paragraph separators


def marked_text(text: str, trace: Trace) -> str:
    """The written text with its calls.

    Args:
        text: what was written after the prompt. trace: of that text.
    """
    parts, done = [], 0
    for step in trace.steps:
        has_no_room = step.outcome == "beyond" and step.needed is not None
        if step.outcome not in ("called", "failed") and not has_no_room:
            continue
        call = f"{step.tool}({step.arguments or ''})"
        parts.append(shown(text[done : step.start], _SHOWN))
        if has_no_room or step.outcome == "failed":
            parts.append(f"[{shown(call)} has no room: {step.needed} tokens]" if has_no_room else f"[{shown(call)} failed{_reason(step)}]")
            done = step.start
            continue
        put_in = text[step.start : step.end]
        result = put_in.lstrip(" ")
        parts.append(put_in[: len(put_in) - len(result)] + f"[{shown(call)} -> {shown(result)}]")
        done = step.end
    return "".join([*parts, shown(text[done:], _SHOWN)])


def _reason(step: Step) -> str:
    """What the error says before it says what to do, at most `_REASON` characters."""
    error = (step.error or "").strip().split("; ")[0].rstrip(".")
    error = re.sub(rf"^the tool {re.escape(repr(step.tool))} ", "it ", error)
    error = error if len(error) <= _REASON else f"{error[: _REASON - 1].rstrip()}…"
    return f": {shown(error)}" if error else f": {step.kind}" if step.kind else ""


def shown(text: str, kept: str = "") -> str:
    """The text with control characters escaped, but for those in `kept`."""
    return "".join(one if one in kept or unicodedata.category(one) not in _ESCAPED else _escape(one) for one in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
