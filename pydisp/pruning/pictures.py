"""Four pictures of a pruning run as SVG text: widths per layer and mask, the search, kept features over depth, perplexities.

    svg = widths([{"attention_input": 96, ..., "mlp_output": 180}, ...], {"attention_input": 192, ..., "mlp_output": 192})

Plain data in, text out; matplotlib is imported when something is drawn, and none of its global state is left changed. The same data gives
the same bytes for one matplotlib. The ground is clear and the ink follows the reader's light or dark mode; colours are told apart by
colour-blind readers too (Okabe and Ito's blue and vermilion, and lightness).
"""

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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

_BLUE, _ORANGE = "#0072b2", "#d55e00"
_REMOVED = (0.5, 0.54, 0.6, 0.25)  # a grey that shows on both modes' grounds
# Drawn in these, then turned into CSS variables with a value for each mode; nothing else may be drawn in them.
_INK, _SOFT, _LINE, _EMPTY = "#24292e", "#6a727c", "#d9dde2", "#f1f3f5"
_MODES = {
    _INK: ("ink", "#e4e8ee"),
    _SOFT: ("soft", "#9aa5b4"),
    _LINE: ("line", "#343b46"),
    _EMPTY: ("empty", "#242a33"),
    _BLUE: ("blue", "#3f9fe0"),
    _ORANGE: ("orange", "#f0833a"),
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pydisp",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the layout does not depend on the machine
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _SOFT,
    "axes.edgecolor": _LINE,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlepad": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.7,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _SOFT,
    "ytick.labelcolor": _SOFT,
    "legend.frameon": False,
}
_WIDTH_INCHES = 7.6
_MOST_ROWS_A_PANEL = 40
_MOST_POINTS = 400
_MOST_PIXELS = 20_000  # of each of the four rasters: random masks of 4096 features and 40 layers stay under 200 kB (test_pictures.py)
_LEVELS = 8


def widths(plan_widths: Sequence[Mapping[str, int | None]], full_widths: Mapping[str, int]) -> str:
    """The share of each mask's full width that each layer keeps, in per cent, as a heat map.

    Args:
        plan_widths: a mapping a layer, from each name in MASKS to the dimensions kept, or None where the block is removed.
        full_widths: from each name in MASKS to its full width.
    """
    shares = np.array([[np.nan if layer[m] is None else layer[m] / full_widths[m] for m in MASKS] for layer in plan_widths])
    with _drawing():
        return _svg(_widths_figure(shares))


def search_curve(history: Sequence[Mapping[str, float]], target: float | None = None) -> str:
    """Loss and kept share over the steps of a search.

    Args:
        history: mappings with `step`, `loss` (nats per token) and `kept` (share of the parameters), at least one.
        target: the share asked for.
    """
    if not history:
        raise ValueError("the history of the search is empty; a curve needs one step or more.")
    steps, losses, kept = (np.array([row[name] for row in history], dtype=float) for name in ("step", "loss", "kept"))
    with _drawing():
        return _svg(_search_figure(steps, losses, kept, target))


def kept_features(plan_masks: Sequence[Mapping[str, np.ndarray | None]]) -> str:
    """Which features of the residual stream each block reads and writes, over depth, and in how many layers each feature is kept.

    Features stand in the order of how many blocks read them (then write them), so that structure shows: their own order means nothing.

    Args:
        plan_masks: a mapping a layer, from each name in STREAM_MASKS to a (D,) bool array, True where kept, or None where the block
            is removed. Other names are ignored.
    """
    sizes = {len(layer[m]) for layer in plan_masks for m in STREAM_MASKS if layer[m] is not None}
    if len(sizes) != 1:
        raise ValueError(f"the masks select from spaces of sizes {sorted(sizes)}; a picture needs exactly one residual stream.")
    (size,) = sizes
    none = np.zeros(size, dtype=bool)
    kept = np.array([[none if layer[m] is None else layer[m] for m in STREAM_MASKS] for layer in plan_masks], dtype=bool)  # (L, 4, D)
    removed = np.array([[layer[m] is None for m in STREAM_MASKS] for layer in plan_masks])  # (L, 4)
    with _drawing():
        return _svg(_features_figure(kept, removed))


def perplexities(rows: Sequence[tuple[str, float, float]]) -> str:
    """Perplexity before and after on several texts, as bars.

    Args:
        rows: (label of the text, dense, pruned), at least one; lower is better.
    """
    if not rows:
        raise ValueError("there is no perplexity to draw; give a row a text.")
    with _drawing():
        return _svg(_perplexities_figure(rows))


