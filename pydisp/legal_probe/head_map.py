"""Head maps as SVG text: a small map of layers and heads for each concept, all in one scale of colours.

    svg = head_maps([HeadMap("role", layers, heads, values, found)], share_scale, "share of the attention, %")

The colours are the same in light and dark mode, are in steps that a print keeps apart, and are safe for colour-blind readers: one hue for
shares, blue and orange for what has a middle.
"""

# G heads of all layers, N concepts

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pydisp.legal_probe.pictures import round_numbers
from pydisp.report.drawing import BLACK, EMPTY, SOFT, WHITE, WIDTH_INCHES, drawing, letters_on, new_figure, shortened, svg, svg_on_white

MOST_CELLS, MOST_CELLS_OF_A_PICTURE = 4_000, 12_000  # about 70 bytes each
_HUE = ("#f3f6fa", "#c6dbef", "#85bcdb", "#3d8ec4", "#125ca4", "#08306b")
_TWO_HUES = ("#0b3f75", "#3f83b5", "#a3c8e0", "#f3f1ed", "#f2bb88", "#cf6f1e", "#7f3300")
_SHARE_OF_ALL = 98  # per cent of the values that the scale spans, if the rest would stretch it
_MIDDLE_STEPS = 13  # odd: one colour is the middle
_LEFT, _RIGHT, _GAP, _LETTER = 0.62, 0.12, 0.3, 0.155  # inches


@dataclass(frozen=True, eq=False)
class HeadMap:
    """Values of the heads of one concept.

    Args:
        layers, heads: (G,) int, the place of each value. values: (G,), NaN for none. found: (G,) bool, heads that get a mark.
    """

    name: str
    layers: np.ndarray
    heads: np.ndarray
    values: np.ndarray
    found: np.ndarray


@dataclass(frozen=True, eq=False)
class Scale:
    """Steps of colours.

    Args:
        edges: (S + 1,) of the steps, in the values' unit or its log2; what is beyond has the colour of the outermost step.
        colours: (S,). ticks: place and word. label: what the values are.
        is_log: whether the edges are log2 of the values.
    """

    edges: np.ndarray
    colours: tuple[str, ...]
    ticks: tuple[tuple[float, str], ...]
    label: str
    is_log: bool = False

    def steps_of(self, values: np.ndarray) -> np.ndarray:
        """The number of the step of each value; -1 for NaN."""
        values = np.asarray(values, dtype=np.float64)
        if self.is_log:
            with np.errstate(divide="ignore", invalid="ignore"):
                values = np.log2(values)
        steps = np.clip(np.searchsorted(self.edges, values, side="right") - 1, 0, len(self.colours) - 1)
        return np.where(np.isnan(values), -1, steps)


def share_scale(values: np.ndarray, label: str) -> Scale:
    """From 0 upward, in one hue."""
    top = _nice(_top(values))
    edges = np.linspace(0, top, 11)
    return Scale(edges, _blended(_HUE, 10), _ticks(edges[::2], values, "{:g}".format), label)


def ratio_scale(values: np.ndarray, label: str) -> Scale:
    """Around 1, in log2, with blue below and orange above."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log2(np.asarray(values, dtype=np.float64))
    top = _top(np.abs(logs))
    reach, step = next(one for one in ((1, 0.5), (2, 1), (3, 1), (4, 1)) if top <= one[0] or one[0] == 4)
    edges = np.linspace(-reach, reach, _MIDDLE_STEPS + 1)
    ticks = _ticks(np.arange(-reach, reach + step / 2, step), logs, _power_of_two)
    return Scale(edges, _blended(_TWO_HUES, _MIDDLE_STEPS), ticks, label, is_log=True)


def difference_scale(values: np.ndarray, label: str) -> Scale:
    """Symmetric around 0, with blue below and orange above."""
    reach = _nice(_top(np.abs(values)))
    edges = np.linspace(-reach, reach, _MIDDLE_STEPS + 1)
    return Scale(
        edges,
        _blended(_TWO_HUES, _MIDDLE_STEPS),
        _ticks(np.linspace(-reach, reach, 5), values, lambda place: f"{place:+.3g}" if place else "0"),
        label,
    )


def percentile_scale(values: np.ndarray, label: str) -> Scale:
    """Per cent around 50, with blue below and orange above."""
    reach = min(50.0, _nice(_top(np.abs(np.asarray(values) - 50))))
    edges = np.linspace(50 - reach, 50 + reach, _MIDDLE_STEPS + 1)
    return Scale(edges, _blended(_TWO_HUES, _MIDDLE_STEPS), _ticks(np.linspace(50 - reach, 50 + reach, 5), values, "{:g}".format), label)


def fits(maps: Sequence[HeadMap]) -> bool:
    """Whether the picture of these maps stays small enough to draw each head."""
    sizes = [len(one.values) for one in maps]
    return max(sizes) <= MOST_CELLS and sum(sizes) <= MOST_CELLS_OF_A_PICTURE


def head_maps(maps: Sequence[HeadMap], scale_of: Callable[[np.ndarray, str], Scale], label: str, *, on_white: bool = False) -> str:
    """A map for each concept: heads from left to right, layers from the bottom up, heads found with a mark, heads without a figure crossed out.

    Too many heads (`fits`) make one map of layers and concepts, of the mean over the heads.

    Args:
        scale_of: `share_scale`, `ratio_scale`, `difference_scale` or `percentile_scale`. label: what the values are.
        on_white: for a file with a white ground instead of a page with a light and a dark mode.
    """
    draw = _grid
    if not fits(maps):
        maps, draw = [_layer_means(one) for one in maps], _means
    scale = scale_of(np.concatenate([one.values for one in maps]), label)
    with drawing(on_white=on_white):
        return _small((svg_on_white if on_white else svg)(draw(maps, scale)))


def _layer_means(one: HeadMap) -> HeadMap:
    layers = np.unique(one.layers)
    inside = [one.values[(one.layers == layer) & np.isfinite(one.values)] for layer in layers]
    values = np.array([part.mean() if len(part) else np.nan for part in inside])
    return HeadMap(one.name, layers, np.zeros(len(layers), dtype=np.int64), values, np.zeros(len(layers), dtype=bool))


def boxes(axes, left, bottom, width, height, colour: str) -> None:
    """Rectangles of one colour as one path; left and bottom are arrays in the units of the axes."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    left, bottom, width, height = np.broadcast_arrays(left, bottom, width, height)
    corners = [(left, bottom), (left + width, bottom), (left + width, bottom + height), (left, bottom + height), (left, bottom)]
    vertices = np.stack([np.stack(corner, -1) for corner in corners], 1).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY], len(left))
    axes.add_patch(PathPatch(Path(vertices, codes), facecolor=colour, edgecolor="none", linewidth=0, antialiased=False))


