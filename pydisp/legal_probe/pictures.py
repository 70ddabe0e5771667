"""Pictures of a probe as SVG text: the enrichment of each concept beside that of null spans, and curves over the layers.

    svg = points([Point("role", Estimate(1.41, (0.93, 1.97)), 1.37)])

The functions take plain data and return text; `pydisp.report.drawing` decides how pictures look. Maps of heads are in `head_map`, words in
`token_strip`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pydisp.intervals import Estimate
from pydisp.report.drawing import BLUE, INK, ORANGE, SERIES, SOFT, WIDTH_INCHES, drawing, new_figure, quiet, shortened, svg

LINES = 4  # most in a picture of curves
_MARKS = ("o", "s", "^", "D")
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
_OPEN = {"marker": "D", "linestyle": "", "markerfacecolor": "none", "markeredgecolor": ORANGE, "markeredgewidth": 1.3, "markersize": 7.5}
_LOG_FROM = 4  # a larger range of values gets a logarithmic axis
_MOST_REACH = 4  # of a logarithmic axis beyond the values, for intervals
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


@dataclass(frozen=True)
class Point:
    """A concept's enrichment, the enrichment of null spans, and the concept's percentile among these, if there are any."""

    name: str
    enrichment: Estimate
    chance: float | None = None
    percentile: Estimate | None = None


@dataclass(frozen=True)
class LayerCurve:
    """A value for each of some layers; an interval may be None, a value NaN."""

    name: str
    layers: Sequence[int]
    values: Sequence[float]
    intervals: Sequence[tuple[float, float] | None]


def round_numbers(count: int, most: int) -> list[int]:
    """Numbers from 0, at most about so many, a round step apart."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9) if count <= step * most)
    return list(range(0, count, step))


def points(rows: Sequence[Point]) -> str:
    """A row for each concept, the first on top: its enrichment beside that of null spans, and its percentile among these, with intervals."""
    names = [shortened(one.name, 26) for one in rows]
    heights = np.array([0.32 + 0.15 * name.count("\n") for name in names])
    places = heights.sum() - np.cumsum(heights) + heights / 2
    has_percentiles = any(one.percentile is not None for one in rows)
    with drawing():
        figure = new_figure(WIDTH_INCHES, 0.95 + heights.sum())
        panels = figure.subplots(
            1, 2 if has_percentiles else 1, sharey=True, squeeze=False, width_ratios=(1.5, 1) if has_percentiles else None
        )[0]
        _draw_enrichments(panels[0], rows, places)
        if has_percentiles:
            _draw_percentiles(panels[1], rows, places)
        (dot,) = panels[0].plot([], [], "o", color=BLUE, markersize=4.5)
        (bar,) = panels[0].plot([], [], color=BLUE, linewidth=3, alpha=0.35)
        (open_mark,) = panels[0].plot([], [], **_OPEN)
        figure.legend([dot, bar, open_mark], ["the concept", "95 % interval", "null spans"], loc="outside upper right", ncols=3)
        panels[0].set_yticks(places, names)
        panels[0].set_ylim(0, heights.sum())
        return svg(figure)


def _draw_enrichments(axes, rows: Sequence[Point], places: np.ndarray) -> None:
    values = [value for one in rows for value in (one.enrichment.value, one.chance) if value is not None and np.isfinite(value)]
    ends = [end for one in rows for end in one.enrichment.interval or ()]
    is_log = has_log_axis([*values, *ends], values)
    reach = [end for end in [*values, *ends, 1.0] if not is_log or end > 0]
    low, high = _around(min(reach), max(reach), values, is_log)
    axes.axvline(1, color=INK, linewidth=0.8)
    for one, place in zip(rows, places, strict=True):
        if one.chance is not None:
            axes.plot(one.chance, place, **_OPEN)
        _draw_point(axes, one.enrichment, place, 1, (low, high))
    axes.set_xlabel("enrichment, 1: even attention")
    quiet(axes, "x")
    _set_axis(axes.xaxis, low, high, is_log)


def _draw_percentiles(axes, rows: Sequence[Point], places: np.ndarray) -> None:
    ends = [100 * end for one in rows if one.percentile is not None for end in (one.percentile.value, *(one.percentile.interval or ()))]
    reach = 1.1 * max([10.0, *(abs(end - 50) for end in ends if np.isfinite(end))])
    axes.axvline(50, color=INK, linewidth=0.8)
    for one, place in zip(rows, places, strict=True):
        if one.percentile is not None:
            _draw_point(axes, one.percentile, place, 100, (50 - reach, 50 + reach))
    axes.set_xlabel("percentile, %")
    axes.set_xlim(50 - reach, 50 + reach)
    quiet(axes, "x")
    axes.spines["left"].set_visible(False)


