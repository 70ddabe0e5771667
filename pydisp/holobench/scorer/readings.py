"""Readings: the ways in which an answer can be taken as rows of cells.

list(readings(["Rome: 12", "Oslo: 7"], ("city", "total"), plain)) -> [[("Rome: 12",), ("Oslo: 7",)], [("Rome", "12"), ("Oslo", "7")], …]

A row is a tuple of cells (None: no cell can be read there), or the number of the gold row that the line is, sign by sign.
The rules stand in data/SCORING.md, part 4.
"""

import re
from collections.abc import Callable, Iterator

from pydisp.holobench.scorer.answer_text import Plain
from pydisp.holobench.scorer.blocks import Block, last_block, unnumbered
from pydisp.holobench.scorer.values import SIGN, hidden_commas, name

Row = tuple[str | None, ...] | int

_SEPARATORS = {
    "tab": "\t",
    "pipe": r"\|",
    "semicolon": ";",
    "comma": ",",
    "colon": ":",
    "dash": " [-\u2010-\u2015\u2212]+>? | ?(?:->|\u2192|=>) ?",
    "equals": "=(?!>)",
    "parentheses": r" ?\(",
    "words": " (?:has|have|had|is|are|was|were|with|at)(?= )",
}


def _patterns(without: str) -> list[re.Pattern]:
    """Each separator but one, then any of them."""
    kept = [pattern for separator, pattern in _SEPARATORS.items() if separator != without]
    return [re.compile(pattern, re.IGNORECASE) for pattern in [*kept, "|".join(kept)]]


_BY_LINE, _BY_SEMICOLON, _BY_COMMA = _patterns(""), _patterns("semicolon"), _patterns("comma")
_COMMA_OR_AND = re.compile(r",(?: and(?= ))?| and(?= )", re.IGNORECASE)
_VERB = re.compile(r" (?:is|are|was|were)(?= )", re.IGNORECASE)
_BEFORE, _AFTER = " |([{<\"'*`", " |)]}>\"'*`.,;:!"


def label(column: str) -> str:
    """A column's name as an answer may write it."""
    return name(column.replace("_", " "))


def readings(lines: list[str], columns: tuple[str, ...], plain: Plain) -> Iterator[list[Row]]:
    """Every reading of an answer, in a fixed order.

    Args:
        lines: of `answer_lines`. columns: the gold's names. plain: the gold's lines.
    """
    labels = tuple(map(label, columns))
    block = last_block(lines, plain)
    if block is None or block.kind == "lines":
        found = _line_readings(list(block.lines) if block else lines, len(columns), plain)
    elif block.kind == "json":
        found = _json_readings(block, labels)
    else:
        block = block if set(labels) <= set(map(label, block.header)) else unnumbered(block, len(labels))
        found = [[_picked(block.header, cells, labels) for cells in block.cells]]
    return (rows[1:] if rows and _is_header(rows[0], labels) else rows for rows in found)


def _is_header(row: Row, labels: tuple[str, ...]) -> bool:
    return (
        isinstance(row, tuple)
        and len(row) == len(labels)
        and all(cell and label(cell) == own for cell, own in zip(row, labels, strict=True))
    )


def _picked(keys, cells, labels: tuple[str, ...]) -> tuple[str | None, ...]:
    """The cells under the gold's names if they are all there, otherwise all cells."""
    cells = tuple(cells)
    if len(cells) == len(keys):
        named = dict(zip(map(label, keys), cells, strict=True))
        if all(own in named for own in labels):
            return tuple(named[own] for own in labels)
    return cells


# --- JSON ---


def _cell(value) -> str | None:
    return None if value is None or isinstance(value, (list, dict)) else str(value)


def _array_rows(array: list, labels: tuple[str, ...]) -> Iterator[Row]:
    if len(array) == len(labels) > 1 and not any(isinstance(value, (list, dict)) for value in array):
        yield tuple(map(_cell, array))
        return
    for value in array:
        if isinstance(value, dict):
            yield _picked(value, map(_cell, value.values()), labels)
        else:
            yield tuple(map(_cell, value)) if isinstance(value, list) else (_cell(value),)


