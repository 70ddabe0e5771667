import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from browser_page import needs_chromium, require_whole

from pydisp.pruning import pictures
from pydisp.pruning.pictures import MASKS, STREAM_MASKS, kept_features, perplexities, recovery_curve, search_curve, widths
from pydisp.report import Picture

LONG = "https://example.org/a/very/long/address/without/any/space/at/all/that/goes/on/and/on.jsonl (heldout)"
HIDDEN, MIDDLE = 64, 128
FULL = {m: MIDDLE if m == "mlp_middle" else HIDDEN for m in MASKS}


def masks(layers, size=HIDDEN):
    generator = np.random.default_rng(0)
    layers_kept = [{m: generator.random(size) < generator.uniform(0.1, 0.9) for m in STREAM_MASKS} for _ in range(layers)]
    if layers > 3:
        layers_kept[1].update(attention_input=None, attention_output=None)
        layers_kept[2].update(mlp_input=None, mlp_output=None)
    return layers_kept


def plan_widths(layers):
    layer_widths = [{m: None if v is None else int(v.sum()) for m, v in layer.items()} for layer in masks(layers)]
    return [{**layer, "mlp_middle": None if layer["mlp_input"] is None else 32} for layer in layer_widths]


def history(steps):
    return [{"step": i, "loss": 3 + 1 / i, "kept": 0.5 + 0.4 / i} for i in range(1, steps + 1)]


DRAWINGS = {
    **{f"widths of {n} layers": lambda n=n: widths(plan_widths(n), FULL) for n in (1, 6, 80)},
    **{f"features of {n} layers": lambda n=n: kept_features(masks(n)) for n in (1, 6, 80)},
    **{f"search of {n} steps": lambda n=n: search_curve(history(n), target=0.5) for n in (1, 29, 3000)},
    "search without a target": lambda: search_curve(history(40)),
    "damage of a search": lambda: search_curve(history(40), target=0.5, dense_loss=3.0),
    "search with a budget": lambda: search_curve([{**row, "budget": 0.5} for row in history(40)], target=0.5, dense_loss=3.0),
    **{f"recovery of {n} steps": lambda n=n: recovery_curve(history(n)) for n in (1, 30, 900)},
    "perplexities": lambda: perplexities([("calibration", 20.1, 24.3), ("held-out <a>", 26.5, 3320.2)]),
    "a perplexity that is far higher": lambda: perplexities([("held-out:\nPython 3.11.7 docstrings (heldout)", 26.96, 26_610_000.0)]),
    "perplexities of texts with long names": lambda: perplexities([(f"held-out:\n{LONG}", 26.96, 2661.0), (LONG, 1.0, 99.0)]),
    "recovery on a text with a long name": lambda: recovery_curve(history(40), f"Distillation loss ({'W' * 30}) on {LONG}"),
}


def texts(svg):
    return ["".join(e.itertext()).strip() for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")]


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawing_is_svg_that_stands_alone_and_repeats_byte_for_byte(name):
    svg = DRAWINGS[name]()
    assert svg == DRAWINGS[name]()
    Picture(name, name, svg)
    assert svg.startswith("<svg ") and "prefers-color-scheme: dark" in svg
    assert not re.search(r"<dc:date|\d{4}-\d\d-\d\dT", svg)


@needs_chromium
def test_no_letter_is_cut():
    require_whole({name: draw() for name, draw in DRAWINGS.items()})


def test_widths_are_written_in_the_cells_and_removed_blocks_say_so():
    layer = dict.fromkeys(MASKS, 16)
    svg = widths([layer, {**layer, "attention_input": None, "attention_output": None}], FULL)
    written = texts(svg)
    assert written.count("removed") == 1
    assert written.count("25") == 4 + 2 + 2  # 16 of 64: the first layer, the second, the mean
    assert written.count("12") == 1 + 1 + 3  # 16 of 128; in the mean also attention, whose removed block counts as 0
    assert "mean" in written and "attention" in written


def test_every_layer_of_a_deep_model_has_its_row():
    assert set(map(str, range(80))) <= set(texts(widths(plan_widths(80), FULL)))


def test_perplexities_are_written_beside_the_bars():
    written = texts(perplexities([("calibration", 20, 25), ("other", 10, 1846.2)]))
    assert {"calibration", "other", "20.00", "10.00"} <= set(written)
    assert any("25.00" in t and "1.25 × dense, damage 0.22" in t for t in written) and any(
        "1,846" in t and "184.6 × dense" in t for t in written
    )


def test_target_is_named():
    assert "target 50 %" in texts(search_curve(history(50), target=0.5))


def curve_of(values):
    """The points of the mean that `_draw_curve` draws, and of the faint line under it."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    pictures._draw_curve(axes, np.arange(1, len(values) + 1, dtype=float), values, "black")
    faint, mean = (line.get_xydata() for line in axes.get_lines())
    return faint, mean


@pytest.mark.parametrize("steps", [30, 60, 599, 3000])
def test_a_smoothed_curve_ends_where_its_window_does(steps):
    """No mean over fewer points than the others: at the ends it would be the noise of single steps, and look like a spike."""
    values = np.zeros(steps)
    run = -(-steps // 400)
    values[:run] = values[-run - steps % run : steps - steps % run] = 1.0  # the first and the last point that is drawn
    faint, mean = curve_of(values)
    radius = (len(faint) - len(mean)) // 2
    assert radius >= 1 and faint[0, 1] == faint[-1, 1] == 1
    assert mean[0, 0] == faint[radius, 0] and mean[-1, 0] == faint[-radius - 1, 0]
    assert mean[:, 1].max() == pytest.approx(1 / (2 * radius + 1))


def test_a_mean_says_over_how_many_steps():
    written = texts(search_curve(history(60), dense_loss=3.0))
    assert {"each step", "mean of 5 steps", "dense", "Damage on calibration text under sampled masks"} <= set(written)
    assert {"mean of 2 steps", "mean of 50 steps"} <= set(texts(recovery_curve(history(600), "Distillation loss")))
    assert not any("mean" in text for text in texts(search_curve(history(29))))


def test_the_budget_of_each_step_is_named():
    budget = [{**row, "budget": max(0.5, 1 - row["step"] / 20)} for row in history(50)]
    assert "dashed: budget, target 50 %" in texts(search_curve(budget, target=0.5))


def test_features_of_a_large_model_stay_under_200_kb():
    assert len(kept_features(masks(40, 4096))) < 200_000  # 40 layers x 4 masks: 160 rows


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="the history of the search is empty"):
        search_curve([])
    with pytest.raises(ValueError, match="the history of the recovery is empty"):
        recovery_curve([])
    with pytest.raises(ValueError, match="there is no perplexity to draw"):
        perplexities([])
    mixed = [*masks(1, 8), *masks(1, 9)]
    with pytest.raises(ValueError, match=r"spaces of sizes \[8, 9\]; a picture needs exactly one residual stream"):
        kept_features(mixed)


def test_no_global_state_of_matplotlib_is_changed():
    code = """
import sys
import pydisp.pruning.pictures as pictures
assert "matplotlib" not in sys.modules
import matplotlib
before = matplotlib.rcParams.copy()
pictures.perplexities([("a", 1, 2)])
assert before == matplotlib.rcParams.copy()
matplotlib.rcParams["xtick.labelsize"] = 30
after = pictures.perplexities([("a", 1, 2)])
matplotlib.rcParams["xtick.labelsize"] = "medium"
assert after == pictures.perplexities([("a", 1, 2)])
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
