"""Sentences of a sweep follow from its figures: clear changes are said, weak ones are called too weak to tell."""

import pytest
from browser_page import needs_chromium, require_readable

from pydisp.fairness.weight_decay.config import read_config
from pydisp.fairness.weight_decay.figures import ArmFigures, Replicates, learning_speed
from pydisp.fairness.weight_decay.report import sweep_report
from pydisp.report import Report

CONFIG = {"train": ["a.txt"], "held_out": ["b.txt"], "vocabulary_size": 300, "train_tokens": 1024, "held_out_tokens": 1024, "steps": 4}


def group(nats, tokens=10, types=2, accuracy=0.5):
    return {"tokens": tokens, "types": types, "average_nats": nats, "balanced_nats": nats, "accuracy": accuracy}


def scores(head, tail, accuracy=0.5):
    bins = {"1": group(tail), "3": group((head + tail) / 2), "5": group(head)}
    whole = group((2 * head + tail) / 3, 30, 6, accuracy) | {"balanced_nats": (head + tail) / 2, "balanced_accuracy": accuracy}
    return {**whole, "bins": bins, "parts": {"head": bins["5"], "torso": bins["3"], "tail": bins["1"]}}


def run(decay, seed, head, tail, *, arm="sweep", accuracy=0.5, slope=None):
    final = {text: scores(head, tail, accuracy) for text in ("train", "held_out")}
    last = {text: scores(head, tail, accuracy) for text in final}
    start = {text: scores(6.0, 6.0) for text in final}
    return {
        "name": f"{arm}-decay{decay:g}-seed{seed}", "arm": arm, "weight_decay": decay, "seed": seed, "steps": 4, "parameters": 100,
        "decayed_parameters": 90, "learning_rate_sum": 0.5, "decay_product": 0.5 * decay, "diverged": None, "final": final,
        "curve": [{"step": 0, **start}, {"step": 4, **last}], "slope": slope or {"absent": "too few types."},
    }  # fmt: skip


def reported(runs, **changes):
    settings = read_config(CONFIG | {"weight_decay": sorted({r["weight_decay"] for r in runs}), "seeds": [0, 1, 2]} | changes)
    report, outcome = sweep_report(settings, runs, {"device": "cpu"})
    assert Report.from_json(report.to_json()) == report and report.to_html() and report.to_markdown()
    return report, outcome


def three(tails):
    """Weight decay 0 and 2 with three seeds each; the tail changes by `tails`."""
    base = [run(0.0, seed, 3.0 + 0.1 * seed, 6.0 + 0.2 * seed) for seed in range(3)]
    return base + [run(2.0, seed, 3.0 + 0.1 * seed, 6.0 + 0.2 * seed + change) for seed, change in enumerate(tails)]


def test_a_clear_change_of_the_gap_is_said():
    report, outcome = reported(three([0.30, 0.31, 0.32]))
    (train, held_out) = report.summary
    assert train.startswith(
        "sweep, the train text, weight decay 2 (Σ lr·λ = 1.00) against 0: the mean over tokens changes by +0.103 nats, "
    )
    assert "the head changes by +0.000, the tail by +0.310, so the gap between them grows by 0.310 nats (95 % interval +0.285 to +0.335, 3 seeds): rare tokens pay." in held_out  # fmt: skip
    gap = outcome["arms"]["sweep"]["held_out"]["differences"]["2"]["rare_minus_head"]
    assert gap["mean"] == pytest.approx(0.31) and gap["values"] == pytest.approx([0.30, 0.31, 0.32])
    assert report.metrics[1].value == pytest.approx(0.31) and report.metrics[1].n == 3
    shrinks = reported(three([-0.30, -0.31, -0.32]))[0].summary[0]
    assert "the gap between them shrinks by 0.310 nats" in shrinks and shrinks.endswith("3 seeds).")  # nobody's loss grows
    head_pays = three([0, 0, 0])[:3] + [run(2.0, seed, 3.5 + 0.1 * seed, 6.0 + 0.2 * seed + 0.01 * seed) for seed in range(3)]
    assert reported(head_pays)[0].summary[0].endswith("3 seeds): frequent tokens pay.")


def test_a_change_that_seeds_do_not_agree_on_is_too_weak_to_tell():
    assert (
        "so the gap between them by +0.100 nats, which is too weak to tell from chance" in reported(three([0.3, -0.2, 0.2]))[0].summary[0]
    )
    one = reported([run(0.0, 0, 3.0, 6.0), run(2.0, 0, 3.0, 9.0)])[0]
    assert "so the gap between them by +3.000 nats, which with one seed is too weak to tell" in one.summary[0]
    assert "With one seed there is no interval." in one.to_markdown()


def test_differences_take_only_seeds_that_have_both_runs():
    runs = [*three([0.3, 0.3, 0.3])[:5], {**run(2.0, 2, 0, 0), "diverged": {"step": 3, "loss": "nan"}, "final": {}, "curve": []}]
    report, outcome = reported(runs)
    assert len(outcome["arms"]["sweep"]["train"]["differences"]["2"]["tail"]["values"]) == 2
    assert "sweep: 1 of 6 runs diverged and are in no figure: sweep-decay2-seed2 (loss nan at step 3)." in report.summary


