"""Results in sentences and as a few lines of a terminal."""

import numpy as np
import pytest
from simulated_holobench import answered, benchmark, found, item

from pydisp.holobench.figures.result_words import effective_words, in_words, interval_words, p_words, points_interval, shortened, summary
from pydisp.holobench.figures.results import results
from pydisp.holobench.items import CLASSES
from pydisp.intervals import Estimate


def full(model="HuggingFaceTB/SmolLM2-135M-Instruct-with-a-long-name", lengths=(512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)):
    generator = np.random.default_rng(0)
    items = benchmark(36, lengths=lengths)
    manifest = {"database": [{"name": f"a database of number {place}"} for place in range(5)]}
    return found(
        items, lambda one: None if one.length > 16384 else (int(one.draw) * 3 % 11) / 10, manifest,
        margin_of=lambda one: generator.normal(0.2, 1), model=model,
    )  # fmt: skip


def test_a_terminal_gets_25_lines_of_80_columns_at_most():
    endless = found(benchmark(9), lambda one: 0.5, {"database": 500 * "name "})
    for one in (full(), full("m"), full(lengths=(512,)), endless):
        lines = in_words(one).splitlines()
        assert len(lines) <= 25 and max(map(len, lines)) <= 80


def test_a_terminal_sees_every_class_and_length():
    text = in_words(full("m"))
    assert all(kind.replace("_", " ") in text for kind in CLASSES)
    assert all(length in text for length in ("512", "8,192", "65,536")) and "skipped" in text and "chance is 25 %" in text


@pytest.mark.parametrize("f1", [0.0, 0.5, 1.0, None])
def test_words_exist_for_any_results(f1):
    for lengths in ((512,), (512, 1024)):
        one = found(benchmark(9, lengths=lengths), lambda _: f1)
        assert in_words(one) and all(line.endswith(".") for line in summary(one))
    alone = results([item()], [answered(item(), 1.0 if f1 is None else f1)], {}, {})
    assert in_words(alone) and summary(alone)


def test_what_was_skipped_not_asked_or_a_control_is_said():
    items = benchmark(9, lengths=(512, 1024))
    one = found(items, lambda one: None if one.length == 1024 else 0.6)
    assert "18 items from 9 draws, 9 of them skipped" in summary(one)[0] and "With skipped items as 0, F1 is 30 %" in " ".join(summary(one))
    some = results(items, [answered(items[0], 1.0)], {}, {"without_context": True})
    assert "17 more items of the benchmark have no prediction" in summary(some)[0] and "a control" in summary(some)[0]


def test_accuracy_is_compared_with_chance():
    items = benchmark(40, lengths=(512,))
    for margin, words in ((1.0, "the accuracy is above it"), (-1.0, "the accuracy is below it")):
        assert words in " ".join(summary(found(items, lambda _: 0.5, margin_of=lambda _, margin=margin: margin)))
    guessed = found(items, lambda _: 0.5, margin_of=lambda one: 1.0 if int(one.draw) % 4 == 0 else -1.0)
    assert "cannot be told" in " ".join(summary(guessed))


def test_an_effective_length_in_words():
    def words(kept):
        items = benchmark(60, lengths=(512, 1024, 2048))
        level = dict(zip((512, 1024, 2048), kept, strict=True))
        return effective_words(found(items, lambda one: level[one.length]).effective[0])

    assert words([1, 1, 1]) == "At least 85 % of the F1 at 512 tokens is kept at every tested length, up to 2,048 tokens."
    assert words([1, 1, 0.2]) == (
        "At least 85 % of the F1 at 512 tokens is kept up to 1,024 tokens. Less than 85 % of the F1 at 512 tokens is left at 2,048 tokens."
    )
    assert words([1, 0.2, 0.2]) == "Less than 85 % of the F1 at 512 tokens is left at 1,024 and 2,048 tokens."
    assert words([0, 0, 0]) == "F1 in the shortest contexts (512 tokens) cannot be told from 0, so nothing is said of longer ones."


def test_figures_in_words():
    assert interval_words(Estimate(0.5, (0.412, 0.598))).split() == ["41", "to", "60"]
    assert points_interval(Estimate(0.0, (-0.0123, 0.04))).split() == ["-1.2", "to", "+4.0"]
    assert interval_words(Estimate(0.5)) is None and interval_words(None) is None and points_interval(Estimate(0.5)) is None
    assert (p_words(None), p_words(0.0004), p_words(0.0341)) == (None, "<0.001", "0.034")
    assert shortened("short") == "short" and len(shortened(200 * "x")) <= 40 and len(shortened(200 * "x", 18)) <= 18
