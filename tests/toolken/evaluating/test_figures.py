"""Figures of modes, from decisions and answers."""

import json

import numpy as np
import pytest
from toolken_results import TOOLS, decided_of, outcomes_of, positions_of

from pydisp.toolken.evaluating.figures import figures
from pydisp.toolken.evaluating.measured import compared
from pydisp.toolken.evaluating.outcomes import Outcome
from pydisp.toolken.evaluating.selection import NONE, WORD, Decided, Positions

KEYS = {"selection", "accuracy", "interval", "calls", "unneeded", "failed", "rejected", "repeated", "ece", "auroc"}


@pytest.fixture(scope="module")
def simulated():
    positions = [positions_of(seed=seed) for seed in range(3)]
    decided = decided_of(positions)
    return positions, decided, outcomes_of(positions, decided)


def by_hand(tool, *, fired=None, confidence=0.9) -> tuple[Positions, Decided]:
    """Two problems that need tool 0 and 1, one that needs none; positions: call, word, call, word, word."""
    gold = np.array([0, WORD, 1, WORD, WORD])
    positions = Positions(
        np.zeros((5, 2), np.float32),
        np.ones(5, np.float32),
        gold,
        np.array([0, 0, 1, 2, 2]),
        ("a", "b", "c"),
        np.array([True, True, False]),
    )
    tool = np.array(tool)
    fired = tool >= 0 if fired is None else np.array(fired)
    best = np.where(fired & (tool < 0), 0, tool)
    rank = np.where(gold >= 0, np.where(tool == gold, 1, 2), 0)
    done = Decided(fired, tool, best, np.where(fired, confidence, np.nan), np.array([5.0, 0, 4, 1, 0]), rank, rank)
    return positions, done


def answered(problem: str, mode: str, seed, is_right, *kinds, needs=True, kind="x") -> Outcome:
    steps = tuple({"outcome": one} for one in kinds)
    return Outcome(problem, problem, mode, seed, ("add",) if needs else (), "", "", "1", is_right, is_right, kind, "", steps)


def test_selection_is_the_share_of_gold_calls_at_which_the_right_tool_is_called():
    positions, done = by_hand([0, NONE, 0, 1, NONE])
    found = figures([positions], {"toolkengpt": [done]}, k=1).modes["toolkengpt"]
    assert found.estimate("selection").value == 0.5 and found.estimate("selection").items == 2
    assert found.estimate("mrr").value == 0.75 and found.estimate("top_k").value == 0.5
    assert found.estimate("unneeded_positions").value == pytest.approx(1 / 3)
    assert found.estimate("unneeded_problems").value == 1 and found.estimate("unneeded_problems").items == 1
    assert found.counts == {"calls": 3.0, "unneeded": 1.0, "rejected": 0.0} and found.counts_of == "positions"


def test_a_rejected_gold_call_is_not_right_and_is_counted():
    positions, done = by_hand([0, NONE, NONE, NONE, NONE], fired=[True, False, True, True, False])
    found = figures([positions], {"reject": [done]}, k=1).modes["reject"]
    assert found.estimate("selection").value == 0.5 and found.counts["rejected"] == 2 and found.estimate("unneeded_problems").value == 0
    assert found.confusion.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]


def test_confusion_has_a_column_for_none_on_top():
    positions, done = by_hand([NONE, NONE, 0, NONE, NONE])
    assert figures([positions], {"toolkengpt": [done]}, k=1).modes["toolkengpt"].confusion.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]


def test_ece_is_where_a_tool_is_on_top_and_auroc_over_problems():
    positions, done = by_hand([0, NONE, 0, 1, NONE], confidence=0.85)
    found = figures([positions], {"toolkengpt": [done]}, k=1).modes["toolkengpt"]
    assert found.ece == pytest.approx(0.85 - 1 / 3)  # one of three best tools is the gold one
    assert found.auroc == 1  # 5 and 4 at the calls, 1 at the first position of the problem without one
    values = found.as_dict()
    assert values["estimates"]["auroc"] == found.need.as_dict() and values["auroc_by_seed"] == [1.0] and found.need.items == 3
    assert found.estimate("auroc") is found.need and found.need.interval is None  # one problem without a tool says nothing of others


def test_ece_asks_whether_the_best_tool_is_right_rejected_or_not():
    positions, done = by_hand([NONE, NONE, NONE, NONE, NONE], fired=[True, False, False, False, False], confidence=0.85)
    assert figures([positions], {"reject": [done]}, k=1).modes["reject"].ece == pytest.approx(0.15)  # tool 0 is best, and the gold one


def test_mrr_is_of_the_order_after_reranking_and_the_first_k_of_that_before(simulated):
    positions, decided, _ = simulated
    found = figures(positions, decided, k=1).modes
    ranks = [done.rank[done.rank > 0] for done in decided["rerank"]]
    assert found["rerank"].estimate("mrr").value == pytest.approx(np.mean([1 / rank for rank in ranks]))
    assert found["rerank"].estimate("mrr").value > found["toolkengpt"].estimate("mrr").value
    assert found["rerank"].estimate("top_k") == found["toolkengpt"].estimate("top_k")


def test_what_cannot_be_is_none_and_never_zero():
    positions, done = by_hand([NONE] * 5)
    only_words = Positions(positions.first, positions.best_word, np.full(5, WORD), positions.problem, positions.groups, np.zeros(3, bool))
    found = figures([only_words], {"reject": [done]}, k=1)
    values = found.modes["reject"].as_dict()
    assert values["ece"] is None and values["auroc"] is None and values["selection"] is None and values["accuracy"] is None
    assert values["failed"] is None and values["repeated"] is None and found.chance == {}
    plain = figures([positions], {}, [answered("p", "none", None, True), answered("q", "none", None, False)], k=1).modes["none"].as_dict()
    assert plain["selection"] is None and plain["ece"] is None and plain["calls"] == 0 and plain["accuracy"] == 0.5
    assert plain["unneeded"] == 0 and plain["estimates"].keys() == {"accuracy", "within"}  # that it calls nothing is no estimate


