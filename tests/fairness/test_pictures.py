"""Pictures of an audit and of a sweep: whole, whatever the names are, and dollar signs are dollar signs."""

import re

import numpy as np
from browser_page import needs_chromium, require_whole

from pydisp.fairness import pictures
from pydisp.fairness.weight_decay.pictures import curves

LONG = "an organisation-of-some-length/A-model-with-a-long-name-7B-instruct-v0.2" * 3
BINS = ["0", "1", "2 to 9", *(f"{10**one:,} to {10 ** (one + 1) - 1:,}" for one in range(1, 7))]


def learning_curves(steps):
    losses = {name: [5.0 - 0.1 * place for place in range(len(steps))] for name in BINS}
    return curves(steps, BINS, [(text, [(f"weight decay {decay}", losses) for decay in (0, 0.1, 1)]) for text in ("train", "held-out")])


def drawings() -> dict[str, str]:
    values, intervals = np.linspace(8, 2, len(BINS)).tolist(), [(1.0, 9.0)] * len(BINS)
    both = [pictures.Curve(LONG, values, intervals), pictures.Curve(f"{LONG} $x^", values)]
    calibrated = [(part, np.full(10, 30), np.arange(10) * 3.0, np.arange(10) * 2.0) for part in ("head", "torso", "tail")]
    names = ["begins a word and continues in others", "number", "mark"]
    return {
        "loss": pictures.by_frequency(BINS, both, "nats a token", level=3.0),
        "difference": pictures.by_frequency(BINS, both[:1], "nats a token", has_zero=True),
        "reliability": pictures.reliability(calibrated),
        "classes": pictures.classes(names, [0.1, -0.2, 12_345.0], [(0.0, 0.2), None, (12_000.0, 13_000.0)], "difference, nats a token"),
        "learning": learning_curves([0, 1, 10, 100, 100_000]),
    }


@needs_chromium
def test_no_letter_is_cut():
    require_whole(drawings())


def test_dollar_signs_are_no_mathematics():
    assert "$x^" in drawings()["loss"]
    ticks = re.findall(r"<text[^>]*>([^<]*)</text>", learning_curves([0, 20, 50, 80]))  # within a decade, where the small ticks have labels
    assert {"20", "50"} & set(ticks) and not any("$" in tick or "math" in tick for tick in ticks)
