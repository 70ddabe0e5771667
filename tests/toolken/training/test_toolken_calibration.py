"""Calibration: the temperature of the lowest loss, the threshold of the most right decisions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pydisp.toolken.training.calibration import NEVER, best_temperature, best_threshold, calibrated


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
def test_the_temperature_of_sampled_choices_is_found(temperature):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(20_000, 4, generator=generator).double()
    right = torch.multinomial(torch.softmax(scores / temperature, -1), 1, generator=generator)[:, 0]
    assert best_temperature(scores, right) == pytest.approx(temperature, rel=0.1)


def test_the_temperature_of_a_case_written_out():
    # two scores 1 apart, right in 3 of 4: softmax gives 3/4 at a difference of ln 3
    scores, right = torch.tensor([[1.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1])
    assert best_temperature(scores, right) == pytest.approx(1 / math.log(3), rel=1e-3)


def test_positions_without_a_right_candidate_do_not_count_for_the_temperature():
    scores, right = torch.tensor([[1.0, 0.0]] * 5), torch.tensor([0, 0, 0, 1, -1])
    assert best_temperature(scores, right) == pytest.approx(1 / math.log(3), rel=1e-3)
    assert best_temperature(scores, torch.full((5,), -1)) == 1.0


def test_scores_that_separate_perfectly_have_a_temperature_too():
    assert best_temperature(torch.tensor([[0.5, 0.0]] * 4), torch.zeros(4, dtype=torch.int64)) == pytest.approx(0.05, rel=0.01)


def test_the_threshold_of_a_case_written_out():
    confidence = torch.tensor([0.9, 0.8, 0.6, 0.4])
    calls, rejections = torch.tensor([True, True, False, False]), torch.tensor([False, False, True, True])
    threshold, share = best_threshold(confidence, calls, rejections)
    assert threshold == pytest.approx(0.8) and share == 1.0


def test_of_equally_good_thresholds_the_largest_is_taken():
    confidence = torch.tensor([0.9, 0.7, 0.5])
    # the one at 0.7 is wrong either way: 0.9 and 0.7 are equally good
    threshold, share = best_threshold(confidence, torch.tensor([True, False, False]), torch.tensor([False, False, True]))
    assert threshold == pytest.approx(0.9) and share == pytest.approx(2 / 3)


def test_calling_never_may_be_the_best():
    assert best_threshold(torch.tensor([0.9, 0.3]), torch.tensor([False, False]), torch.tensor([True, True])) == (NEVER, 1.0)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.8, 1.0]), st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_no_threshold_has_more_right_decisions_and_no_larger_one_as_many(cases):
    confidence, calls, rejections = (torch.tensor(column) for column in zip(*cases, strict=True))
    rejections &= ~calls

    def share(level: float) -> float:
        return torch.where(confidence.double() >= level, calls, rejections).double().mean().item()

    threshold, found = best_threshold(confidence, calls, rejections)
    assert share(threshold) == found
    for level in [0.0, *confidence.double().tolist(), NEVER]:
        assert share(level) < found or share(level) == found and level <= threshold


SCORES = torch.tensor([[4.0, 0.0, 1.0], [0.0, 3.0, 1.0], [2.0, 0.0, 1.5], [0.0, 5.0, 1.0]])
RIGHT = torch.tensor([0, 1, 2, 2])


def test_both_are_chosen_where_a_tool_fires_only():
    scores, right = SCORES.repeat(10, 1), RIGHT.repeat(10)
    fires = torch.tensor([True, True, True, False]).repeat(
        10
    )  # the last is wrong at a large probability, but nothing would be decided there
    found = calibrated(scores, right, fires, k=2, positions=500)
    assert (found["k"], found["positions"], found["fired"], found["gold_fired"]) == (2, 500, 30, 20)
    assert found["temperature"] == best_temperature(scores[fires], right[fires]) != best_temperature(scores, right)
    probabilities = torch.softmax(scores.double() / found["temperature"], -1)[:, :2].amax(1)
    assert found["threshold"] == pytest.approx(probabilities[1].item()) and found["right_decisions"] == 1.0
    assert found["auroc"] == 1.0 and 0 <= found["ece"] <= 1 and "note" not in found
    assert {type(value) for value in found.values()} <= {int, float}


def test_a_gold_tool_that_is_no_candidate_counts_as_one_that_fired():
    right = torch.cat([torch.full((15,), -1), torch.full((5,), 2)])
    found = calibrated(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), right, torch.ones(20, dtype=torch.bool), k=2)
    assert found["fired"] == found["positions"] == 20 and found["gold_fired"] == 15 and found["threshold"] == NEVER


@pytest.mark.parametrize(
    ("fired", "gold", "is_chosen"),
    [(20, 10, True), (19, 10, False), (20, 0, False), (20, 20, False), (20, 1, True), (20, 19, True), (0, 0, False)],
)
def test_too_few_that_fire_or_one_kind_only_leave_the_defaults_and_a_note(fired, gold, is_chosen):
    right = torch.tensor([0] * gold + [2] * (fired - gold) + [2] * 30)
    fires = torch.arange(len(right)) < fired
    found = calibrated(torch.tensor([[0.0, 0.0, 4.0]]).repeat(len(right), 1), right, fires, k=2)
    assert (found["fired"], found["gold_fired"]) == (fired, gold)
    assert ("note" not in found) == ("ece" in found) == is_chosen
    if not is_chosen:
        assert found["temperature"] == 1.0 and found["threshold"] == 0.5
        assert f"a tool fired at {fired} of {len(right)} validation positions, at {gold} of them rightly" in found["note"]
