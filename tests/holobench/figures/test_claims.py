"""The findings of the paper, tried on scores whose truth is known."""

import numpy as np
import pytest
from simulated_holobench import benchmark, draws_effects, item, scored

from pydisp.holobench.figures.claims import (
    OPPOSITE,
    SEEN,
    WEAK,
    amount_against_length,
    claims,
    class_differences,
    difference_of_groups,
    extreme_against_aggregate,
)

GRID = dict(lengths=(512, 1024, 2048, 4096), amounts=(100, 200, 400))


def simulated(draws=54, *, amount=0.0, length=0.0, classes=None, seed=0, noise=0.1, grid=GRID):
    """Scores with slopes per doubling and effects of classes and draws."""
    generator = np.random.default_rng(seed)
    items = benchmark(draws, **grid)
    of_draw = draws_effects(generator, items, 0.1)
    return [
        scored(
            one,
            0.5 + of_draw[one.draw] + (classes or {}).get(one.kind, 0.0) + amount * np.log2(one.amount / 200)
            + length * np.log2(one.length / 1024) + noise * generator.standard_normal(),
        )
        for one in items
    ]  # fmt: skip


def test_slopes_are_found_with_intervals_that_hold_them():
    for seed in range(5):
        figures = amount_against_length(simulated(amount=-0.08, length=-0.02, seed=seed), "f1").figures
        assert figures["amount"]["mean"] == pytest.approx(-0.08, abs=0.02) and figures["length"]["mean"] == pytest.approx(-0.02, abs=0.02)
        assert figures["amount"]["interval"][0] < -0.08 + 0.01 and figures["amount"]["interval"][1] > -0.08 - 0.01
    held = [
        (lambda low, high: low <= -0.08 <= high)(
            *amount_against_length(simulated(18, amount=-0.08, seed=seed), "f1").figures["amount"]["interval"]
        )
        for seed in range(100)
    ]
    assert sum(held) >= 88


@pytest.mark.parametrize(
    ("amount", "length", "verdict"),
    [(-0.1, -0.02, SEEN), (-0.02, -0.1, OPPOSITE), (-0.06, -0.06, WEAK), (0.0, 0.0, WEAK), (0.1, 0.0, WEAK), (0.05, -0.05, OPPOSITE)],
)
def test_amount_matters_more_only_if_it_costs_and_costs_more(amount, length, verdict):
    assert amount_against_length(simulated(amount=amount, length=length), "f1").verdict == verdict


def test_amount_and_length_that_move_together_cannot_be_told_apart():
    for grid in (dict(lengths=(512, 1024, 2048)), dict(lengths=(512,), amounts=(100, 200)), dict(lengths=(512, 1024), amounts=(100,))):
        claim = amount_against_length(simulated(amount=-0.2, grid=grid), "f1")
        assert claim.verdict == WEAK and "do not vary apart" in claim.words and claim.figures == {}


def test_few_draws_have_no_slopes():
    claim = amount_against_length(simulated(4, amount=-0.2), "f1")
    assert claim.verdict == WEAK and "5 draws" in claim.words


def test_differences_between_draws_are_no_effect_of_amounts():
    # draws with many relevant facts are hard, whatever their amount
    every = []
    for draw in range(40):
        for length in (512, 1024, 2048):
            for amount in (100, 200) if draw % 2 else (200, 400):
                every.append(scored(item(f"{draw:02d}", length=length, amount=amount), 0.8 if draw % 2 else 0.3))
    claim = amount_against_length(every, "f1")
    assert claim.figures["amount"]["mean"] == pytest.approx(0, abs=1e-9)


def test_classes_that_differ_are_seen_with_their_spread():
    classes = {"extreme": 0.3, "aggregate": -0.3}
    truth = np.std([classes.get(kind, 0.0) for kind in ("extreme", "aggregate", *"1234567")])
    claim = class_differences(simulated(classes=classes), "f1")
    assert claim.verdict == SEEN and claim.figures["p"] < 0.01
    assert claim.figures["spread"] == pytest.approx(truth, abs=0.05)
    assert "aggregate" in claim.words and "extreme" in claim.words


def test_classes_that_do_not_differ_are_seldom_called_different():
    verdicts, spreads = [], []
    for seed in range(30):
        claim = class_differences(simulated(18, seed=seed, grid=dict(lengths=(512, 1024))), "f1", seed=seed)
        verdicts.append(claim.verdict)
        spreads.append(claim.figures["spread"])
    assert verdicts.count(SEEN) <= 6 and set(verdicts) <= {SEEN, WEAK} and np.median(spreads) < 0.05  # the noise alone has 0.07