def draw_scale(figure, scale: Scale, bottom: float, left: float = _LEFT, width: float = 3.0) -> None:
    """The colours with their ticks and label; places in inches."""
    axes = _axes(figure, left, bottom + 0.22, width, 0.13)
    for place, colour in enumerate(scale.colours):
        boxes(axes, np.array([scale.edges[place]]), np.array([0.0]), scale.edges[place + 1] - scale.edges[place], 1.0, colour)
    axes.set_xlim(scale.edges[0], scale.edges[-1])
    axes.set_ylim(0, 1)
    axes.set_xticks([place for place, _ in scale.ticks], [word for _, word in scale.ticks])
    axes.tick_params(length=2, pad=2)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    figure.text(
        (left + width + 0.2) / figure.get_figwidth(), (bottom + 0.285) / figure.get_figheight(), shortened(scale.label, 54, 2),
        color=SOFT, va="center",
    )  # fmt: skip


def _grid(maps: Sequence[HeadMap], scale: Scale):
    heads = max(int(one.heads.max()) for one in maps) + 1
    layers = max(int(one.layers.max()) for one in maps) + 1
    columns = min(len(maps), 4 if heads <= 16 else 3 if heads <= 40 else 2)
    rows = -(-len(maps) // columns)
    room = (WIDTH_INCHES - _LEFT - _RIGHT - _GAP * (columns - 1)) / columns
    width = heads * min(room / heads, 0.32)
    height = layers * min(0.24, max(2.4 / layers, 0.035))
    titles = [shortened(one.name, max(8, int(room / 0.088)), 3) for one in maps]
    title_heights = [
        _LETTER * max(title.count("\n") + 1 for title in titles[row * columns : (row + 1) * columns]) + 0.1 for row in range(rows)
    ]
    foot = 0.46  # head numbers and their name
    total = sum(title_heights) + rows * (height + foot) + 0.46
    figure = _figure(total)
    top = total
    for row in range(rows):
        top -= title_heights[row]
        for column, one in enumerate(maps[row * columns : (row + 1) * columns]):
            left = _LEFT + column * (room + _GAP)
            axes = _axes(figure, left, top - height, width, height)
            _draw_map(axes, one, scale, layers, heads, width / heads, height / layers)
            figure.text(left / WIDTH_INCHES, (top + 0.07) / total, titles[row * columns + column], weight="bold", va="bottom")
            axes.set_xticks(round_numbers(heads, min(8, max(2, int(width / 0.24)))))
            axes.set_xlabel("head", labelpad=1)
            axes.set_yticks(round_numbers(layers, max(2, int(height / 0.17))))
            axes.tick_params(labelleft=column == 0, length=0, pad=2)
            if column == 0:
                axes.set_ylabel("layer")
        top -= height + foot
    draw_scale(figure, scale, 0.02)
    return figure


def _means(maps: Sequence[HeadMap], scale: Scale):
    """One map: a row for each concept, a column for each layer, the mean over its heads."""
    names = [shortened(one.name, 26) for one in maps]
    layers = max(int(one.layers.max()) for one in maps) + 1
    heights = np.array([0.26 + _LETTER * name.count("\n") for name in names])
    left, total = 2.1, heights.sum() + 1.0
    figure = _figure(total)
    axes = _axes(figure, left, 0.9, min(WIDTH_INCHES - left - _RIGHT, 0.3 * layers), heights.sum())
    tops = heights.sum() - np.cumsum(heights)
    for one, bottom, height in zip(maps, tops, heights, strict=True):
        steps = scale.steps_of(one.values)
        for step in np.unique(steps[steps >= 0]):
            chosen = one.layers[steps == step]
            boxes(axes, chosen - 0.5, np.full(len(chosen), bottom + 0.02), 1.0, height - 0.04, scale.colours[step])
    axes.set_xlim(-0.5, layers - 0.5)
    axes.set_ylim(0, heights.sum())
    axes.set_xticks(round_numbers(layers, 14))
    axes.set_xlabel("layer", labelpad=1)
    axes.set_yticks(tops + heights / 2, names)
    axes.tick_params(length=0, pad=3)
    axes.spines[:].set_visible(False)
    draw_scale(figure, scale, 0.02, left)
    return figure


def _draw_map(axes, one: HeadMap, scale: Scale, layers: int, heads: int, cell_width: float, cell_height: float) -> None:
    gap = 0.05 if heads <= 16 and layers <= 16 else 0.0
    steps = scale.steps_of(one.values)
    for step in np.unique(steps):
        chosen = steps == step
        colour = EMPTY if step < 0 else scale.colours[step]
        boxes(axes, one.heads[chosen] - 0.5 + gap / 2, one.layers[chosen] - 0.5 + gap / 2, 1 - gap, 1 - gap, colour)
    for head, layer in zip(one.heads[steps < 0].tolist(), one.layers[steps < 0].tolist(), strict=True):
        axes.plot([head - 0.35, head + 0.35], [layer - 0.35, layer + 0.35], color=SOFT, linewidth=0.7)
    side = min(0.07, 0.45 * min(cell_width, cell_height))  # inches
    wide, high = side / cell_width, side / cell_height
    for ink in (BLACK, WHITE):
        chosen = np.array([bool(f) and s >= 0 and letters_on(scale.colours[s]) == ink for f, s in zip(one.found, steps, strict=True)])
        if chosen.any():
            boxes(axes, one.heads[chosen] - wide / 2, one.layers[chosen] - high / 2, wide, high, ink)
    axes.set_xlim(-0.5, heads - 0.5)
    axes.set_ylim(-0.5, layers - 0.5)
    axes.spines[:].set_visible(False)


def _figure(height: float):
    figure = new_figure(WIDTH_INCHES, height)
    figure.set_layout_engine("none")  # places are in inches here
    return figure


def _axes(figure, left: float, bottom: float, width: float, height: float):
    total = figure.get_figheight()
    return figure.add_axes((left / WIDTH_INCHES, bottom / total, width / WIDTH_INCHES, height / total))


def _top(values: np.ndarray) -> float:
    """The largest value, or where a few are far above the others, the value that few exceed."""
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0
    usual = float(np.percentile(values, _SHARE_OF_ALL))
    return usual if 0 < 1.5 * usual < values.max() else float(values.max())


def _nice(top: float) -> float:
    """A round number at or a little above; 1 for 0."""
    if top <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(top))
    return next(step * unit for step in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10) if step * unit >= top * (1 - 1e-9))