@contextmanager
def _drawing():
    import matplotlib.style

    with matplotlib.style.context(["default", _STYLE]):
        yield


def _figure(width_inches: float, height_inches: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inches, height_inches), layout="constrained")


def _svg(figure: "Figure") -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.S)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif", svg)
    for colour, (name, _) in _MODES.items():
        svg = svg.replace(colour, f"var(--pydisp-{name})")
    light = "; ".join(f"--pydisp-{name}: {colour}" for colour, (name, _) in _MODES.items())
    dark = "; ".join(f"--pydisp-{name}: {colour}" for name, colour in _MODES.values())
    style = f"<style>svg {{ {light} }} @media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}</style>"
    return re.sub(r"(<svg[^>]*>)", rf"\1\n {style}", svg, count=1)


def _widths_figure(shares: np.ndarray) -> "Figure":
    layers = len(shares)
    panels = -(-layers // _MOST_ROWS_A_PANEL)
    rows = -(-layers // panels)
    figure = _figure(max(_WIDTH_INCHES, 3.9 * panels), 1.05 + 0.23 * (rows + 1.4))
    for panel, axes in enumerate(figure.subplots(1, panels, squeeze=False)[0]):
        first = panel * rows
        _draw_shares(axes, shares[first : first + rows], first, rows)
        if panel == 0:
            axes.set_ylabel("layer")
    mean = np.nanmean(np.where(np.isnan(shares), 0, shares), axis=0)
    _draw_mean(figure.axes[0], mean, rows)
    figure.supxlabel("share of the full width kept, %; removed blocks count as 0 in the mean", fontsize=8.5, color=_SOFT)
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
    axes.set_xticks(range(len(MASKS)), [_MASK_LABELS[m] for m in MASKS], color=_INK)
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

    axes.add_patch(Rectangle((columns[0] - 0.5, row - 0.46), len(columns) - 0.03, 0.92, facecolor=_EMPTY, linewidth=0))
    middle = (columns[0] + columns[-1]) / 2
    axes.text(middle, row, "removed", ha="center", va="center", color=_SOFT, fontsize=8, style="italic")


def _draw_share(axes: "Axes", column: int, row: float, share: float, weight: str = "normal") -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((column - 0.5, row - 0.46), 0.97, 0.92, facecolor=_blue(share), linewidth=0))
    axes.text(column - 0.015, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8.5, weight=weight, color=_text_on(share))


def _blue(share: float) -> str:
    """From pale to deep blue; lightness alone carries the value."""
    from matplotlib.colors import to_hex

    stops = np.array([[0.875, 0.925, 0.965], [0.45, 0.68, 0.86], [0.0, 0.36, 0.60], [0.02, 0.20, 0.38]])
    return to_hex([np.interp(share, [0, 0.4, 0.8, 1], stops[:, channel]) for channel in range(3)])


def _text_on(share: float) -> str:
    return "#ffffff" if share > 0.52 else "#10253a"


def _search_figure(steps: np.ndarray, losses: np.ndarray, kept: np.ndarray, target: float | None) -> "Figure":
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = _figure(_WIDTH_INCHES, 4.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1.5, 1])
    _draw_curve(upper, steps, losses, _BLUE)
    upper.set_title("Loss on calibration text under sampled masks")
    upper.set_ylabel("nats per token")
    _draw_curve(lower, steps, kept, _ORANGE)
    lower.set_title("Parameters kept")
    lower.set_ylabel("share, %")
    lower.set_xlabel("step")
    lower.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=""))
    lower.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if len(steps) == 1:
        lower.set_xlim(steps[0] - 1, steps[0] + 1)
    if target is not None:
        lower.axhline(target, color=_SOFT, linewidth=1, linestyle=(0, (4, 3)))
        low, high = min(kept.min(), target), max(kept.max(), target)
        margin = 0.18 * max(high - low, 0.02)
        lower.set_ylim(low - margin, high + margin)
        lower.annotate(
            f"target {100 * target:.3g} %", (1, target), (0, 4), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", va="bottom", color=_SOFT, fontsize=8,
        )  # fmt: skip
    for axes in (upper, lower):
        axes.grid(axis="y")
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
    return figure