def _draw_point(axes, estimate: Estimate, place: float, factor: float, limits: tuple[float, float]) -> None:
    if estimate.interval is not None:
        ends = np.clip(factor * np.array(estimate.interval), *limits)
        axes.plot(ends, [place, place], color=BLUE, linewidth=3, alpha=0.35, solid_capstyle="butt")
    axes.plot(factor * estimate.value, place, "o", color=BLUE, markersize=4.5)


def layer_curves(curves: Sequence[LayerCurve], y_label: str, *, level: float) -> str:
    """Curves over the layers with bands, at most four to a panel.

    Args:
        level: where a line is drawn: 1 for an enrichment, whose axis may be logarithmic; 0 for a difference.
    """
    panels = [curves[start : start + LINES] for start in range(0, len(curves), LINES)]
    values = [value for one in curves for value in one.values if np.isfinite(value)]
    ends = [end for one in curves for interval in one.intervals if interval is not None for end in interval]
    is_log = level > 0 and has_log_axis([*values, *ends], values)
    with drawing():
        figure = new_figure(WIDTH_INCHES, 0.35 + 1.9 * len(panels))
        column = figure.subplots(len(panels), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
        for axes, panel in zip(column, panels, strict=True):
            axes.axhline(level, color=INK, linewidth=0.8)
            for curve, colour, mark, dash in zip(panel, SERIES, _MARKS, _DASHES, strict=False):
                _draw_curve(axes, curve, colour, mark, dash)
            axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=3.2, labelspacing=0.9)
            quiet(axes)
        if values:
            reach = [end for end in [*values, *ends, level] if not is_log or end > 0]
            low, high = _around(min(reach), max(reach), values, is_log)
            _set_axis(column[0].yaxis, low, high, is_log)
        last = max(layer for one in curves for layer in one.layers)
        column[-1].set_xticks(round_numbers(last + 1, 14))
        column[-1].set_xlim(-0.5, last + 0.5)
        column[-1].set_xlabel("layer")
        figure.supylabel(y_label, color=SOFT)
        return svg(figure)


def _draw_curve(axes, curve: LayerCurve, colour: str, mark: str, dash) -> None:
    layers = np.arange(max(curve.layers) + 1)  # a layer without attention is a gap
    value, low, high = (np.full(len(layers), np.nan) for _ in range(3))
    for layer, one, interval in zip(curve.layers, curve.values, curve.intervals, strict=True):
        value[layer] = one
        low[layer], high[layer] = (np.nan, np.nan) if interval is None else interval
    size = 4 if len(layers) <= 40 else 2.5
    axes.plot(layers, value, color=colour, marker=mark, markersize=size, linewidth=1.5, linestyle=dash, label=shortened(curve.name, 24, 2))
    axes.fill_between(layers, low, high, color=colour, alpha=0.13, linewidth=0)
    if len(layers) == 1:
        axes.plot([0, 0], [low[0], high[0]], color=colour, linewidth=3, alpha=0.35, solid_capstyle="butt")


def has_log_axis(shown: Sequence[float], values: Sequence[float]) -> bool:
    """Whether figures around 1 span so much that a logarithmic axis shows them better; never if a value is not positive."""
    positive = [one for one in shown if one > 0]
    return bool(values) and min(values) > 0 and max(positive) > _LOG_FROM * min(positive)


def _around(low: float, high: float, values: Sequence[float], is_log: bool) -> tuple[float, float]:
    """Limits with some room; a logarithmic axis does not follow an interval too far from the values."""
    if is_log:
        low, high = max(low, min(values) / _MOST_REACH), min(high, max(values) * _MOST_REACH)
        return low / (high / low) ** 0.05, high * (high / low) ** 0.05
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _set_axis(axis, low: float, high: float, is_log: bool) -> None:
    axes = axis.axes
    is_x = axis is axes.xaxis
    if is_log:
        (axes.set_xscale if is_x else axes.set_yscale)("log")
        ticks = [one for one in _TICKS if low <= one <= high]
        axis.set_ticks(ticks, [f"{one:g}" for one in ticks])
        axis.set_ticks([], minor=True)
    (axes.set_xlim if is_x else axes.set_ylim)(low, high)
