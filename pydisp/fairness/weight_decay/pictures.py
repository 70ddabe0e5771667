"""Pictures of a sweep as SVG text: the loss by frequency, the gap between rare and frequent, the learning curves.

The functions take plain data and return text; `pydisp.report.drawing` decides how pictures look.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pydisp.fairness.weight_decay.figures import Replicates
from pydisp.report.drawing import BLUE, INK, SERIES, WIDTH_INCHES, drawing, new_figure, quiet, svg

_MARKS = ("o", "s", "^", "D", "v", "P")
_FEWEST_FOR_A_BAND = 3  # an interval of two seeds reaches 12.7 standard errors to each side: it would hide everything else
_PALEST = 0.25  # opacity of the curve of the rarest bin


@dataclass(frozen=True)
class Panel:
    """One of several plots side by side: its title, and for each line its name and one figure (or None) for each place on the x axis."""

    title: str
    lines: Mapping[str, Sequence[Replicates | None]]


def by_bin(labels: Sequence[Sequence[str]], panels: Sequence[Panel]) -> str:
    """The loss of each bin, a line for each weight decay: means with a small point for each seed.

    Args:
        labels: of the bins of each panel, rare ones first.
    """
    with drawing():
        figure = new_figure(WIDTH_INCHES, 3.3)
        for axes, panel, names in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, labels, strict=True):
            _draw_lines(axes, panel, bands=False)
            axes.set_xticks(range(len(names)), names, rotation=90)
            axes.set_xlabel("times in the train text")
        figure.axes[0].set_ylabel("nats per token")
        figure.axes[0].legend()
        return svg(figure)


def gaps(decays: Sequence[str], panels: Sequence[Panel]) -> str:
    """Differences between rare and frequent over the weight decay, with the points of the seeds, and a band of the interval from three
    seeds on."""
    with drawing():
        figure = new_figure(WIDTH_INCHES, 3.0)
        for axes, panel in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
            _draw_lines(axes, panel, bands=True)
            axes.set_xticks(range(len(decays)), decays)
            axes.set_xlim(-0.4, len(decays) - 0.6)
            axes.set_xlabel("weight decay")
        values = [v for panel in panels for line in panel.lines.values() for r in line if r for v in r.values]
        margin = 0.15 * max(max(values) - min(values), 0.01)
        figure.axes[0].set_ylim(min(values) - margin, max(values) + margin)  # a band may reach beyond the points
        figure.axes[0].set_ylabel("nats")
        figure.axes[0].legend()
        return svg(figure)


def curves(
    steps: Sequence[int], labels: Sequence[str], rows: Sequence[tuple[str, Sequence[tuple[str, Mapping[str, Sequence[float] | None]]]]]
) -> str:
    """Loss over the steps, a row for each text, a column for each weight decay, a line for each bin: the more frequent, the deeper.

    Args:
        steps: of the points, the first at 0, which a logarithmic axis does not have.
        labels: of all bins, rare ones first.
        rows: (name of the text, (name of the weight decay, bin's label -> loss at each point) for each column).
    """
    from matplotlib.ticker import LogFormatter, StrMethodFormatter

    depths = dict(zip(labels, np.linspace(_PALEST, 1, len(labels)), strict=True))
    drawn = {}
    with drawing():
        figure = new_figure(WIDTH_INCHES, 0.5 + 2.3 * len(rows))
        grid = figure.subplots(len(rows), len(rows[0][1]), sharex=True, sharey="row", squeeze=False)
        for line, (text, panels) in zip(grid, rows, strict=True):
            for axes, (title, losses) in zip(line, panels, strict=True):
                for name, values in losses.items():
                    if values is not None:
                        (drawn[name],) = axes.plot(steps[1:], values[1:], color=BLUE, alpha=depths[name], linewidth=1.5)
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
                axes.xaxis.set_minor_formatter(LogFormatter())
                axes.set_title(title)
                quiet(axes)
            line[0].set_ylabel(f"{text}\nnats per token")
        for axes in grid[-1]:
            axes.set_xlabel("step")
        names = [name for name in reversed(labels) if name in drawn]
        title = "times in the\ntrain text"
        figure.legend([drawn[name] for name in names], names, loc="outside right center", title=title)
        return svg(figure)


def _draw_lines(axes, panel: Panel, *, bands: bool) -> None:
    for (name, line), colour, mark in zip(panel.lines.items(), SERIES, _MARKS, strict=False):
        places = np.array([place for place, found in enumerate(line) if found], dtype=float)
        found = [r for r in line if r]
        axes.plot(places, [r.mean for r in found], color=colour, marker=mark, markersize=4.5, linewidth=1.6, label=name)
        for place, r in zip(places, found, strict=True):
            axes.plot([place] * len(r.values), r.values, ".", color=colour, markersize=3.5, alpha=0.5)
        if bands and found and all(len(r.values) >= _FEWEST_FOR_A_BAND for r in found):
            low, high = zip(*(r.interval for r in found), strict=True)
            axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_title(panel.title, color=INK)
    quiet(axes)