def test_classes_that_look_alike_are_too_weak_to_tell():
    alike = [scored(one, 0.5 + 0.001 * (int(one.draw) // 9 % 3)) for one in benchmark(54)]
    nearly_right = [scored(one, 0.95 if one.draw == "004" else 1.0) for one in benchmark(27, lengths=(512,))]
    for every in (alike, nearly_right):
        claim = class_differences(every, "f1")
        assert claim.verdict == WEAK and "opposite" not in claim.sentence and " to 0" not in claim.words


def test_classes_that_differ_by_rare_failures_are_never_called_alike():
    generator = np.random.default_rng(8)
    verdicts = []
    for seed in range(10):  # the true standard deviation of the means is 0.06
        every = [scored(one, float(generator.random() > (0.19 if one.kind == "join" else 0.0))) for one in benchmark(90, lengths=(512,))]
        verdicts.append(class_differences(every, "f1", seed=seed).verdict)
    assert set(verdicts) <= {SEEN, WEAK}


def test_classes_that_share_their_draws_are_compared_within_them():
    generator = np.random.default_rng(5)
    every = []
    for draw in range(12):
        level = generator.uniform(0.1, 0.8)  # of the draw; far larger than what the class does
        every += [scored(item(str(draw), kind=kind), level + step) for kind, step in (("count", 0.0), ("join", 0.1))]
    assert class_differences(every, "f1").verdict == SEEN


@pytest.mark.parametrize("f1", [0.0, 1.0])
def test_scores_that_are_all_the_same_say_nothing_of_classes(f1):
    claim = class_differences([scored(one, f1) for one in benchmark(54)], "f1")
    assert claim.verdict == WEAK and claim.words == f"every F1 is {100 * f1:.0f} %."


def test_a_class_of_one_draw_is_left_out():
    every = [scored(item(str(draw), kind="count"), 0.5) for draw in range(4)] + [scored(item("9", kind="join"), 1.0)]
    claim = class_differences(every, "f1")
    assert claim.verdict == WEAK and "two classes" in claim.words


@pytest.mark.parametrize(("gap", "verdict"), [(0.3, SEEN), (-0.3, OPPOSITE), (0.0, WEAK)])
def test_extreme_against_aggregate(gap, verdict):
    claim = extreme_against_aggregate(simulated(90, classes={"extreme": gap}), "f1")
    low, high = claim.figures["difference"]["interval"]
    assert claim.verdict == verdict and low < gap < high


def test_groups_that_share_draws_are_paired():
    generator = np.random.default_rng(6)
    levels = generator.uniform(0, 0.8, 15)
    first = [(level + 0.1 + 0.03 * generator.standard_normal(), str(draw)) for draw, level in enumerate(levels)]
    paired = difference_of_groups(first, [(level, str(draw)) for draw, level in enumerate(levels)])
    apart = difference_of_groups(first, [(level, str(100 + draw)) for draw, level in enumerate(levels)])
    assert paired.value == pytest.approx(apart.value) == pytest.approx(0.1, abs=0.02)
    assert paired.interval[0] > 0 > apart.interval[0]


def test_the_difference_of_two_groups_covers():
    generator = np.random.default_rng(7)
    held = 0
    for _ in range(300):
        first, second = (
            [(float(generator.random() < mean), f"{name}{draw}") for draw in range(5)] for name, mean in (("a", 0.7), ("b", 0.4))
        )
        low, high = difference_of_groups(first, second).interval
        held += low <= 0.3 <= high
    assert held / 300 >= 0.92


def test_a_claim_is_a_sentence_with_one_of_three_verdicts():
    for every in (simulated(amount=-0.1, classes={"extreme": 0.2}), simulated(9), [], [scored(item(), 1.0)]):
        found = claims(every, "f1")
        assert [claim.name for claim in found] == ["amount_against_length", "class_differences", "extreme_against_aggregate"]
        for claim in found:
            assert claim.verdict in (SEEN, OPPOSITE, WEAK) and claim.sentence.endswith(".") and claim.statement in claim.sentence
            assert claim.as_dict()["verdict"] == claim.verdict


def test_accuracy_alone_can_be_tried():
    every = [scored(one, 0.0, accuracy=float(int(one.draw) % 3 > 0)) for one in benchmark(54, **GRID)]
    assert "accuracy" in claims(every, "accuracy")[1].words
    assert claims([scored(item(), 1.0)], "accuracy")[0].verdict == WEAK


def test_equal_scores_have_no_slopes():
    claim = amount_against_length([scored(one, 0.0) for one in benchmark(18, **GRID)], "f1")
    assert claim.verdict == WEAK and claim.words == "every F1 is 0 %." and not claim.figures
