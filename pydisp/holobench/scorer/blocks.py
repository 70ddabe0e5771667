"""Blocks: the part of an answer that lists rows among prose: JSON, a Markdown table, bulleted or numbered lines.

last_block(["Two rows:", "| name |", "|---|", "| Anna |", "Done."], plain) -> Block("table", …, header=("name",), cells=(("Anna",),))

The rules stand in data/SCORING.md, part 4.
"""

import json
import re
from dataclasses import dataclass, replace

from pydisp.holobench.scorer.answer_text import Plain
from pydisp.holobench.scorer.values import name, number

_BULLET = re.compile(r"(?:[-*•+]|[0-9]{1,3}[.)])\s+(?=\S)")
_OPENING = re.compile(r"(?:^|(?<=: ))[\[{]", re.MULTILINE)
_AFTER_JSON = re.compile(r"[ \t]*[.,;*`]*[ \t]*(?=\n|$)")
_BETWEEN_JSON = re.compile(r"[\s,]*(?=[\[{])")
_NUMBERING = ("#", "no", "nr", "rank", "")  # headers of a column that only numbers the rows
_FAILURES = 50  # openings without JSON behind them; each costs a look at the whole rest
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str, strict=False)


@dataclass(frozen=True)
class Block:
    """Rows that stand out from an answer.

    Args:
        kind: "json", "table" or "lines". first, stop: its lines. values: of "json", what was decoded, numbers as they were written.
        header, cells: of "table". lines: of "lines", without bullets.
    """

    kind: str
    first: int
    stop: int
    values: tuple = ()
    header: tuple[str, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()
    lines: tuple[str, ...] = ()


def without_bullet(line: str, plain: Plain) -> str:
    match = _BULLET.match(line)
    return line[match.end() :] if match and plain.row(line) is None else line


def _bulleted(lines: list[str], plain: Plain) -> Block | None:
    bare = [without_bullet(line, plain) for line in lines]
    stop = len(lines)
    while stop and bare[stop - 1] == lines[stop - 1]:
        stop -= 1
    first = stop
    while first and bare[first - 1] != lines[first - 1]:
        first -= 1
    return Block("lines", first, stop, lines=tuple(bare[first:stop])) if stop else None


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|"))


def _is_rule(line: str) -> bool:
    return "-" in line and "|" in line and not line.strip("|-: \t")


def _table(lines: list[str], plain: Plain) -> Block | None:
    for rule in range(len(lines) - 2, 0, -1):
        if not _is_rule(lines[rule]) or "|" not in lines[rule - 1]:
            continue
        stop = rule + 1
        while stop < len(lines) and "|" in lines[stop] and not _is_rule(lines[stop]):
            stop += 1
        if stop > rule + 1:
            return Block("table", rule - 1, stop, header=_cells(lines[rule - 1]), cells=tuple(map(_cells, lines[rule + 1 : stop])))
    return None


def unnumbered(table: Block, count: int) -> Block:
    """A table without its first column if that only numbers the rows 1..n and the others are `count`."""
    is_numbered = name(table.header[0]) in _NUMBERING and all(
        len(cells) == count + 1 and number(cells[0]) == place for place, cells in enumerate(table.cells, 1)
    )
    if not is_numbered or len(table.header) != count + 1:
        return table
    return replace(table, header=table.header[1:], cells=tuple(cells[1:] for cells in table.cells))


def _decoded(text: str, place: int) -> tuple[tuple, int] | None:
    """The arrays and objects that begin at a place, one after the other, up to the end of a line; and where they end."""
    values = []
    while True:
        try:
            value, place = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            return None
        values.append(value)
        following = _BETWEEN_JSON.match(text, place)
        if not following:
            end = _AFTER_JSON.match(text, place)
            return (tuple(values), end.end()) if end else None
        place = following.end()


def _json(lines: list[str], plain: Plain) -> Block | None:
    text = "\n".join(lines)
    place, failures, found = 0, 0, None
    while failures < _FAILURES and (opening := _OPENING.search(text, place)):
        decoded = None if plain.holds(text, opening.start()) else _decoded(text, opening.start())
        if decoded is None or not any(decoded[0]):
            failures += 1
            place = opening.end()
            continue
        values, place = decoded
        first = text.count("\n", 0, opening.start())
        found = Block("json", first, text.count("\n", 0, place) + 1, values=values)
    return found


def last_block(lines: list[str], plain: Plain) -> Block | None:
    """The last block; None without one. JSON with a line in it that looks like another block stays JSON."""
    found = [block for block in (_json(lines, plain), _table(lines, plain), _bulleted(lines, plain)) if block]
    return max(found, key=lambda block: block.stop, default=None)
