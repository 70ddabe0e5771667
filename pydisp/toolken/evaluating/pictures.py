"""Pictures of an evaluation as SVG text: modes with their intervals, curves of confidence, and which tools are taken for which.

    svg = mode_points(["none", "calibrated"], [Series("accuracy", [estimate, estimate])])

The functions take plain data; `pydisp.report.drawing` decides how pictures look. Shares are drawn in per cent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pydisp.report.drawing import (
    BLUE,
    EMPTY,
    GREEN,
    INK,
    ORANGE,
    PINK,
    SKY,
    SOFT,
    WIDTH_INCHES,
    YELLOW,
    drawing,
    inches,
    new_figure,
    quiet,
    shortened,
    svg,
)
from pydisp.toolken.evaluating.calibration_curves import CalibrationCurves, thinned
from pydisp.toolken.evaluating.estimates import Estimate

COLOURS = {
    "none": SOFT, "toolkengpt": ORANGE, "rerank": GREEN, "reject": SKY, "calibrated": BLUE, "no_docs": YELLOW, "shuffled_docs": PINK,
}  # fmt: skip
_DASHES = {
    "toolkengpt": (0, (5, 1.5)),
    "rerank": (0, (1, 1)),
    "reject": (0, (6, 1.5, 1, 1.5)),
    "no_docs": (0, (2, 2)),
    "shuffled_docs": (0, (4, 4)),
}
_MOST_POINTS = 200  # of a curve
_LETTERS = 28  # most of the name of a tool
_PALEST, _DARKEST = 0.06, 0.6  # of blue over the ground of the page: letters on it stay readable in light and dark mode


@dataclass(frozen=True, eq=False)
class Level:
    """A line across all modes, such as what guessing has: its share, and its name in the legend."""

    share: float
    name: str


def mode_points(estimates: Mapping[str, Estimate], label: str, levels: Sequence[Level] = (), *, is_whole: bool = True) -> str:
    """A row for each mode, the first on top: its share, the interval over problems (thick), that with seeds (thin), and each seed (a small ring).

    Args:
        is_whole: whether the axis ends at 100 %; else where the intervals do.
    """
    end = 100.0 if is_whole else _rounded_up(max(100 * (one.widest or (0, one.value))[1] for one in estimates.values()))
    with drawing():
        figure = new_figure(WIDTH_INCHES, 1.0 + 0.34 * len(estimates))
        axes = figure.subplots()
        for row, (mode, one) in enumerate(estimates.items()):
            place, colour = len(estimates) - 1 - row, COLOURS[mode]
            if one.interval_with_seeds is not None:
                axes.plot(np.multiply(one.interval_with_seeds, 100), [place, place], color=colour, linewidth=1, solid_capstyle="butt")
            if one.interval is not None:
                axes.plot(np.multiply(one.interval, 100), [place, place], color=colour, linewidth=5, alpha=0.35, solid_capstyle="butt")
            if len(one.by_seed) > 1:
                seeds = np.multiply(one.by_seed, 100)
                axes.plot(seeds, np.full(len(seeds), place - 0.24), "o", color=colour, markersize=3, fillstyle="none", markeredgewidth=0.8)
            axes.plot(100 * one.value, place, "o", color=colour, markersize=5.5)
        dashes = ((0, (4, 3)), (0, (1, 2)))
        for level, dash in zip(levels, dashes, strict=False):
            axes.axvline(100 * level.share, color=SOFT, linewidth=1.2, linestyle=dash, label=level.name)
        axes.set_yticks(range(len(estimates))[::-1], list(estimates))
        axes.set_ylim(-0.6, len(estimates) - 0.5)
        axes.set_xlim(-0.02 * end, 1.02 * end)
        axes.set_xlabel(label)
        if levels:
            axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        quiet(axes, "x")
        return svg(figure)


def reliability(curves: Mapping[str, CalibrationCurves]) -> str:
    """A panel for each mode: how often the best tool is the right one, by the confidence in it; a dot's area says how many decisions it holds."""
    with drawing():
        figure = new_figure(WIDTH_INCHES, 2.5)
        panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
        for axes, (mode, one) in zip(panels, curves.items(), strict=True):
            filled = [part for part in one.bins if part.count]
            axes.plot([0, 100], [0, 100], color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
            axes.plot(
                [100 * part.confidence for part in filled], [100 * part.accuracy for part in filled], color=COLOURS[mode], linewidth=1
            )
            axes.scatter(
                [100 * part.confidence for part in filled], [100 * part.accuracy for part in filled], color=COLOURS[mode],
                s=[8 + 120 * part.count / one.count for part in filled], linewidths=0, zorder=3,
            )  # fmt: skip
            axes.set_title(mode)
            axes.set_xlim(-4, 104)
            axes.set_ylim(-4, 104)
            axes.set_xticks([0, 50, 100])
            axes.set_xlabel("confidence, %")
            quiet(axes, "both")
        panels[0].set_ylabel("right tool, %")
        return svg(figure)


def risk_coverage(curves: Mapping[str, CalibrationCurves]) -> str:
    """The share that is wrong among the most confident decisions, over the share that is kept."""
    with drawing():
        figure = new_figure(WIDTH_INCHES, 2.8)
        axes = figure.subplots()
        for mode, one in curves.items():
            kept = thinned(len(one.risk.coverage), _MOST_POINTS)
            axes.plot(100 * one.risk.coverage[kept], 100 * one.risk.risk[kept], **_line(mode))
        axes.set_xlabel("decisions kept, the most confident first, %")
        axes.set_ylabel("of these wrong, %")
        axes.set_xlim(-2, 102)
        axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])
        _legend(axes)
        quiet(axes)
        return svg(figure)


