"""Pictures of a pruning run as SVG text: widths per layer and mask, the curves of search and recovery, kept features over depth, perplexities.

    svg = widths([{"attention_input": 96, ..., "mlp_output": 180}, ...], {"attention_input": 192, ..., "mlp_output": 192})

The functions take plain data and return text; `pydisp.report.drawing` decides how pictures look.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pydisp.report.drawing import BLUE, EMPTY, INK, ORANGE, SOFT, WIDTH_INCHES, drawing, letters_on, new_figure, quiet, shortened, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

MASKS = ("attention_input", "attention_output", "mlp_input", "mlp_middle", "mlp_output")
STREAM_MASKS = ("attention_input", "attention_output", "mlp_input", "mlp_output")  # those that select features of the residual stream
_MASK_LABELS = {
    "attention_input": "attention\ninput",
    "attention_output": "attention\noutput",
    "mlp_input": "MLP\ninput",
    "mlp_middle": "MLP\nmiddle",
    "mlp_output": "MLP\noutput",
}
_READS = ("attention_input", "mlp_input")

_REMOVED = (0.5, 0.54, 0.6, 0.25)  # a grey that is visible on light and on dark grounds
_MOST_ROWS_A_PANEL = 40
_MOST_POINTS = 400
_MOST_PIXELS = 20_000  # per raster, of four: random masks of 4096 features and 40 layers stay under 200 kB (test_pictures.py)
_FEWEST_TO_SMOOTH = 30
_LEVELS = 8
_DASHES = (0, (4, 3))
_GAP = 5  # points between a bar and its label
_LEAST_BAR = 0.1  # of the axis, however long a label is
_NOTE = {"ha": "right", "va": "bottom", "color": SOFT}


def widths(plan_widths: Sequence[Mapping[str, int | None]], full_widths: Mapping[str, int]) -> str:
    """The share of each mask's full width that each layer keeps, in per cent, as a heat map.

    Args:
        plan_widths: one mapping per layer, from each name in MASKS to the number of kept dimensions, or None if the block is removed.
        full_widths: from each name in MASKS to its full width.
    """
    shares = np.array([[np.nan if layer[m] is None else layer[m] / full_widths[m] for m in MASKS] for layer in plan_widths])
    with drawing():
        return svg(_widths_figure(shares))


def search_curve(history: Sequence[Mapping[str, float]], target: float | None = None, dense_loss: float | None = None) -> str:
    """Damage (or loss) and kept share over the steps of a search.

    Args:
        history: mappings with `step`, `loss` (nats per token), `kept` (share of the parameters) and, if each has it, `budget` (the share that
            the step aimed at); at least one.
        target: the requested share.
        dense_loss: the dense model's loss on the same text, in nats per token; with it the curve is of the damage, the loss less this one.
    """
    if not history:
        raise ValueError("the history of the search is empty; a curve needs one step or more.")
    steps, losses, kept = (_column(history, name) for name in ("step", "loss", "kept"))
    budget = _column(history, "budget") if all("budget" in row for row in history) else None
    with drawing():
        return svg(_search_figure(steps, losses, kept, budget, target, dense_loss))


def recovery_curve(history: Sequence[Mapping[str, float]], name: str = "Loss on calibration text") -> str:
    """Loss over the steps of a recovery.

    Args:
        history: mappings with `step` and `loss` (nats per token), at least one.
        name: what the loss is.
    """
    if not history:
        raise ValueError("the history of the recovery is empty; a curve needs one step or more.")
    with drawing():
        return svg(_recovery_figure(_column(history, "step"), _column(history, "loss"), name))


def kept_features(plan_masks: Sequence[Mapping[str, np.ndarray | None]]) -> str:
    """Which features of the residual stream each block reads and writes, over depth, and in how many layers each feature is kept.

    Features are sorted by how many blocks read them (then by how many write them), so that structure shows; their own order means nothing.

    Args:
        plan_masks: one mapping per layer, from each name in STREAM_MASKS to a (D,) bool array, True where kept, or None if the block is
            removed. Other names are ignored.
    """
    sizes = {len(layer[m]) for layer in plan_masks for m in STREAM_MASKS if layer[m] is not None}
    if len(sizes) != 1:
        raise ValueError(f"the masks select from spaces of sizes {sorted(sizes)}; a picture needs exactly one residual stream.")
    (size,) = sizes
    none = np.zeros(size, dtype=bool)
    kept = np.array([[none if layer[m] is None else layer[m] for m in STREAM_MASKS] for layer in plan_masks], dtype=bool)  # (L, 4, D)
    removed = np.array([[layer[m] is None for m in STREAM_MASKS] for layer in plan_masks])  # (L, 4)
    with drawing():
        return svg(_features_figure(kept, removed))


def perplexities(rows: Sequence[tuple[str, float, float]]) -> str:
    """Perplexity before and after on several texts, as bars.

    Args:
        rows: (label of the text, dense, pruned), at least one; lower is better.
    """
    if not rows:
        raise ValueError("there is no perplexity to draw; give a row a text.")
    with drawing():
        return svg(_perplexities_figure(rows))


def _column(history: Sequence[Mapping[str, float]], name: str) -> np.ndarray:
    return np.array([row[name] for row in history], dtype=float)


def _widths_figure(shares: np.ndarray) -> "Figure":
    layers = len(shares)
    panels = -(-layers // _MOST_ROWS_A_PANEL)
    rows = -(-layers // panels)
    figure = new_figure(max(WIDTH_INCHES, 3.9 * panels), 1.05 + 0.23 * (rows + 1.4))
    for panel, axes in enumerate(figure.subplots(1, panels, squeeze=False)[0]):
        first = panel * rows
        _draw_shares(axes, shares[first : first + rows], first, rows)
        if panel == 0:
            axes.set_ylabel("layer")
    mean = np.nanmean(np.where(np.isnan(shares), 0, shares), axis=0)
    _draw_mean(figure.axes[0], mean, rows)
    figure.supxlabel("share of the full width kept, %; removed blocks count as 0 in the mean", color=SOFT)
    return figure


def _draw_shares(axes: "Axes", shares: np.ndarray, first: int, rows: int) -> None:
    for row, layer in enumerate(shares):
        for block in (slice(0, 2), slice(2, 5)):  # attention has two masks, the MLP three
            columns = range(len(MASKS))[block]
            if np.isnan(layer[block]).any():
                _draw_removed(axes, columns, row)
            else:
                for column in columns:
                    _draw_share(axes, column, row, layer[column])
    axes.set_xlim(-0.5, len(MASKS) - 0.5)
    axes.set_ylim(rows + 0.9, -0.5)
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(MASKS)), [_MASK_LABELS[m] for m in MASKS], color=INK)
    axes.set_yticks(range(len(shares)), [str(first + row) for row in range(len(shares))])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_mean(axes: "Axes", mean: np.ndarray, rows: int) -> None:
    for column, share in enumerate(mean):
        _draw_share(axes, column, rows + 0.4, share, weight="bold")
    labels = [label.get_text() for label in axes.get_yticklabels()]
    axes.set_yticks([*range(len(labels)), rows + 0.4], [*labels, "mean"])


def _draw_removed(axes: "Axes", columns: range, row: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((columns[0] - 0.5, row - 0.46), len(columns) - 0.03, 0.92, facecolor=EMPTY, linewidth=0))
    middle = (columns[0] + columns[-1]) / 2
    axes.text(middle, row, "removed", ha="center", va="center", color=SOFT, style="italic")


def _draw_share(axes: "Axes", column: int, row: float, share: float, weight: str = "normal") -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((column - 0.5, row - 0.46), 0.97, 0.92, facecolor=_blue(share), linewidth=0))
    axes.text(column - 0.015, row, f"{100 * share:.0f}", ha="center", va="center", weight=weight, color=letters_on(_blue(share)))


def _blue(share: float) -> str:
    """A colour map from pale to deep blue; only the lightness shows the value."""
    from matplotlib.colors import to_hex

    stops = np.array([[0.875, 0.925, 0.965], [0.45, 0.68, 0.86], [0.0, 0.36, 0.60], [0.02, 0.20, 0.38]])
    return to_hex([np.interp(share, [0, 0.4, 0.8, 1], stops[:, channel]) for channel in range(3)])


def _search_figure(
    steps: np.ndarray, losses: np.ndarray, kept: np.ndarray, budget: np.ndarray | None, target: float | None, dense_loss: float | None
) -> "Figure":
    from matplotlib.ticker import PercentFormatter

    figure = new_figure(WIDTH_INCHES, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1.5, 1])
    if dense_loss is None:
        upper.set_title("Loss on calibration text under sampled masks")
    else:
        losses = losses - dense_loss
        low, high = min(losses.min(), 0.0), max(losses.max(), 0.0)
        upper.set_ylim(low - 0.14 * max(high - low, 0.01), high + 0.05 * max(high - low, 0.01))
        upper.axhline(0, color=SOFT, linewidth=1, linestyle=_DASHES)
        upper.annotate("dense", (1, 0), (0, -3), xycoords=("axes fraction", "data"), textcoords="offset points", **_NOTE | {"va": "top"})
        upper.set_title("Damage on calibration text under sampled masks")
    _draw_curve(upper, steps, losses, BLUE)
    upper.set_ylabel("nats per token")
    _draw_points(lower, steps, kept, ORANGE)  # no mean: a draw of all gates keeps nearly the share that is expected
    lower.set_title("Parameters kept")
    lower.set_ylabel("share, %")
    lower.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=""))
    wanted = [kept.min(), kept.max()]
    if budget is not None:
        lower.plot(steps, budget, color=SOFT, linewidth=1, linestyle=_DASHES)
        wanted += [budget.min(), budget.max()]
    if target is not None:
        wanted.append(target)
        words = f"target {100 * target:.3g} %"
        if budget is None:
            lower.axhline(target, color=SOFT, linewidth=1, linestyle=_DASHES)
        else:
            words = f"dashed: budget, {words}"
        lower.annotate(words, (1, target), (0, 4), xycoords=("axes fraction", "data"), textcoords="offset points", **_NOTE)
    margin = 0.18 * max(max(wanted) - min(wanted), 0.02)
    lower.set_ylim(min(wanted) - margin, max(wanted) + margin)
    _step_axis(lower, steps)
    for axes in (upper, lower):
        quiet(axes)
    return figure


def _recovery_figure(steps: np.ndarray, losses: np.ndarray, name: str) -> "Figure":
    figure = new_figure(WIDTH_INCHES, 2.9)
    axes = figure.subplots()
    _draw_curve(axes, steps, losses, BLUE, legend={"loc": "upper right"})  # inside: the name may be long, and a loss falls
    axes.set_title(shortened(name, 64, 2))
    axes.set_ylabel("nats per token")
    _step_axis(axes, steps)
    quiet(axes)
    return figure


def _step_axis(axes: "Axes", steps: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlim(*((steps[0] - 1, steps[0] + 1) if len(steps) == 1 else (steps[0], steps[-1])))


def _draw_curve(axes: "Axes", steps: np.ndarray, values: np.ndarray, colour: str, legend: Mapping | None = None) -> None:
    """Draw all points faintly and their running mean, and say over how many steps; a short history is drawn as it is.

    Args:
        legend: where it stands, as arguments of matplotlib's; by default above the axes, beside the title.
    """
    if len(steps) < _FEWEST_TO_SMOOTH:
        _draw_points(axes, steps, values, colour)
        return
    run = -(-len(steps) // _MOST_POINTS)
    steps, values = _thinned(steps, run), _thinned(values, run)
    radius = len(values) // 25
    axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.35, label="each step" if run == 1 else f"mean of {run} steps")
    axes.plot(
        steps[radius:-radius], _smoothed(values, radius), color=colour, linewidth=2, label=f"mean of {run * (2 * radius + 1):,} steps"
    )
    place = legend or {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0}
    axes.legend(**place, ncols=2, handlelength=1.4, labelcolor=SOFT)


def _draw_points(axes: "Axes", steps: np.ndarray, values: np.ndarray, colour: str) -> None:
    """Draw the values as they are, with a mark for each where they are few, or means where they are more than a picture shows."""
    run = -(-len(steps) // _MOST_POINTS)
    marks = {"marker": "o", "markersize": 4, "clip_on": False} if len(steps) < _FEWEST_TO_SMOOTH else {}
    axes.plot(_thinned(steps, run), _thinned(values, run), color=colour, linewidth=1.8, **marks)


def _thinned(values: np.ndarray, run: int) -> np.ndarray:
    """Means over stretches of `run` values; a rest shorter than that is left out."""
    whole = len(values) // run * run
    return values[:whole].reshape(-1, run).mean(axis=1)


def _smoothed(values: np.ndarray, radius: int) -> np.ndarray:
    """The mean over `radius` points to either side of each point that has so many: (N - 2 * radius,).

    A mean over the few points that there are nearer to an end would be as noisy as they are, and look like a spike of the data.
    """
    sums = np.concatenate([[0], np.cumsum(values)])
    count = 2 * radius + 1
    return (sums[count:] - sums[:-count]) / count


def _features_figure(kept: np.ndarray, removed: np.ndarray) -> "Figure":
    from matplotlib.patches import Patch

    layers, _, size = kept.shape
    reads = kept[:, [m in _READS for m in STREAM_MASKS]].sum(axis=(0, 1))
    order = np.lexsort((np.arange(size), -kept.sum(axis=(0, 1)), -reads))
    image_inches = float(np.clip(0.2 * layers, 0.9, 5.5))
    figure = new_figure(WIDTH_INCHES, image_inches + 1.75)
    upper, lower = figure.subplots(2, 4, sharex=True, sharey="row", height_ratios=[image_inches, 0.8])
    for i, name in enumerate(("attention reads", "attention writes", "MLP reads", "MLP writes")):
        colour = BLUE if STREAM_MASKS[i] in _READS else ORANGE
        _draw_raster(upper[i], kept[:, i, order], removed[:, i], colour)
        upper[i].set_title(name)
        _draw_counts(lower[i], kept[:, i, order].sum(axis=0), layers, colour)
    upper[0].set_ylabel("layer")
    lower[0].set_ylabel("layers that\nkeep it")
    figure.supxlabel(f"{size:,} features of the residual stream, from the most to the least read", color=SOFT)
    if removed.any():
        figure.legend(handles=[Patch(color=_REMOVED, label="block removed")], loc="outside upper right", handlelength=1.2)
    return figure


def _draw_raster(axes: "Axes", kept: np.ndarray, removed: np.ndarray, colour: str) -> None:
    layers, size = kept.shape
    axes.imshow(_raster(kept, removed, colour), extent=(0, size, layers, 0), aspect="auto", interpolation="none")
    axes.set_ylim(layers, 0)
    shown = range(0, layers, -(-layers // 20))
    axes.set_yticks([layer + 0.5 for layer in shown], [str(layer) for layer in shown])
    axes.tick_params(length=0, labelbottom=False)
    axes.spines[:].set_visible(False)


def _raster(kept: np.ndarray, removed: np.ndarray, colour: str) -> np.ndarray:
    """(L, C, 4) uint8: the opacity of a pixel is the kept share of the features that it represents, in a few levels to compress well."""
    from matplotlib.colors import to_rgb

    columns = max(1, min(kept.shape[1], _MOST_PIXELS // len(kept)))
    pixels = np.empty((len(kept), columns, 4))
    pixels[..., :3] = to_rgb(colour)
    pixels[..., 3] = np.round(_binned(kept, columns)[1] * _LEVELS) / _LEVELS
    pixels[removed] = _REMOVED
    return (pixels * 255).round().astype(np.uint8)


def _binned(values: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """The edges of nearly equal bins along the last dimension, and the mean in each bin."""
    edges = np.linspace(0, values.shape[-1], bins + 1).round().astype(int)
    return edges, np.add.reduceat(values.astype(float), edges[:-1], axis=-1) / np.diff(edges)


def _draw_counts(axes: "Axes", counts: np.ndarray, layers: int, colour: str) -> None:
    from matplotlib.ticker import MaxNLocator

    edges, means = _binned(counts, min(len(counts), _MOST_POINTS))
    axes.stairs(means, edges, fill=True, color=colour, alpha=0.75, linewidth=0)
    axes.set_xlim(0, len(counts))
    axes.set_ylim(0, layers)
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    quiet(axes)


def _perplexities_figure(rows: Sequence[tuple[str, float, float]]) -> "Figure":
    figure = new_figure(WIDTH_INCHES, 0.95 + 0.62 * len(rows))
    axes = figure.subplots()
    labels = []
    for position, (_, dense, pruned) in enumerate(rows):
        for offset, value, colour, name in ((-0.19, dense, SOFT, "dense"), (0.19, pruned, BLUE, "pruned")):
            axes.barh(position + offset, value, height=0.34, color=colour, label=name if position == 0 else None)
            ratio = f"  ({_digits(value / dense)} × dense, damage {math.log(value / dense):.2f})" if name == "pruned" else ""
            place = (value, position + offset)
            labels.append(axes.annotate(f"{_digits(value)}{ratio}", place, (_GAP, 0), textcoords="offset points", va="center"))
            labels[-1].set_in_layout(False)  # the axes make room for it, not the layout, which would shrink them
    names = ["\n".join(shortened(line, 34, 2) for line in label.splitlines()) for label, *_ in rows]
    axes.set_yticks(range(len(rows)), names, color=INK)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlabel("perplexity per token (lower is better)")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, handlelength=1.2)
    quiet(axes, "x")
    axes.set_xlim(0, _end_behind(axes, labels))
    return figure


def _end_behind(axes: "Axes", labels: Sequence["Annotation"]) -> float:
    """Where an x axis from 0 must end for each label beside the end of its bar to be inside."""
    figure = axes.get_figure()
    figure.draw_without_rendering()  # gives the axes their place
    points = [72 / figure.dpi * box.width for box in (axes.get_window_extent(), *(label.get_window_extent() for label in labels))]
    left = [max(1 - (2 * _GAP + taken) / points[0], _LEAST_BAR) for taken in points[1:]]
    return max(label.xy[0] / share for label, share in zip(labels, left, strict=True))


def _digits(value: float) -> str:
    return f"{value:,.2f}" if value < 100 else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"
