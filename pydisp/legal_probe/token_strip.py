"""Token strips as SVG text: a passage token by token, each in the colour of the attention that it received.

    svg = token_strip([Token("The", 0.4), Token(" bank", 2.1, is_marked=True), Token(".", None)])

Letters are text, in the reader's font: a letter that matplotlib's font lacks is drawn by the reader's.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pydisp.legal_probe.head_map import Scale, boxes, draw_scale, ratio_scale
from pydisp.report.drawing import EMPTY, INK, SOFT, WIDTH_INCHES, drawing, letters_on, new_figure, svg

MOST_TOKENS = 120
_POINTS = 72.0  # an inch
_SIZE, _LINE, _BOX = 9.0, 20.0, 13.0  # points: of the letters, from line to line, height of a box
_PAD, _SPACE, _NARROWEST = 1.6, 3.0, 5.0
_MOST_LETTERS = 40  # of one token


@dataclass(frozen=True)
class Token:
    """A token: its text, what it received (None: it does not count), and whether it is of the concept's span."""

    text: str
    value: float | None
    is_marked: bool = False


def token_strip(tokens: Sequence[Token], label: str, *, is_cut: tuple[bool, bool] = (False, False)) -> str:
    """Tokens as coloured boxes on lines; those of the span are underlined, those that do not count are grey and struck through.

    Args:
        label: what the colours say. is_cut: whether there are tokens before the first and behind the last, which an ellipsis shows.
    """
    values = np.array([np.nan if one.value is None else one.value for one in tokens], dtype=np.float64)
    scale = ratio_scale(values, label)
    steps = scale.steps_of(values)
    words = [visible(one.text) for one in tokens]
    places, lines = _placed(words, [_begins_word(one.text) for one in tokens], is_cut[0])
    strip = lines * _LINE
    total = strip + 60
    with drawing():
        figure = new_figure(WIDTH_INCHES, total / _POINTS)
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, WIDTH_INCHES * _POINTS)
        axes.set_ylim(0, total)
        axes.axis("off")
        for token, word, (line, left, width), step in zip(tokens, words, places, steps, strict=True):
            bottom = total - (line + 1) * _LINE + 5
            _draw_token(axes, word, left, bottom, width, None if step < 0 else scale.colours[step], token.is_marked)
        if is_cut[0]:
            axes.text(2, total - _LINE + 5 + _BOX / 2, "…", fontsize=_SIZE, color=SOFT, va="center_baseline")
        if is_cut[1]:
            line, left, width = places[-1]
            axes.text(left + width + 4, total - (line + 1) * _LINE + 5 + _BOX / 2, "…", fontsize=_SIZE, color=SOFT, va="center_baseline")
        _draw_legend(axes, figure, scale)
        return svg(figure)


def visible(text: str) -> str:
    """A token's text as a line can show it: without the space around it; signs without a shape by their names."""
    text = text.strip(" ")
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    return f"{shown[:_MOST_LETTERS]}…" if len(shown) > _MOST_LETTERS else shown or "·"


def _begins_word(text: str) -> bool:
    return text[:1].isspace()


def _placed(words: Sequence[str], begins: Sequence[bool], is_cut: bool) -> tuple[list[tuple[int, float, float]], int]:
    """Line, left and width of each box in points, and the number of lines. Pieces of one word stay side by side where a line holds them."""
    right = WIDTH_INCHES * _POINTS - 16
    line, left, places = 0, 12.0 if is_cut else 2.0, []
    widths = [max(_NARROWEST, _width(word)) + 2 * _PAD for word in words]
    for number, width in enumerate(widths):
        end = number + 1
        while end < len(words) and not begins[end] and end - number < 8:
            end += 1
        whole = sum(widths[number:end]) + 0.7 * (end - number - 1)
        gap = 0.0 if not places else _SPACE if begins[number] else 0.7
        wanted = whole if begins[number] and whole < right / 2 else width
        if places and left + gap + wanted > right:
            line, left, gap = line + 1, 2.0, 0.0
        places.append((line, left + gap, width))
        left += gap + width
    return places, line + 1


def _draw_token(axes, word: str, left: float, bottom: float, width: float, colour: str | None, is_marked: bool) -> None:
    boxes(axes, np.array([left]), np.array([bottom]), width, _BOX, EMPTY if colour is None else colour)
    axes.text(
        left + width / 2, bottom + _BOX / 2 + 0.3, word, fontsize=_SIZE, color=SOFT if colour is None else letters_on(colour),
        ha="center", va="center_baseline",
    )  # fmt: skip
    if colour is None:
        axes.plot([left + 1, left + width - 1], [bottom + _BOX / 2] * 2, color=SOFT, linewidth=0.7)
    if is_marked:
        axes.plot([left, left + width], [bottom - 2.2] * 2, color=INK, linewidth=1.8, solid_capstyle="butt")


def _draw_legend(axes, figure, scale: Scale) -> None:
    draw_scale(figure, scale, 1 / _POINTS, 0.3, 2.2)
    _draw_token(axes, "word", 10, 41, 24, scale.colours[len(scale.colours) // 2], True)
    axes.text(38, 47, "of the concept", fontsize=_SIZE, color=SOFT, va="center_baseline")
    _draw_token(axes, "word", 120, 41, 24, None, False)
    axes.text(148, 47, "does not count", fontsize=_SIZE, color=SOFT, va="center_baseline")


def _width(text: str) -> float:
    """Points that a text takes at most."""
    return sum(_advance(one) for one in text) * _SIZE


@lru_cache(maxsize=4096)
def _advance(letter: str) -> float:
    """The width of a letter in sizes of the font: DejaVu Sans, which is wider than most; of one that it lacks an estimate."""
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.textpath import text_to_path

    if unicodedata.combining(letter):
        return 0.0
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.05
    family = FontProperties(family="DejaVu Sans", size=100)
    if not get_font(findfont(family)).get_char_index(ord(letter)):
        return 1.0
    return text_to_path.get_text_width_height_descent(letter, family, ismath=False)[0] / 100
