"""The look of pictures: colours that follow the reader's mode, bytes that repeat, and nothing left changed in matplotlib."""

import subprocess
import sys
from xml.etree import ElementTree

import pytest

from pydisp.report import Picture
from pydisp.report.drawing import BLUE, INK, LINE, SERIES, SOFT, drawing, inches, letters_on, new_figure, quiet, svg, svg_on_white


def bars(write=svg, colour=BLUE, **settings) -> str:
    """A bar and a line that is in no mode's colours."""
    with drawing(**settings):
        figure = new_figure(3, 2)
        axes = figure.subplots()
        axes.bar(["a <b>"], [1.5], color=colour)
        axes.axhline(1, color="#123456")
        quiet(axes)
        return write(figure)


def test_a_picture_stands_alone_and_repeats_byte_for_byte():
    text = bars()
    assert text == bars() and text.startswith("<svg ") and "<metadata" not in text
    Picture("bars", "A bar.", text)
    assert "a <b>" in {"".join(e.itertext()).strip() for e in ElementTree.fromstring(text).iter() if e.tag.endswith("text")}


@pytest.mark.parametrize("colour", [*SERIES, INK])
def test_its_colours_follow_the_mode_and_others_stay(colour):
    text = bars(colour=colour)
    style = text[text.index("<style>") : text.index("</style>")]
    light, dark = style.split("@media screen and (prefers-color-scheme: dark)")
    values = [dict(pair.strip(" {}").removeprefix("svg {").strip().split(": ") for pair in part.split(";")) for part in (light[7:], dark)]
    (name,) = (name for name, value in values[0].items() if value == colour)
    assert values[0].keys() == values[1].keys() and values[0][name] != values[1][name]
    drawn = text.replace(style, "")
    assert f"var({name})" in drawn and colour not in drawn and "#123456" in drawn
    assert {used for used in values[0] if f"var({used})" not in drawn} == set()  # only what is drawn is declared


def test_on_white_the_colours_are_plain_and_the_ground_is_there():
    text = bars(svg_on_white, on_white=True)
    assert BLUE in text and "var(--" not in text and "prefers-color-scheme" not in text and "fill: #ffffff" in text
    assert text.endswith("</svg>\n") and not any(line != line.rstrip() for line in text.splitlines())
    assert SOFT not in text and "fill: #ffffff" not in bars()


def test_the_width_of_a_line_is_that_of_its_letters():
    with drawing():
        assert inches("iii") < inches("mmm") == pytest.approx(3 * 9 * 0.974 / 72, rel=0.01)


def test_quiet_axes_have_a_grid_for_ticks():
    with drawing():
        for grid, hidden in (("x", {"bottom"}), ("y", {"left"}), ("both", {"bottom", "left"})):
            axes = new_figure(2, 2).subplots()
            quiet(axes, grid)
            assert {side for side in ("left", "bottom") if not axes.spines[side].get_visible()} == hidden
            lines = {"x": axes.get_xgridlines(), "y": axes.get_ygridlines()}
            assert {side for side in "xy" if lines[side][0].get_visible()} == set("xy" if grid == "both" else grid)
            assert lines["x"][0].get_color() == LINE


def test_importing_it_needs_no_matplotlib_and_drawing_leaves_its_state_alone():
    code = """
import sys
from pydisp.report.drawing import drawing, new_figure, svg
assert "matplotlib" not in sys.modules and "torch" not in sys.modules
import matplotlib
before = matplotlib.rcParams.copy()
with drawing():
    first = svg(new_figure(1, 1))
assert before == matplotlib.rcParams.copy() and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_letters_can_be_read_on_every_colour():
    def luminance(colour):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for red in range(0, 256, 15):
        for green in range(0, 256, 15):
            for blue in (0, 90, 255):
                colour = f"#{red:02x}{green:02x}{blue:02x}"
                low, high = sorted((luminance(colour), luminance(letters_on(colour))))
                assert (high + 0.05) / (low + 0.05) >= 4.5, colour
