"""How long contexts may be: what is kept of the score in the shortest."""

import numpy as np
import pytest
from simulated_holobench import benchmark, item, scored

from pydisp.holobench.figures.breakdowns import Shares
from pydisp.holobench.figures.effective_length import HELD, LOST, OPEN, effective_length, ratio_interval

LENGTHS = (512, 1024, 2048, 4096)


def simulated(kept, draws=60, seed=0, measure="f1", base=0.8, noise=0.1):
    """Effective length of scores that keep the given shares of `base` (above chance, for the accuracy) at LENGTHS."""
    generator = np.random.default_rng(seed)
    of_draw = {f"{draw:03d}": generator.normal(0, noise) for draw in range(draws)}
    every = []
    for one in benchmark(draws, lengths=LENGTHS[: len(kept)]):
        share = kept[LENGTHS.index(one.length)]
        if measure == "accuracy":
            every.append(scored(one, 0, float(generator.random() < 0.25 + (base - 0.25) * share)))
        else:
            every.append(scored(one, float(np.clip(base * share * (1 + of_draw[one.draw]) + generator.normal(0, 0.03), 0, 1))))
    return effective_length(every, measure, Shares())


def test_lengths_are_held_up_to_the_one_that_is_lost():
    found = simulated([1, 0.98, 0.95, 0.5])
    assert [step.verdict for step in found.steps] == [HELD, HELD, LOST]
    assert (found.shortest, found.held, found.lost) == (512, 2048, 4096)
    assert found.steps[2].ratio == pytest.approx(0.5, abs=0.05) and found.steps[2].interval[0] < 0.5 < found.steps[2].interval[1]


def test_a_length_near_the_limit_is_left_open_and_ends_what_is_held():
    found = simulated([1, 0.85, 1.0], draws=20)
    assert [step.verdict for step in found.steps] == [OPEN, HELD]
    assert found.held == 512 and found.lost is None


def test_the_same_scores_at_all_lengths_are_held_only_with_enough_draws():
    many = effective_length([scored(one, 1.0) for one in benchmark(30, lengths=LENGTHS)], "f1", Shares())
    few = effective_length([scored(one, 1.0) for one in benchmark(6, lengths=LENGTHS)], "f1", Shares())
    assert many.held == 4096 and [step.verdict for step in few.steps] == [OPEN] * 3


@pytest.mark.parametrize("right", [0, 1])
def test_nothing_is_claimed_if_the_shortest_has_next_to_no_score(right):
    every = [scored(one, float(one.draw == "000" and right)) for one in benchmark(18, lengths=(512, 1024))]
    found = effective_length(every, "f1", Shares())
    assert not found.is_claimed and found.held is None and found.lost is None


def test_the_accuracy_counts_above_chance():
    guessing = simulated([1, 1], measure="accuracy", base=0.25, draws=100)
    assert not guessing.is_claimed and guessing.held is None
    to_chance = simulated([1, 0.0], measure="accuracy", base=0.9, draws=100)
    assert to_chance.is_claimed and to_chance.lost == 1024  # raw accuracy falls from 0.9 to 0.25 only
    assert to_chance.steps[0].ratio == pytest.approx(0, abs=0.2)


def test_only_what_both_lengths_have_is_compared():
    # easy draws, classes, placements and amounts are missing at one of the lengths
    short = [item(f"{draw:02d}", kind="count", amount=100) for draw in range(30)]
    long = [item(f"{draw:02d}", kind="count", amount=100, length=1024) for draw in range(30)]
    extra = [
        item("00", kind="filter"),
        item("01", placement="end"),
        item("02", kind="count", amount=800),
        item("77", kind="count", amount=100),
    ]
    every = [*(scored(one, 0.5 + int(one.draw) % 2 / 10) for one in (*short, *long)), *(scored(one, 1.0) for one in extra)]
    (step,) = effective_length(every, "f1", Shares(amounts=(100, 800))).steps
    assert step.ratio == pytest.approx(1) and step.draws == 30


def test_items_without_a_value_and_single_lengths_give_nothing():
    assert effective_length([scored(one, 1.0) for one in benchmark(9, lengths=(512,))], "f1", Shares()) is None
    assert effective_length([scored(one, 1.0) for one in benchmark(9)], "accuracy", Shares()) is None
    assert effective_length([], "f1", Shares()) is None


def test_lengths_without_a_draw_in_common_are_left_open():
    every = [scored(item(str(draw), length=length), 1.0) for length, draws in ((512, range(20)), (1024, range(20, 40))) for draw in draws]
    (step,) = effective_length(every, "f1", Shares()).steps
    assert (step.ratio, step.interval, step.draws, step.verdict) == (None, None, 0, OPEN)


def test_a_ratio_holds_the_truth_and_is_wide_where_the_denominator_is_uncertain():
    generator = np.random.default_rng(4)
    held = 0
    for _ in range(100):
        lower = generator.uniform(0.2, 1, 20)
        held += (lambda low, high: low <= 0.7 <= high)(*ratio_interval(0.7 * lower * generator.uniform(0.8, 1.2, 20), lower, np.ones(20)))
    assert held >= 90
    low, high = ratio_interval(np.array([1.0, 0, 0, 0]), np.array([1.0, 0, 0, 0]), np.ones(4))
    assert low == 0 and high is None


def test_as_dict_says_what_is_needed():
    shown = simulated([1, 0.4], draws=30).as_dict()
    assert (shown["shortest"], shown["held"], shown["lost"], shown["kept"], shown["is_claimed"]) == (512, 512, 1024, 0.85, True)
    assert shown["steps"][0]["verdict"] == "lost" and shown["steps"][0]["draws"] == 30