def calls_saved(curves: Mapping[str, CalibrationCurves]) -> str:
    """Left: the share of right decisions by how many calls a threshold saves. Right: the share of unneeded calls that are left."""
    with drawing():
        figure = new_figure(WIDTH_INCHES, 2.8)
        right, unneeded = figure.subplots(1, 2)
        for mode, one in curves.items():
            kept = thinned(len(one.saving.thresholds), _MOST_POINTS)
            saved = 100 * one.saving.calls_saved[kept]
            right.plot(saved, 100 * one.saving.right[kept], **_line(mode))
            if one.saving.unneeded is not None:
                unneeded.plot(saved, 100 * one.saving.unneeded[kept], **_line(mode))
        for axes, label in ((right, "right decisions, %"), (unneeded, "unneeded calls left, %")):
            axes.set_xlabel("calls saved, %")
            axes.set_ylabel(label)
            axes.set_xlim(-2, 102)
            axes.set_ylim(-2, 102)
            quiet(axes)
        _legend(unneeded)
        return svg(figure)


def confusion_map(counts: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> str:
    """A cell for each pair, the darker the larger its share of the row, with its count.

    Args:
        counts: (rows, columns); a row has at least one.
    """
    counts = np.asarray(counts)
    shares = counts / counts.sum(1, keepdims=True)
    with drawing():
        right, called = ([shortened(name, _LETTERS, 1) for name in names] for names in (rows, columns))
        beside, below = (max(map(inches, names)) for names in (right, called))
        is_upright = (below + 0.1) * len(called) > WIDTH_INCHES - beside - 0.5
        figure = new_figure(WIDTH_INCHES, 0.8 + 0.27 * len(rows) + (below if is_upright else 0.2))
        axes = figure.subplots()
        for (row, column), share in np.ndenumerate(shares):
            place = len(rows) - 1 - row
            is_right = rows[row] == columns[column]
            axes.bar(
                column,
                0.92,
                0.95,
                place - 0.46,
                color=BLUE if share else EMPTY,
                alpha=_PALEST + (_DARKEST - _PALEST) * share if share else 1,
                linewidth=0,
            )
            if counts[row, column]:
                axes.text(
                    column, place, f"{counts[row, column]}", ha="center", va="center", color=INK,
                    fontweight="bold" if is_right else "normal",
                )  # fmt: skip
        axes.set_xticks(range(len(called)), called, rotation=90 if is_upright else 0)
        axes.set_yticks(range(len(rows))[::-1], right)
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(-0.5, len(rows) - 0.5)
        axes.set_xlabel("what was called")
        axes.set_ylabel("right tool")
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return svg(figure)


def _rounded_up(percent: float) -> float:
    """To the next ten, 10 at least and 100 at most."""
    return min(100.0, max(10.0, 10 * np.ceil(percent / 10)))


def _line(mode: str) -> dict:
    return {"color": COLOURS[mode], "linewidth": 1.6, "linestyle": _DASHES.get(mode, "-"), "label": mode}


def _legend(axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), labelspacing=0.8, handlelength=2.6)
