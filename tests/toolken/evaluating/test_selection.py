"""Decisions at labelled positions, from scores."""

import numpy as np
import pytest
from toolken_results import TOOLS, positions_of, without_second

from pydisp.toolken.calibration_measures import auroc
from pydisp.toolken.decisions import Policy
from pydisp.toolken.evaluating.selection import NONE, WORD, Positions, decide


def by_hand(second=None) -> Positions:
    """Three problems: one with a word and then a call, one with a call, one without; three tools.

    A tool is above every word at positions 1 (tool 0, gold 1), 2 (tool 2, gold 2) and 3 (tool 1, before a word).
    """
    first = np.array([[0, 1, 2], [5, 4, 0], [0, 3, 6], [1, 4, 1], [0, 0, 0]], dtype=np.float32)
    words = np.array([3, 1, 5, 2, 0], dtype=np.float32)  # the last one is a tie, which is the word's
    gold = np.array([WORD, 1, 2, WORD, WORD])
    rows = {} if second is None else {"own": np.array(second, dtype=np.float32)}
    return Positions(first, words, gold, np.array([0, 0, 1, 2, 2]), ("g", "g", "h"), np.array([True, True, False]), rows)


NAN = float("nan")
# candidates with k = 2 are (2, 1), (0, 1), (2, 1), (1, 0), (0, 1); REJ last
SECOND = [[NAN] * 3, [1.0, 3.0, 2.0], [0.0, 0.5, 2.0], [1.0, 0.0, 4.0], [NAN] * 3]


def test_toolkengpt_calls_the_best_tool_where_one_is_above_every_word():
    done = decide(by_hand(), Policy("toolkengpt", k=2))
    assert done.fired.tolist() == [False, True, True, True, False]
    assert done.tool.tolist() == [NONE, 0, 2, 1, NONE] and done.called.tolist() == done.fired.tolist()
    assert done.rank.tolist() == [0, 2, 1, 0, 0] and not done.rejected.any()
    assert done.confidence[1] == pytest.approx(np.exp(5) / np.exp([5, 4, 0]).sum())
    assert np.isnan(done.confidence[[0, 4]]).all()


def test_rerank_calls_the_best_candidate_by_the_second_scores_and_never_rejects():
    done = decide(by_hand(SECOND), Policy("rerank", k=2))
    assert done.tool.tolist() == [NONE, 1, 1, 1, NONE]
    assert done.rank.tolist() == [0, 1, 2, 0, 0] and done.first_rank.tolist() == [0, 2, 1, 0, 0]


def test_reject_calls_none_where_rej_is_best():
    done = decide(by_hand(SECOND), Policy("reject", k=2))
    assert done.tool.tolist() == [NONE, 1, NONE, NONE, NONE]
    assert done.rejected.tolist() == [False, False, True, True, False]
    assert done.best.tolist() == [NONE, 1, 1, 1, NONE]


def test_calibrated_calls_from_the_threshold_on():
    confidence = np.exp(3 / 2) / np.exp(np.array([1, 3, 2]) / 2).sum()
    for threshold, tool in ((confidence - 0.001, 1), (confidence + 0.001, NONE)):
        done = decide(by_hand(SECOND), Policy("calibrated", k=2, temperature=2.0, threshold=threshold))
        assert done.tool[1] == tool and done.confidence[1] == pytest.approx(confidence)


def test_a_gold_tool_outside_the_candidates_keeps_its_first_place():
    positions = by_hand([[NAN] * 2, [0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [NAN] * 2])
    assert decide(positions, Policy("reject", k=1)).rank.tolist() == [0, 2, 1, 0, 0]


def test_of_equal_scores_the_earlier_tool_is_first():
    positions = Positions(
        np.full((3, 3), 2, np.float32), np.zeros(3, np.float32), np.array([0, 1, 2]), np.arange(3), ("a", "b", "c"), np.ones(3, bool)
    )
    assert decide(positions, Policy("toolkengpt", k=2)).rank.tolist() == [1, 2, 3]
    second = {"own": np.zeros((3, 3), np.float32)}
    reranked = Positions(
        positions.first, positions.best_word, positions.gold, positions.problem, positions.groups, positions.needs_tool, second
    )
    assert decide(reranked, Policy("rerank", k=2)).rank.tolist() == [1, 2, 3]


def test_a_problem_shows_its_need_at_its_first_call_or_its_first_position():
    assert by_hand().decision.tolist() == [1, 2, 3]
    without = Positions(
        np.zeros((1, 2), np.float32), np.zeros(1, np.float32), np.array([-1]), np.array([1]), ("a", "b"), np.array([True, False])
    )
    assert without.decision.tolist() == [-1, 0]


@pytest.mark.parametrize("mode", ["toolkengpt", "rerank", "reject", "calibrated", "no_docs", "shuffled_docs"])
def test_the_need_orders_positions_as_the_decisions_do(mode):
    for seed in range(5):
        positions = positions_of(seed=seed)
        done = decide(positions, Policy(mode, 3, 1.2, 0.6))
        assert 0 < done.called.sum() < len(done.called)
        assert auroc(done.need, done.called) == 1  # a mode that calls stands above one that does not
        assert done.need[done.fired].min() > done.need[~done.fired].max()


def test_a_position_that_fires_must_have_been_read():
    with pytest.raises(ValueError, match="'reject' needs the second scores of 2 tools, there are none"):
        decide(by_hand(), Policy("reject", k=2))
    with pytest.raises(ValueError, match="there are those of 2 tools"):
        decide(by_hand(SECOND), Policy("reject", k=1))
    unread = [row.copy() for row in SECOND]
    unread[2] = [0.0, NAN, 1.0]
    with pytest.raises(ValueError, match="fires at 1 positions without second scores"):
        decide(by_hand(unread), Policy("rerank", k=2))


def test_the_mode_without_tools_decides_nothing():
    with pytest.raises(ValueError, match="'none' has no tools"):
        decide(by_hand(), Policy("none"))


def test_controls_have_second_scores_of_their_own():
    positions = positions_of(seed=0)
    own, shuffled = (decide(positions, Policy(mode, 3)) for mode in ("reject", "shuffled_docs"))
    assert (own.tool != shuffled.tool).any()
    with pytest.raises(ValueError, match="there are none"):
        decide(without_second(positions), Policy("no_docs", 3))


def test_no_position_is_no_decision():
    empty = Positions(
        np.zeros((0, len(TOOLS)), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64), (), np.zeros(0, bool)
    )
    done = decide(empty, Policy("reject", 3))
    assert len(done.tool) == len(done.need) == 0


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="scores are of"):
        Positions(
            np.zeros((2, 3), np.float32), np.zeros(1, np.float32), np.zeros(2, np.int64), np.zeros(2, np.int64), ("a",), np.ones(1, bool)
        )