def _json_readings(block: Block, labels: tuple[str, ...]) -> Iterator[list[Row]]:
    """Objects as rows, then, for two columns, as a row for each key and value."""
    for in_pairs in (False, True)[: 1 + (len(labels) == 2)]:
        rows = []
        for value in block.values:
            inner = next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value
            if isinstance(inner, list):
                rows += _array_rows(inner, labels)
            elif in_pairs:
                rows += [(key, _cell(own)) for key, own in value.items()]
            else:
                rows.append(_picked(value, map(_cell, value.values()), labels))
        yield rows


# --- lines ---


def _line_readings(lines: list[str], count: int, plain: Plain) -> Iterator[list[Row]]:
    lines = [re.sub(r"[^\S\t]+", " ", line) for line in lines]
    yield from _split_readings(lines, count, plain)
    if len(lines) != 1 or plain.row(lines[0]) is not None:
        return
    if ":" in lines[0]:
        yield from _split_readings([lines[0].partition(":")[2].strip()], count, plain)
    if verbs := [match.end() for match in _VERB.finditer(lines[0])]:
        yield from _split_readings([lines[0][verbs[-1] :].strip()], count, plain)


def _split_readings(lines: list[str], count: int, plain: Plain) -> Iterator[list[Row]]:
    """Rows by lines, by semicolons, by commas; each with cells by every other separator."""
    whole = _pieces(lines, None, plain)
    yield _uncut(whole)
    if count > 1:
        yield from _cut_readings(whole, _BY_LINE, count)
    for splitter, patterns in ((re.compile(";"), _BY_SEMICOLON), (_COMMA_OR_AND, _BY_COMMA)):
        pieces = _pieces(lines, splitter, plain)
        if len(pieces) > len(whole):
            yield from _cut_readings(pieces, patterns, count) if count > 1 else [_uncut(pieces)]
    if count == 1 and any("\ue001" in piece for piece in whole if isinstance(piece, str)):
        yield _uncut(_pieces(lines, _COMMA_OR_AND, plain, hide=str))


def _pieces(lines: list[str], splitter: re.Pattern | None, plain: Plain, hide: Callable[[str], str] = hidden_commas) -> list[str | int]:
    """The rows of the lines, uncut, commas that separate nothing hidden; a line that is a gold row becomes its number."""
    pieces = []
    for line in lines:
        row = plain.row(line)
        if row is not None:
            pieces.append(row)
            continue
        for piece in splitter.split(hide(line)) if splitter else [hide(line)]:
            own = plain.row(piece.strip()) if splitter else None
            if own is not None or SIGN.search(piece):
                pieces.append(own if own is not None else piece.lstrip(_BEFORE).rstrip(_AFTER))
    return pieces


def _uncut(pieces: list[str | int]) -> list[Row]:
    return [piece if isinstance(piece, int) else (_shown(piece),) for piece in pieces]


def _shown(text: str) -> str:
    return text.replace("\ue001", ",")


def _cut_readings(pieces: list[str | int], patterns: list[re.Pattern], count: int) -> Iterator[list[Row]]:
    """Rows of `count` cells by each separator that some row has; surplus cells joined to the first cell, then to the last."""
    for pattern in patterns:
        cuts = [None if isinstance(piece, int) else [match.span() for match in pattern.finditer(piece)] for piece in pieces]
        most = max((len(cut) for cut in cuts if cut), default=0)
        if most >= count - 1 or None in cuts:
            yield [_cut(piece, cut, slice(1 - count, None), count) for piece, cut in zip(pieces, cuts, strict=True)]
        if most >= count:
            yield [_cut(piece, cut, slice(count - 1), count) for piece, cut in zip(pieces, cuts, strict=True)]


def _cut(piece: str | int, spans: list[tuple[int, int]] | None, kept: slice, count: int) -> Row:
    """The cells of a piece between the spans that are kept; no cells if there are too few."""
    if isinstance(piece, int) or len(spans) < count - 1:
        return piece if isinstance(piece, int) else ()
    spans = spans[kept]
    starts, stops = [0, *(stop for _, stop in spans)], [*(start for start, _ in spans), len(piece)]
    return tuple(_shown(piece[start:stop]) for start, stop in zip(starts, stops, strict=True))
