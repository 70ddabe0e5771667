"""Our docstrings as Markdown, for the pages of the Python reference.

Args:
    residual: (..., D) float32; a section has an entry a line. weight: or several.
    add_index, select_index: entries may share a line, and go on
        on the next.
Returns: a section may also stand on its own line.

becomes a list under `Args`, and paragraphs that begin with a bold `Returns:`. Google's parser would take neither.
"""

import re
from inspect import cleandoc

import griffe

_SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Source|Yields|Values|Result|Run|Files|Folders):(?: (.*))?")
_ENTRY = re.compile(r"((?:\*{0,2}[A-Za-z_][\w.]*)(?:, \*{0,2}[A-Za-z_][\w.]*)*): (.*)")
_NEXT_ENTRY = re.compile(r"(?<=\.) (?=[a-z_]+(?:, [a-z_]+)*: )")  # in the line of another one
_CODE_SPAN = re.compile(r"(`+[^`]*`+)")


class PlainStyle(griffe.Extension):
    """Replaces the text of every docstring as it is read."""

    def on_instance(self, *, obj: griffe.Object, **_kwargs) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """The docstring with its sections as Markdown. Indented lines outside of a section stay what they are, code."""
    done, lines, first = [], cleandoc(text).splitlines(), True
    at = 0
    while at < len(lines):
        section = _SECTION.fullmatch(lines[at])
        if not section:
            named = _ENTRY.fullmatch(lines[at]) if not first else None  # the fields of a NamedTuple stand without a section
            done.append(_prose(lines[at]) if not named else f"- {_entry(named)}")
            first = first and bool(lines[at].strip())
            if named:
                at, entry = _continued(lines, at + 1, done[-1])
                done[-1] = entry
                continue
            at += 1
            continue
        title, rest = section[1], section[2] or ""
        at, body = _indented(lines, at + 1)
        if done and done[-1]:
            done.append("")
        if title in ("Args", "Attributes") and not rest:
            done += [f"**{title}**", "", *_entries(body), ""]
        elif rest:
            done += [f"**{title}:** {_prose(' '.join([rest, *map(str.strip, body)]))}", ""]
        else:
            done += [f"**{title}**", "", *(line for part in body for line in (_prose(part.strip()), "")), ""]
    return "\n".join(done)


def _indented(lines: list[str], at: int) -> tuple[int, list[str]]:
    """The lines from `at` on that are indented, and the number of the one behind them."""
    body = []
    while at < len(lines) and lines[at].startswith("    "):
        body.append(lines[at][4:])
        at += 1
    return at, body


def _continued(lines: list[str], at: int, entry: str) -> tuple[int, str]:
    while at < len(lines) and lines[at].startswith("    "):
        entry += f" {_prose(lines[at].strip())}"
        at += 1
    return at, entry


def _entries(body: list[str]) -> list[str]:
    entries = []
    for line in body:
        if not entries or (not line.startswith(" ") and _ENTRY.fullmatch(line)):
            entries.append(line.strip())
        else:
            entries[-1] += f" {line.strip()}"
    apart = [part for entry in entries for part in _NEXT_ENTRY.split(entry)]
    return [f"- {_entry(named) if (named := _ENTRY.fullmatch(part)) else _prose(part)}" for part in apart]


def _entry(named: re.Match) -> str:
    return f"{', '.join(f'`{name}`' for name in named[1].split(', '))}: {_prose(named[2])}"


def _prose(line: str) -> str:
    """The line with what Markdown would take for tags or emphasis escaped, but for code."""
    if line.startswith("    "):
        return line
    parts = _CODE_SPAN.split(line)
    return "".join(part if at % 2 else re.sub(r"([*\[])", r"\\\1", part).replace("<", "&lt;") for at, part in enumerate(parts))