def test_no_zero_among_the_weight_decays():
    report, outcome = reported([run(0.5, 0, 3.0, 6.0), run(1.0, 0, 3.0, 6.5)])
    assert outcome["arms"]["sweep"]["base"] == 0.5 and "weight decay 1 (Σ lr·λ = 0.50) against 0.5" in report.summary[0]


def test_whether_the_text_is_memorised_is_said():
    assert "so the text is memorised, as in the paper" in reported([run(0.0, 0, 0.01, 0.2, accuracy=0.97)])[0].to_markdown()
    assert "so the text is not memorised" in reported([run(0.0, 0, 3, 4, accuracy=0.94)])[0].to_markdown()


@pytest.mark.parametrize(
    "slopes, median, words",
    [
        ((-0.5, -0.49, -0.51), 0.1, "Weight decay 0: -0.500, 95 % interval over 3 seeds -0.525 to -0.475; -0.5 lies inside."),
        ((-0.3, -0.29, -0.31), 0.1, "; -0.5 lies outside."),
        ((-0.02, -0.02, -0.02), 4.0, "Weight decay 0: -0.020, which says nothing: the median loss of a type is 4.00 nats"),
        ((), 0, "Weight decay 0: no run has a slope."),
    ],
)
def test_the_slope_is_read_only_where_it_can_be(slopes, median, words):
    found = [{"slope": s, "interval": [s - 0.1, s + 0.1], "types": 50, "left_out": 0, "least_count": 5, "median_nats": median, "is_readable": median < 1} for s in slopes]  # fmt: skip
    runs = [run(0.0, seed, 3.0, 4.0, slope=found[seed] if found else None) for seed in range(3)]
    assert words in reported(runs)[0].to_markdown()


def test_a_text_without_a_tail():
    runs = three([0.3, 0.3, 0.3])
    for one in runs:
        for where in (one["final"], *one["curve"]):
            del where["held_out"]["parts"]["tail"], where["held_out"]["bins"]["1"]
    report, outcome = reported(runs)
    assert report.summary[1].endswith("; the text has no tokens of the tail or of the head.")
    assert outcome["arms"]["sweep"]["held_out"]["differences"]["2"]["tail"] is None and len(report.metrics) == 1


def test_the_rarest_types_stand_in_for_a_tail_that_the_train_text_does_not_have():
    """Where more than 5 % of the text are types seen once: all types of one count are of one part."""
    runs = three([0.30, 0.31, 0.32])
    for one in runs:
        for where in (one["final"], *one["curve"]):
            del where["train"]["parts"]["tail"]
    report, outcome = reported(runs)
    for sentence in report.summary:
        assert "the types seen 1 to 2 times by +0.310, so the gap between them grows by 0.310 nats" in sentence
    assert "The rarest types make up more than 5 % of the train text, so none is in its tail; the types seen 1 to 2 times there" in report.to_markdown()  # fmt: skip
    found = outcome["arms"]["sweep"]
    assert found["rare"] == "types seen 1 to 2 times" and found["train"]["figures"]["0"]["tail"] is None
    assert found["held_out"]["figures"]["0"]["rare"] == found["held_out"]["figures"]["0"]["tail"]  # in this text they are the same tokens
    assert reported(three([0, 0, 0]))[1]["arms"]["sweep"]["rare"] == "tail"


def test_figures_of_an_arm():
    settings = read_config(CONFIG | {"weight_decay": [0, 2]})
    arm = ArmFigures("sweep", settings.arms["sweep"], three([0.3, 0.3, 0.3]))
    assert arm.measure("train", 0.0, "rare_minus_head").values == pytest.approx((3.0, 3.1, 3.2))
    assert arm.groups("train") == [("bins", "1"), ("bins", "3"), ("bins", "5"), ("parts", "head"), ("parts", "torso"), ("parts", "tail")]
    assert arm.curve("train", 0.0, ("parts", "head")) == pytest.approx([6.0, 3.1]) and arm.steps == [0, 4]
    assert arm.speed("train", 0.0, ("parts", "head")).values[0] == pytest.approx(0.25)


def test_learning_speed():
    assert learning_speed([0, 1, 10], [5.0, 5.0, 5.0]) == 0
    assert learning_speed([0, 10], [5.0, 0.0]) == 0.5
    assert learning_speed([0, 1, 100], [5.0, 0.0, 0.0]) == pytest.approx(1 - 0.5 / 100)


def test_intervals_over_seeds():
    assert Replicates((1.0,)).interval is None and not Replicates((1.0,)).is_clear
    low, high = Replicates((1.0, 2.0)).interval
    assert (low, high) == pytest.approx((1.5 - 12.7062 / 2, 1.5 + 12.7062 / 2), abs=1e-4) and not Replicates((1.0, 2.0)).is_clear
    assert Replicates((1.0, 1.01, 0.99)).is_clear and Replicates((-1.0, -1.01, -0.99)).is_clear


@needs_chromium
def test_its_page_is_readable():
    require_readable({"sweep": reported(three([0.5, 0.6, 0.7]))[0].to_html()})
