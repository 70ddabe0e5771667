"""Confidence against what is right, and what a threshold saves."""

import json

import numpy as np
import pytest
from toolken_results import decided_of, positions_of

from pydisp.toolken.decisions import Policy
from pydisp.toolken.evaluating.calibration_curves import calibration_curves, thinned
from pydisp.toolken.evaluating.selection import NONE, WORD, Decided, Positions, decide


def by_hand(gold, best, confidence) -> tuple[Positions, Decided]:
    count = len(gold)
    gold, best = np.array(gold), np.array(best)
    positions = Positions(
        np.zeros((count, 3), np.float32), np.zeros(count, np.float32), gold, np.zeros(count, np.int64), ("a",), np.ones(1, bool)
    )
    fired = best >= 0
    zeros = np.zeros(count, dtype=np.int64)
    return positions, Decided(fired, best, best, np.array(confidence, dtype=float), np.zeros(count), zeros, zeros)


def test_a_threshold_saves_calls_and_costs_right_ones():
    # right at .9, wrong tool at .8, before a word at .6 and .5, right at .5; the last position has no tool on top
    positions, done = by_hand([0, 1, WORD, WORD, 2, 1], [0, 0, 1, 2, 2, NONE], [0.9, 0.8, 0.6, 0.5, 0.5, np.nan])
    found = calibration_curves([positions], [done])
    assert found.count == 5
    saving = found.saving
    assert saving.thresholds.tolist() == [np.inf, 0.9, 0.8, 0.6, 0.5]
    assert saving.calls_saved == pytest.approx([1, 0.8, 0.6, 0.4, 0])
    assert saving.right == pytest.approx([0.4, 0.6, 0.6, 0.4, 0.4])
    assert saving.unneeded == pytest.approx([0, 0, 0, 0.5, 1])
    assert found.risk.risk[-1] == pytest.approx(3 / 5) and sum(part.count for part in found.bins) == 5
    values = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert values["calls_saved"]["thresholds"] == [None, 0.9, 0.8, 0.6, 0.5] and values["decisions"] == 5
    assert values["calls_saved"]["right"] == saving.right.tolist() and values["calls_saved"]["unneeded"] == [0, 0, 0, 0.5, 1]
    assert values["risk_coverage"]["risk"][-1] == pytest.approx(3 / 5) and len(values["reliability"]) == len(found.bins)


def test_without_a_word_at_which_a_tool_is_on_top_nothing_is_unneeded():
    positions, done = by_hand([0, 1], [0, 0], [0.9, 0.8])
    assert calibration_curves([positions], [done]).saving.unneeded is None


def test_where_no_tool_is_on_top_there_is_no_curve():
    positions, done = by_hand([0, 1], [NONE, NONE], [np.nan, np.nan])
    assert calibration_curves([positions], [done]) is None
    assert calibration_curves([], []) is None


def test_seeds_are_put_together():
    positions = [positions_of(seed=seed) for seed in range(2)]
    decided = decided_of(positions)["reject"]
    both = calibration_curves(positions, decided)
    assert both.count == sum(calibration_curves([one], [done]).count for one, done in zip(positions, decided, strict=True))


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
def test_the_curve_says_what_the_policy_would_do(threshold):
    positions = positions_of(seed=0)
    done = decide(positions, Policy("calibrated", 3, 1.2, threshold))
    saving = calibration_curves([positions], [done]).saving
    step = int((saving.thresholds >= threshold).sum()) - 1
    fired = int(done.fired.sum())
    assert saving.calls_saved[step] == pytest.approx(1 - done.called.sum() / fired)
    is_right = np.where(positions.gold >= 0, done.tool == positions.gold, ~done.called)[done.fired]
    assert saving.right[step] == pytest.approx(is_right.mean())


def test_thinned_points_keep_the_ends():
    assert thinned(5, 10).tolist() == [0, 1, 2, 3, 4] and thinned(0, 10).tolist() == []
    assert thinned(1000, 11)[[0, -1]].tolist() == [0, 999] and len(thinned(1000, 11)) == 11
