"""Box: a table or a picture on the page, which scrolls sideways where the page is narrower, with a hint that it does.

A page without scripts cannot measure itself. So each box knows the width from which on it scrolls: that of the picture, or what the words of
the table need in a wide font. The rules of `box_style` show the hint in a column narrower than that, and make the contents so wide there.
"""

import math
import re
import unicodedata
from collections.abc import Sequence

from pydisp.report.picture import Picture
from pydisp.report.prose import cell, cell_words, escaped, name
from pydisp.report.table import Table
from pydisp.report.words import Cell, cell_text, numeric_columns

FRAME = 26  # pixels around a picture: 12 of padding and 1 of border to each side (style.py)
_FONT, _BETWEEN = 14, 20  # pixels: of the letters, and around the contents of a cell (style.py)
# Widths of letters of DejaVu Sans, one of the widest fonts, in sizes of the font, and how much wider those of heads are, which are bold.
_NARROW, _USUAL, _CAPITAL, _BROAD, _FULL, _BOLD = 0.41, 0.64, 0.77, 0.96, 1.05, 1.12
_NARROW_LETTERS, _BROAD_LETTERS = frozenset("iljftrI.,:;'|()[]!/ -\u00a0"), frozenset("mwMW@%&÷→←+−=<>≤≥×±")
# A column of sentences is at least so wide, in pixels; of sentences with so many letters, the second.
_SENTENCE, _LONG_SENTENCE, _LONG = 110, 190, 90
_STEP = 10  # pixels; fewer widths make fewer rules
_WIDEST_NAME = 130  # pixels of a first column that stays in place while the others scroll
_DEFAULT_PICTURE = 640  # pixels of a picture that does not say its width
_UNITS = {"pt": 4 / 3, "px": 1.0, "": 1.0, "in": 96.0}


def picture_box(picture: Picture, prefix: str) -> str:
    """A figure with its caption; `prefix` makes the ids of the picture unique on the page."""
    width = picture_width(picture.svg)
    content = f'<div class="picture" style="width:{width}px">{_inline_svg(picture, prefix)}</div>'
    return f"<figure>{_box(picture.title, content, width + FRAME)}<figcaption>{cell(picture.caption)}</figcaption></figure>"


def table_box(table: Table) -> str:
    """A table; a first column of short names stays in place while the others scroll."""
    kinds = [' class="number"' if right else "" for right in numeric_columns(table.columns, table.rows)]
    head = "".join(f'<th scope="col"{kind}>{_head(column)}</th>' for column, kind in zip(table.columns, kinds, strict=True))
    body = "".join(f"<tr>{''.join(_cell(i, value, kinds[i]) for i, value in enumerate(row))}</tr>\n" for row in table.rows)
    widths = column_widths(table)
    named = ' class="named"' if widths[0] <= _WIDEST_NAME < sum(widths) / 2 else ""
    content = f"<table{named}><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"
    return f'<div class="table">{_box(table.title, content, -(-sum(widths) // _STEP) * _STEP)}</div>'


def box_style(body: str) -> str:
    """The rules for the widths of all boxes in a page's body."""
    widths = sorted({int(width) for width in re.findall(r'<div class="box w(\d+)">', body)})
    return "".join(
        f".w{width} table {{ min-width: max(100%, {width}px); }} "
        f"@container (max-width: {width - 0.02}px) {{ .w{width} > .hint {{ display: block; }} .w{width} .named th:first-child {{ {_STICKS} }} }}\n"
        for width in widths
    )


_STICKS = "position: sticky; left: 0; background: var(--paper);"


def picture_width(svg: str) -> int:
    """Pixels at which the letters of a picture have the size that its author gave them."""
    opening = re.search(r"<svg\b[^>]*>", svg)[0]
    stated = re.search(r"\swidth=[\"']\s*([\d.]+)\s*(pt|px|in|)\s*[\"']", opening)
    return max(1, math.ceil(float(stated[1]) * _UNITS[stated[2]])) if stated else _DEFAULT_PICTURE


def column_widths(table: Table) -> list[int]:
    """Pixels that each column needs at least, padding included, for words in one piece and sentences of some words a line."""
    numeric = numeric_columns(table.columns, table.rows)
    return [_column_width(table.columns[i], [row[i] for row in table.rows], numeric[i]) for i in range(len(table.columns))]


def _column_width(head: str, values: Sequence[Cell], is_number: bool) -> int:
    texts = [cell_text(value) for value in values]
    widths = [_BOLD * _pixels(word) for word in cell_words(head.replace("_", "_ "))]
    if is_number:
        widths += map(_pixels, texts)
    else:
        longest = max(texts, key=len, default="")
        widths += [_pixels(word) for text in texts for word in cell_words(text)]
        widths.append(min(_pixels(longest), _LONG_SENTENCE if len(longest) > _LONG else _SENTENCE))
    return math.ceil(max(widths, default=0) + _BETWEEN)


def _pixels(word: str) -> float:
    return _FONT * sum(map(_size, word))


def _size(letter: str) -> float:
    if letter in _NARROW_LETTERS:
        return _NARROW
    if letter in _BROAD_LETTERS:
        return _BROAD
    if unicodedata.east_asian_width(letter) in "WF":
        return _FULL
    return _CAPITAL if letter.isupper() or not letter.isascii() else _USUAL


def _inline_svg(picture: Picture, prefix: str) -> str:
    """Only the <svg> element, with a name for screen readers. A prefix makes its ids unique, because every picture has a `figure_1`."""
    svg = picture.svg[re.search(r"<svg[\s>]", picture.svg).start() :].rstrip()
    svg = re.sub(r'(\sid="|href="#|url\(#)', rf"\1{prefix}", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escaped(picture.title)}: {escaped(picture.caption)}"', 1)


def _box(title: str, content: str, width: int) -> str:
    """The contents, which scroll by the keyboard too; screen readers are told of no hint, for they see all of it."""
    hint = '<p class="hint" aria-hidden="true">scroll sideways for more →</p>'
    return f'<div class="box w{width}">{hint}<div class="scroll" role="region" aria-label="{escaped(title)}" tabindex="0">{content}</div></div>'


def _head(column: str) -> str:
    return name(column) if "_" in column else cell(column)


def _cell(index: int, value: Cell, kind: str) -> str:
    text = cell(cell_text(value))
    return f'<th scope="row"{kind}>{text}</th>' if index == 0 else f"<td{kind}>{text}</td>"