def _draw_curve(axes: "Axes", steps: np.ndarray, values: np.ndarray, colour: str) -> None:
    """All points faintly and their running mean; a short history as it is."""
    if len(steps) < 30:
        axes.plot(steps, values, color=colour, linewidth=1.8, marker="o", markersize=4)
        return
    steps, values = _thinned(steps), _thinned(values)
    axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.35)
    axes.plot(steps, _smoothed(values, len(values) // 25), color=colour, linewidth=2)


def _thinned(values: np.ndarray) -> np.ndarray:
    """Means over equal runs, at most _MOST_POINTS of them."""
    run = -(-len(values) // _MOST_POINTS)
    whole = len(values) // run * run
    return values[:whole].reshape(-1, run).mean(axis=1)


def _smoothed(values: np.ndarray, radius: int) -> np.ndarray:
    """The mean over `radius` points to either side, fewer towards the ends so that they are not bent."""
    sums = np.concatenate([[0], np.cumsum(values)])
    at = np.arange(len(values))
    reach = np.minimum(radius, np.minimum(at, at[::-1]))
    return (sums[at + reach + 1] - sums[at - reach]) / (2 * reach + 1)


def _features_figure(kept: np.ndarray, removed: np.ndarray) -> "Figure":
    from matplotlib.patches import Patch

    layers, _, size = kept.shape
    reads = kept[:, [m in _READS for m in STREAM_MASKS]].sum(axis=(0, 1))
    order = np.lexsort((np.arange(size), -kept.sum(axis=(0, 1)), -reads))
    image_inches = float(np.clip(0.2 * layers, 0.9, 5.5))
    figure = _figure(_WIDTH_INCHES, image_inches + 1.75)
    upper, lower = figure.subplots(2, 4, sharex=True, sharey="row", height_ratios=[image_inches, 0.8])
    for i, name in enumerate(("attention reads", "attention writes", "MLP reads", "MLP writes")):
        colour = _BLUE if STREAM_MASKS[i] in _READS else _ORANGE
        _draw_raster(upper[i], kept[:, i, order], removed[:, i], colour)
        upper[i].set_title(name)
        _draw_counts(lower[i], kept[:, i, order].sum(axis=0), layers, colour)
    upper[0].set_ylabel("layer")
    lower[0].set_ylabel("layers that\nkeep it")
    figure.supxlabel(f"{size:,} features of the residual stream, from the most to the least read", fontsize=8.5, color=_SOFT)
    if removed.any():
        figure.legend(handles=[Patch(color=_REMOVED, label="block removed")], loc="outside upper right", fontsize=8, handlelength=1.2)
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
    """(L, C, 4) uint8: a pixel's opacity is the share kept of the features it stands for, in a few levels so that it packs well."""
    from matplotlib.colors import to_rgb

    columns = max(1, min(kept.shape[1], _MOST_PIXELS // len(kept)))
    pixels = np.empty((len(kept), columns, 4))
    pixels[..., :3] = to_rgb(colour)
    pixels[..., 3] = np.round(_binned(kept, columns)[1] * _LEVELS) / _LEVELS
    pixels[removed] = _REMOVED
    return (pixels * 255).round().astype(np.uint8)


def _binned(values: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """The edges of near-equal bins along the last dimension, and the mean in each."""
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
    axes.grid(axis="y")
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)


def _perplexities_figure(rows: Sequence[tuple[str, float, float]]) -> "Figure":
    figure = _figure(_WIDTH_INCHES, 0.95 + 0.62 * len(rows))
    axes = figure.subplots()
    highest = max(value for row in rows for value in row[1:])
    for position, (_, dense, pruned) in enumerate(rows):
        for offset, value, colour, name in ((-0.19, dense, _SOFT, "dense"), (0.19, pruned, _BLUE, "pruned")):
            axes.barh(position + offset, value, height=0.34, color=colour, label=name if position == 0 else None)
            ratio = f"  ({_digits(value / dense)} × dense)" if name == "pruned" else ""
            axes.annotate(
                f"{_digits(value)}{ratio}", (value, position + offset), (5, 0), textcoords="offset points", va="center", fontsize=8.5
            )
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows], color=_INK)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlim(0, 1.28 * highest)
    axes.set_xlabel("perplexity per token (lower is better)")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, handlelength=1.2)
    axes.grid(axis="x")
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)
    return figure


def _digits(value: float) -> str:
    return f"{value:,.2f}" if value < 100 else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"
