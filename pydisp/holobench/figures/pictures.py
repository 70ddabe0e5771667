"""Pictures of results as SVG text: a map of two breakdowns, points with intervals by group, and curves over lengths or placements.

    svg = heat_map(["512", "1,024"], ["25 %", "50 %"], values, "F1, %")
    svg = points(["count", "join"], [Series("F1", values, intervals)], "%")
    svg = curves(["512", "1,024"], [Series("F1", values, intervals)], "%", "tokens")

Values are per cent, NaN where there is none. The functions take plain data; `pydisp.report.drawing` decides how pictures look.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pydisp.report.drawing import BLUE, EMPTY, INK, SERIES, SOFT, WIDTH_INCHES, drawing, new_figure, quiet, shortened, svg

_MARKS = ("o", "s", "^", "D")
_PALEST, _DARKEST = 0.06, 0.6  # of blue over the ground of the page: letters on it stay readable in light and dark mode
_CELL_WIDTH, _CELL_HEIGHT = 0.95, 0.46  # inches


@dataclass(frozen=True)
class Series:
    """One figure of each group.

    Args:
        name: in the legend. values: NaN for none. intervals: None for none. levels: what guessing has in each group, if that is known.
    """

    name: str
    values: Sequence[float]
    intervals: Sequence[tuple[float, float] | None]
    levels: Sequence[float] | None = None


def heat_map(columns: Sequence[str], rows: Sequence[str], values: np.ndarray, counts: np.ndarray, x_label: str, y_label: str) -> str:
    """A cell for each pair, the darker the higher, with its figure and below it the number of items.

    Args:
        values: (rows, columns) per cent, NaN for an empty cell; the first row is at the bottom. counts: (rows, columns).
    """
    with drawing():
        width = min(WIDTH_INCHES, 1.3 + _CELL_WIDTH * len(columns))
        figure = new_figure(width, 0.75 + _CELL_HEIGHT * len(rows))
        axes = figure.subplots()
        for (row, column), value in np.ndenumerate(np.asarray(values, dtype=np.float64)):
            is_empty = np.isnan(value)
            shade = EMPTY if is_empty else BLUE
            alpha = 1.0 if is_empty else _PALEST + (_DARKEST - _PALEST) * value / 100
            axes.bar(column, 0.94, 0.96, row - 0.47, color=shade, alpha=alpha, linewidth=0)
            if not is_empty:
                axes.text(column, row + 0.12, f"{value:.0f}", ha="center", va="center", color=INK, fontsize=10)
                axes.text(column, row - 0.26, f"n {counts[row, column]}", ha="center", va="center", color=INK)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(-0.5, len(rows) - 0.5)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return svg(figure)


def points(names: Sequence[str], series: Sequence[Series], x_label: str, *, middle: float | None = None) -> str:
    """A row for each name, the first on top: its values with their intervals, and a short line where guessing is.

    Args:
        middle: where a line is drawn through all rows: 0 for differences, whose axis follows the values; else the axis is 0 to 100.
    """
    names = [shortened(name, 24) for name in names]
    with drawing():
        figure = new_figure(WIDTH_INCHES, 0.85 + (0.3 + 0.1 * (len(series) - 1)) * len(names))
        axes = figure.subplots()
        places = np.arange(len(names))[::-1].astype(np.float64)
        if middle is not None:
            axes.axvline(middle, color=INK, linewidth=0.8)
        for number, (one, colour, mark) in enumerate(zip(series, SERIES, _MARKS, strict=False)):
            shifted = places + (0.16 * (len(series) - 1) - 0.32 * number if len(series) > 1 else 0)
            for place, value, interval in zip(shifted, one.values, one.intervals, strict=True):
                if interval is not None and not np.isnan(value):
                    axes.plot(interval, [place, place], color=colour, linewidth=3, alpha=0.35, solid_capstyle="butt")
            axes.plot(one.values, shifted, mark, color=colour, markersize=4.5, label=one.name)
            if one.levels is not None:
                axes.plot(one.levels, shifted, "|", color=SOFT, markersize=9, markeredgewidth=1.3, label=f"{one.name}: chance")
        axes.set_yticks(places, names)
        axes.set_ylim(-0.6, len(names) - 0.4)
        if middle is None:
            axes.set_xlim(-2, 102)
        axes.set_xlabel(x_label)
        _add_legend(axes, series)
        quiet(axes, "x")
        return svg(figure)


def curves(names: Sequence[str], series: Sequence[Series], y_label: str, x_label: str, *, joined: Sequence[int] | None = None) -> str:
    """Values with intervals from left to right, and a dashed line at the chance of each that has one.

    Args:
        joined: the places that a line joins; by default all.
    """
    joined = list(range(len(names))) if joined is None else list(joined)
    with drawing():
        figure = new_figure(WIDTH_INCHES, 2.9)
        axes = figure.subplots()
        places = np.arange(len(names), dtype=np.float64)
        for number, (one, colour, mark) in enumerate(zip(series, SERIES, _MARKS, strict=False)):
            shifted = places + 0.09 * (number - (len(series) - 1) / 2)
            values = np.array(one.values, dtype=np.float64)
            axes.plot(shifted[joined], values[joined], color=colour, linewidth=1.5)
            axes.plot(shifted, values, mark, color=colour, markersize=5, label=one.name)
            for place, value, interval in zip(shifted, values, one.intervals, strict=True):
                if interval is not None and not np.isnan(value):
                    axes.plot([place, place], interval, color=colour, linewidth=3, alpha=0.35, solid_capstyle="butt")
            if one.levels is not None:
                axes.plot(shifted, one.levels, color=SOFT, linewidth=1.2, linestyle=(0, (4, 3)), label=f"{one.name}: chance")
        axes.set_xticks(places, names)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(-2, 102)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        _add_legend(axes, series)
        quiet(axes)
        return svg(figure)


def _add_legend(axes, series: Sequence[Series]) -> None:
    if len(series) > 1 or any(one.levels is not None for one in series):
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), labelspacing=0.9)
