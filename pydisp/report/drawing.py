"""Drawing: the common look of pydisp's pictures: colours, letters, and the conversion of a matplotlib figure into the text of an SVG file.

    with drawing():
        figure = new_figure(WIDTH_INCHES, 3)
        axes = figure.subplots()
        axes.plot(steps, losses, color=BLUE)
        quiet(axes)
        picture = Picture("Search", "Loss over the steps.", svg(figure))

Draw only in the colours named here: `svg` turns each into a CSS variable with a light and a dark value, so that a picture follows the
reader's mode; any other colour is the same in both modes. matplotlib is imported only when something is drawn, and its global state is not
changed. With one version of matplotlib, the same data gives the same bytes.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colours of Okabe and Ito, which colour-blind readers can tell apart. Take SERIES in its order, and give lines marks or dashes too.
BLUE, ORANGE, GREEN, SKY, YELLOW, PINK = SERIES = ("#0072b2", "#d55e00", "#009e73", "#56b4e9", "#e69f00", "#cc79a7")
INK, SOFT, LINE, EMPTY = "#24292e", "#5f6771", "#d9dde2", "#f1f3f5"  # words and axes, lesser words, grids, the ground of absent parts
BLACK, WHITE = "#030303", "#ffffff"  # of letters on a colour, in both modes; matplotlib does not write full black down
WIDTH_INCHES = 7.6  # width of a picture that fills the column of the page

_MODES = {
    INK: ("ink", "#e4e8ee"),
    SOFT: ("soft", "#9aa5b4"),
    LINE: ("line", "#343b46"),
    EMPTY: ("empty", "#242a33"),
    BLUE: ("blue", "#3f9fe0"),
    ORANGE: ("orange", "#f0833a"),
    GREEN: ("green", "#2fc79b"),
    SKY: ("sky", "#8ccdf2"),
    YELLOW: ("yellow", "#f0b840"),
    PINK: ("pink", "#de9dc2"),
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pydisp",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the layout does not depend on the machine
    "font.size": 9,  # points: 12 pixels, the least that is read with ease; nothing in a picture is smaller
    "figure.labelsize": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
}
_PAGE_STYLE = {
    "text.parse_math": False,  # a dollar sign in a name is one
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": LINE,
    "axes.titlepad": 9,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
}


@contextmanager
def drawing(*, on_white: bool = False) -> Iterator[None]:
    """Set matplotlib's settings while a picture is drawn and turned into SVG; `on_white`: black ink, for `svg_on_white`."""
    import matplotlib.style

    with matplotlib.style.context(["default", _STYLE if on_white else {**_STYLE, **_PAGE_STYLE}]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the reader's font has it
        yield


def new_figure(width_inches: float, height_inches: float) -> "Figure":
    """An empty figure whose parts make room for each other."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inches, height_inches), layout="constrained")


def quiet(axes: "Axes", grid: str = "y") -> None:
    """Draw grid lines of the axis `grid` ("x", "y" or "both") instead of its ticks and spine."""
    axes.grid(axis=grid)
    axes.tick_params(length=0)
    axes.spines[{"x": ["bottom"], "y": ["left"], "both": ["bottom", "left"]}[grid]].set_visible(False)


def shortened(name: str, letters: int, lines: int = 3) -> str:
    """A name on a few lines of at most so many letters; of a longer one the middle is left out."""
    wrapped = textwrap.wrap(name, letters) or [name]
    kept = min(len(name), letters * lines)
    while len(wrapped) > lines:
        kept -= 1
        wrapped = textwrap.wrap(f"{name[: kept // 2].rstrip()} … {name[len(name) - kept // 2 :].lstrip()}", letters)
    return "\n".join(wrapped)


def inches(text: str) -> float:
    """The width of a line of plain letters; within `drawing`."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    return text_to_path.get_text_width_height_descent(text, FontProperties(size=_STYLE["font.size"]), ismath=False)[0] / 72


def letters_on(colour: str) -> str:
    """BLACK or WHITE, whichever is easier to read on a colour such as `#125ca4`; the contrast is 4.5 or more on any."""
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in (red, green, blue)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return BLACK if luminance > 0.181 else WHITE  # where both contrasts, (luminance + 0.05) / 0.051 and 1.05 / (luminance + 0.05), are 4.5


def svg(figure: "Figure") -> str:
    """The figure as SVG text for a `Picture`: transparent ground, the reader's sans-serif font, colours for light and dark mode."""
    text = _saved(figure, transparent=True)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif", text)
    for colour, (name, _) in _MODES.items():
        text = text.replace(colour, f"var(--pydisp-{name})")
    used = {colour: mode for colour, mode in _MODES.items() if f"var(--pydisp-{mode[0]})" in text}
    light = "; ".join(f"--pydisp-{name}: {colour}" for colour, (name, _) in used.items())
    dark = "; ".join(f"--pydisp-{name}: {colour}" for name, colour in used.values())
    style = f"<style>svg {{ {light} }} @media screen and (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}</style>"
    return re.sub(r"(<svg[^>]*>)", rf"\1\n {style}", text, count=1)


def svg_on_white(figure: "Figure") -> str:
    """The figure as the text of an SVG file with a white ground, for pages without light and dark mode (Markdown in a repository)."""
    return "\n".join(line.rstrip() for line in _saved(figure, facecolor="white").splitlines()) + "\n"


def _saved(figure: "Figure", **ground) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, **ground)
    whole = text.getvalue()
    return re.sub(r"<metadata>.*?</metadata>\s*", "", whole[whole.index("<svg") :], flags=re.S)