def test_counts_are_means_over_seeds_and_unneeded_ones_may_have_failed():
    outcomes = [
        answered("p", "reject", 0, True, "called", "called", "rejected"),
        answered("q", "reject", 0, False, "failed", "repeated", needs=False),
        answered("p", "reject", 1, True),
        answered("q", "reject", 1, True, "called", needs=False),
    ]
    values = figures([], {}, outcomes, k=1).modes["reject"].as_dict()
    assert {name: values[name] for name in ("calls", "unneeded", "failed", "rejected", "repeated")} == {
        "calls": 1.5, "unneeded": 1.0, "failed": 0.5, "rejected": 0.5, "repeated": 0.5,
    }  # fmt: skip
    assert values["accuracy"] == 0.75 and values["estimates"]["accuracy"]["by_seed"] == [0.5, 1.0]
    assert values["estimates"]["unneeded_answers"]["value"] == 1 and values["estimates"]["missed"]["by_seed"] == [0, 1]


def test_problems_without_a_gold_answer_count_for_calls_but_not_for_accuracy():
    found = figures([], {}, [answered("p", "reject", 0, None, "called"), answered("q", "reject", 0, True)], k=1).modes["reject"]
    assert found.estimate("accuracy").items == 1 and found.counts["calls"] == 1


def test_every_mode_has_the_named_keys(simulated):
    positions, decided, outcomes = simulated
    values = figures(positions, decided, outcomes, k=3).as_dict()
    assert list(values["modes"]) == ["none", "toolkengpt", "rerank", "reject", "calibrated", "no_docs", "shuffled_docs"]
    for one in values["modes"].values():
        assert one.keys() >= KEYS and one["interval"][0] <= one["accuracy"] <= one["interval"][1]
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_modes_that_decide_alike_have_the_same_figures(simulated):
    positions, decided, outcomes = simulated
    alike = [Outcome(**{**vars(one), "mode": "rerank"}) for one in outcomes if one.mode == "reject"]
    kept = [one for one in outcomes if one.mode not in ("rerank",)]
    found = figures(positions, {**decided, "rerank": decided["reject"]}, [*kept, *alike], k=3)
    assert found.modes["rerank"].as_dict() == found.modes["reject"].as_dict()
    gone = found.differences["rerank", "toolkengpt", "accuracy"], found.differences["reject", "toolkengpt", "accuracy"]
    assert gone[0] == gone[1]


def test_the_order_of_outcomes_changes_nothing(simulated):
    positions, decided, outcomes = simulated
    again = figures(positions, decided, outcomes, k=3).as_dict()
    shuffled = [outcomes[place] for place in np.random.default_rng(0).permutation(len(outcomes))]
    other = figures(positions, decided, shuffled, k=3).as_dict()
    for mode in again["modes"]:
        for key in ("accuracy", "calls", "unneeded"):
            assert again["modes"][mode][key] == pytest.approx(other["modes"][mode][key], abs=1e-12)


def test_differences_are_problem_by_problem(simulated):
    positions, decided, outcomes = simulated
    found = figures(positions, decided, outcomes, k=3)
    one = found.differences["calibrated", "none", "accuracy"]
    gap = found.modes["calibrated"].estimate("accuracy").value - found.modes["none"].estimate("accuracy").value
    assert one.value == pytest.approx(gap) and one.items == 60 and one.groups == 30 and len(one.by_seed) == 3
    assert ("rerank", "toolkengpt", "selection") in found.differences and ("rerank", "none", "selection") not in found.differences


def test_only_items_of_both_are_compared():
    first, second = (figures([], {}, [answered(name, "reject", 0, right) for name, right in rows], k=1).modes["reject"].measured["accuracy"] for rows in (
        [("p", True), ("q", True), ("r", False)], [("q", False), ("r", False), ("s", True)],
    ))  # fmt: skip
    found = compared(first, second)
    assert found.items == 2 and found.value == 0.5
    assert compared(first, figures([], {}, [answered("z", "reject", 0, True)], k=1).modes["reject"].measured["accuracy"]) is None


def test_chance_is_one_of_all_tools_and_the_commonest(simulated):
    positions, decided, _ = simulated
    gold = positions[0].gold[positions[0].gold >= 0]
    chance = figures(positions, decided, k=3).chance
    assert chance == {"uniform": 1 / len(TOOLS), "commonest": np.bincount(gold).max() / len(gold)}


def test_kinds_have_the_accuracy_of_their_problems(simulated):
    positions, decided, outcomes = simulated
    found = figures(positions, decided, outcomes, k=3).kinds
    mine = [one.is_exact for one in outcomes if one.kind == "units" and one.mode == "none"]
    assert found["units"]["none"].value == pytest.approx(np.mean(mine)) and sorted(found) == ["arithmetic", "no tool", "table", "units"]


def test_seeds_must_have_the_same_problems_once():
    with pytest.raises(ValueError, match="'q' was answered under some seeds"):
        figures([], {}, [answered("p", "reject", 0, True), answered("p", "reject", 1, True), answered("q", "reject", 1, True)], k=1)
    with pytest.raises(ValueError, match="'p' has two outcomes"):
        figures([], {}, [answered("p", "reject", 0, True), answered("p", "reject", 0, True)], k=1)
