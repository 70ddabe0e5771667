"""Pictures of an audit as SVG text: loss by frequency, the difference by frequency, calibration.

The functions take plain data and return text; `pydisp.report.drawing` decides how pictures look.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pydisp.report.drawing import BLUE, INK, LINE, ORANGE, SERIES, SOFT, WIDTH_INCHES, drawing, new_figure, quiet, shortened, svg

_HEIGHT = 3.2
_MARKS = ("o", "s", "^", "D")


@dataclass(frozen=True)
class Curve:
    """Values over the bins; None where a bin is empty. An interval may be None too."""

    name: str
    values: Sequence[float | None]
    intervals: Sequence[tuple[float, float] | None] | None = None


def by_frequency(
    labels: Sequence[str], curves: Sequence[Curve], y_label: str, *, has_zero: bool = False, level: float | None = None
) -> str:
    """Curves over bins of the count, with bands where there are intervals.

    Args:
        labels: of the bins, rare ones first.
        has_zero: whether to draw a line at zero (for differences).
        level: a further horizontal line: the figure of all units.
    """
    with drawing():
        figure = new_figure(WIDTH_INCHES, _HEIGHT)
        axes = figure.subplots()
        places = np.arange(len(labels))
        if has_zero:
            axes.axhline(0, color=INK, linewidth=0.8)
        if level is not None:
            axes.axhline(level, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate("all", (len(labels) - 0.5, level), color=SOFT, ha="right", va="bottom")
        for curve, colour, mark in zip(curves, SERIES, _MARKS, strict=False):
            values = np.array([np.nan if v is None else v for v in curve.values], dtype=np.float64)
            axes.plot(places, values, color=colour, marker=mark, markersize=4.5, linewidth=1.6, label=shortened(curve.name, 60, 2))
            for place, interval in enumerate(curve.intervals or []):
                if interval is not None:
                    axes.fill_between([place - 0.22, place + 0.22], *interval, color=colour, alpha=0.25, linewidth=0)
        axes.set_xticks(places, [label.replace(" to ", "\nto\n") for label in labels])
        axes.set_xlim(-0.5, len(labels) - 0.5)
        axes.set_xlabel("times in the counted text")
        axes.set_ylabel(y_label)
        if len(curves) > 1:
            axes.legend(loc="best")
        quiet(axes)
        return svg(figure)


def reliability(parts: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray]]) -> str:
    """Accuracy over confidence for head, torso and tail; a calibrated model is on the diagonal.

    Args:
        parts: (name, units, sum of the confidence, correct ones) with (steps,) each; steps with fewer than 20 units are not drawn.
    """
    with drawing():
        figure = new_figure(WIDTH_INCHES * 0.62, _HEIGHT)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
        for (name, counts, confidence, correct), colour, mark in zip(parts, SERIES, _MARKS, strict=False):
            shown = counts >= 20
            axes.plot(
                confidence[shown] / counts[shown], correct[shown] / counts[shown], color=colour, marker=mark, markersize=4.5, label=name
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("confidence: probability of the first choice")
        axes.set_ylabel("accuracy")
        axes.legend(loc="upper left")
        quiet(axes, "both")
        return svg(figure)


def classes(names: Sequence[str], values: Sequence[float], intervals: Sequence[tuple[float, float] | None], x_label: str) -> str:
    """A value for each class with its interval, as points on lines, the largest on top."""
    order = np.argsort(values)
    with drawing():
        figure = new_figure(WIDTH_INCHES, 0.6 + 0.27 * len(names))
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=0.8)
        for row, number in enumerate(order):
            if intervals[number] is not None:
                axes.plot(intervals[number], [row, row], color=BLUE, linewidth=3, alpha=0.35, solid_capstyle="butt")
            axes.plot(values[number], row, "o", color=BLUE if intervals[number] is not None else ORANGE, markersize=5)
        axes.set_yticks(range(len(names)), [names[number] for number in order])
        axes.set_xlabel(x_label)
        quiet(axes, "x")
        return svg(figure)