def _ticks(places: np.ndarray, values: np.ndarray, word: Callable[[float], str]) -> tuple[tuple[float, str], ...]:
    """Places on the scale with their words, which say at the ends if there are values beyond."""
    values = np.asarray(values, dtype=np.float64)
    places = np.round(places, 9)
    words = [word(place) for place in places.tolist()]
    if (values > places[-1] + 1e-9).any():
        words[-1] = f"≥ {words[-1]}"
    if (values < places[0] - 1e-9).any():
        words[0] = f"≤ {words[0]}"
    return tuple(zip(places.tolist(), words, strict=True))


def _power_of_two(exponent: float) -> str:
    return f"1/{2**-exponent:g}" if exponent < 0 and exponent == int(exponent) else f"{2**exponent:.2g}"


def _blended(anchors: Sequence[str], count: int) -> tuple[str, ...]:
    """Colours in even steps from the first anchor to the last."""
    rgb = np.array([[int(one[place : place + 2], 16) for place in (1, 3, 5)] for one in anchors], dtype=np.float64)
    at = np.linspace(0, len(anchors) - 1, count)
    mixed = np.stack([np.interp(at, np.arange(len(anchors)), rgb[:, channel]) for channel in range(3)], 1)
    return tuple("#" + "".join(f"{int(round(value)):02x}" for value in row) for row in mixed)


def _small(text: str) -> str:
    """The SVG with two decimals in its paths: maps have thousands of corners."""
    return re.sub(r'(?<= d=")[^"]*', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
