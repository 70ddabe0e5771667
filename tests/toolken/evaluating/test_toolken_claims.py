"""Claims, tried on figures."""

from dataclasses import replace

import numpy as np
import pytest
from toolken_results import decided_of, outcomes_of, positions_of

from pydisp.toolken.evaluating.claims import FAILS, HOLDS, LEAST_KEPT, VOID, WEAK, Claim, claims
from pydisp.toolken.evaluating.figures import figures
from pydisp.toolken.evaluating.outcomes import Outcome
from pydisp.toolken.evaluating.selection import NONE


def verdicts(found) -> dict[str, str]:
    return {one.name: one.verdict for one in claims(found)}


def answers(count: int, unneeded: dict[str, float], accuracy: dict[str, float], seeds=(0, 1, 2)):
    """Problems of which half need no tool; the first shares of them are called, or right."""
    found = []
    for mode in unneeded:
        for seed in seeds if mode != "none" else (None,):
            for number in range(count):
                needs = number % 2 == 0
                place = (number // 2 + 0.5) / (count / 2)
                is_called = needs if mode != "none" else False
                is_called = is_called or (not needs and place < unneeded[mode])
                is_right = (number * 7919 % count + 0.5) / count < accuracy[mode]
                steps = ({"outcome": "called"},) if is_called else ()
                found.append(
                    Outcome(f"p{number}", f"p{number}", mode, seed, ("add",) if needs else (), "", "", "1", is_right, is_right, steps=steps)
                )
    return found


def half(unneeded: tuple[float, float], accuracy: tuple[float, float], count=400) -> str:
    modes = ("toolkengpt", "calibrated")
    found = figures([], {}, answers(count, dict(zip(modes, unneeded, strict=True)), dict(zip(modes, accuracy, strict=True))), k=1)
    return verdicts(found)["half_unneeded"]


@pytest.mark.parametrize(
    ("unneeded", "accuracy", "verdict"),
    [
        ((0.6, 0.1), (0.5, 0.5), HOLDS),
        ((0.6, 0.1), (0.5, 0.7), HOLDS),
        ((0.6, 0.5), (0.5, 0.5), FAILS),
        ((0.6, 0.1), (0.5, 0.4), FAILS),
        ((0.6, 0.29), (0.5, 0.5), WEAK),  # half of it, but not apart from it
        ((0.6, 0.32), (0.5, 0.5), WEAK),
        ((0.6, 0.1), (0.5, 0.495), WEAK),  # lower in what was seen
        ((0.0, 0.0), (0.5, 0.5), WEAK),  # half of nothing
    ],
)
def test_half_of_the_unneeded_calls_needs_both_parts(unneeded, accuracy, verdict):
    assert half(unneeded, accuracy) == verdict


def test_few_problems_are_too_weak_to_tell():
    assert half((0.6, 0.1), (0.5, 0.5), count=12) == WEAK


def test_an_accuracy_that_may_be_lower_by_more_than_the_margin_is_too_weak_to_tell():
    found = answers(60, {"toolkengpt": 0.9, "calibrated": 0.0}, {"toolkengpt": 0.5, "calibrated": 0.5})
    flipped = []
    for one in found:  # as many won as lost
        swap = one.mode == "calibrated" and int(one.problem[1:]) % 5 == 0
        flipped.append(Outcome(**{**vars(one), "is_exact": one.is_exact != swap, "is_within": one.is_exact != swap}))
    (claim,) = [one for one in claims(figures([], {}, flipped, k=1)) if one.name == "half_unneeded"]
    assert claim.figures["less_half"]["interval"][1] < 0 and claim.verdict == WEAK


def silenced(seeds, share: float):
    """Figures of positions at which calibrated calls only the first share of the calls of toolkengpt, and none at words."""
    positions = [positions_of(seed=seed, problems=200) for seed in range(seeds)]
    decided = decided_of(positions)
    quiet = []
    for one, done in zip(positions, decided["toolkengpt"], strict=True):
        right = np.flatnonzero(done.tool == one.gold)
        tool = np.full_like(done.tool, NONE)
        tool[right[: round(share * len(right))]] = done.tool[right[: round(share * len(right))]]
        quiet.append(replace(done, tool=tool))
    return positions, {**decided, "calibrated": quiet}


@pytest.mark.parametrize(("share", "verdict"), [(0.0, VOID), (LEAST_KEPT - 0.1, VOID), (1.0, HOLDS)])
def test_who_hardly_calls_halves_nothing(share, verdict):
    """Answers are equally good and no call is unneeded: by these alone the claim would hold."""
    positions, decided = silenced(3, share)
    modes = ("toolkengpt", "calibrated")
    outcomes = answers(400, dict(zip(modes, (0.6, 0.0), strict=True)), dict.fromkeys(modes, 0.5))
    if share == 0:
        outcomes = [replace(one, steps=()) if one.mode == "calibrated" else one for one in outcomes]
    found = {one.name: one for one in claims(figures(positions, decided, outcomes, k=3))}
    claim = found["half_unneeded"]
    assert claim.verdict == claim.verdict_with_seeds == verdict
    assert claim.figures["kept"] == pytest.approx(share, abs=0.01)
    assert f"{100 * claim.figures['kept']:.1f} % of the gold calls that toolkengpt gets right are kept" in claim.words
    calls, tried = claim.figures["calls"]["calibrated"], claim.figures["tried"]["calibrated"]
    assert f"{tried:,.1f} calls are tried" in claim.words and f"calls that ran: {calls:,.1f}" in claim.words
    assert (claim.figures["calls"]["calibrated"] == 0) == (share == 0)


def test_without_any_call_the_claim_is_void_also_where_no_gold_call_is_known():
    modes = ("toolkengpt", "calibrated")
    outcomes = answers(400, dict(zip(modes, (0.6, 0.0), strict=True)), dict.fromkeys(modes, 0.5))
    quiet = [replace(one, steps=()) if one.mode == "calibrated" else one for one in outcomes]
    assert (
        verdicts(figures([], {}, quiet, k=1))["half_unneeded"] == VOID
        and verdicts(figures([], {}, outcomes, k=1))["half_unneeded"] == HOLDS
    )


def test_selection_is_apart_from_the_better_way_of_guessing():
    strong, weak = ([positions_of(seed=seed, skill=skill) for seed in range(3)] for skill in (4.0, -1.5))
    for positions, verdict in ((strong, HOLDS), (weak, FAILS)):
        assert verdicts(figures(positions, decided_of(positions), k=3))["selection_above_chance_toolkengpt"] == verdict
    skewed = replace(figures(strong, decided_of(strong), k=3), chance={"uniform": 0.1, "commonest": 0.999})
    assert verdicts(skewed)["selection_above_chance_toolkengpt"] == WEAK
    few = [positions_of(seed=seed, problems=4, skill=0.0) for seed in range(3)]
    assert verdicts(figures(few, decided_of(few), k=3))["selection_above_chance_toolkengpt"] == WEAK
    claim = claims(figures(strong, decided_of(strong), k=3))[0]
    assert claim.figures["chance"].keys() == {"uniform", "commonest"} and "always the commonest one" in claim.words


def test_tools_help_where_the_interval_lies_above_zero():
    modes = {"none": 0.0, "calibrated": 0.1}
    for mine, verdict in ((0.6, HOLDS), (0.31, WEAK), (0.1, FAILS)):
        assert verdicts(figures([], {}, answers(200, modes, {"none": 0.3, "calibrated": mine}), k=1))["tools_help"] == verdict


def test_the_second_verdict_asks_for_other_seeds_too():
    found = answers(400, {"none": 0.0, "calibrated": 0.1}, {"none": 0.3, "calibrated": 0.5})
    rights = {0: 0.2, 1: 0.5, 2: 0.8}
    moved = [
        one
        if one.seed is None
        else Outcome(**{**vars(one), "is_exact": (int(one.problem[1:]) * 7919 % 400 + 0.5) / 400 < rights[one.seed]})
        for one in found
    ]
    (claim,) = [one for one in claims(figures([], {}, moved, k=1)) if one.name == "tools_help"]
    assert claim.verdict == HOLDS and claim.verdict_with_seeds == WEAK


def test_one_seed_has_no_second_verdict():
    found = answers(40, {"none": 0.0, "calibrated": 0.1}, {"none": 0.3, "calibrated": 0.5}, seeds=(0,))
    assert {one.verdict_with_seeds for one in claims(figures([], {}, found, k=1))} == {None}


def test_without_what_it_needs_a_claim_is_not_tried_or_says_so():
    assert claims(figures([], {}, answers(40, {"none": 0.0}, {"none": 0.3}), k=1)) == []
    only = [one for one in answers(40, {"toolkengpt": 0.5, "calibrated": 0.0}, {"toolkengpt": 0.3, "calibrated": 0.3}) if one.needs_tool]
    assert claims(figures([], {}, only, k=1)) == []  # no gold call, no problem without a tool
    positions = [positions_of(seed=seed) for seed in range(3)]
    without_answers = claims(figures(positions, {**decided_of(positions)}, answers(40, {"none": 0.0}, {"none": 0.3}), k=3))
    assert [one.name for one in without_answers] == ["selection_above_chance_toolkengpt", "selection_above_chance_rerank", "half_unneeded"]


def test_calls_that_failed_are_tried_ones_and_no_silence():
    """Every call of calibrated fails: it ran none, tried some where none was needed, and the claim is not void."""
    modes = ("toolkengpt", "calibrated")
    outcomes = answers(400, dict(zip(modes, (0.6, 0.1), strict=True)), dict.fromkeys(modes, 0.5))
    failing = [replace(one, steps=tuple({"outcome": "failed"} for _ in one.steps)) if one.mode == "calibrated" else one for one in outcomes]
    (claim,) = claims(figures([], {}, failing, k=1))
    assert claim.verdict == HOLDS and claim.figures["calls"]["calibrated"] == 0 and claim.figures["tried"]["calibrated"] == 220
    assert claim.words.startswith("220.0 calls are tried, against 320.0; calls that ran: 0.0, against 320.0; a call is tried in 10.0 %")


def test_a_sentence_begins_with_its_verdict():
    for verdict, wanted in (
        (HOLDS, "Holds: with a it is so. 3 of 4."),
        (FAILS, "Does not hold: with a it is so. 3 of 4."),
        (VOID, "Void, for too few right calls are made: with a it is so. 3 of 4."),
        (WEAK, "Too weak to tell whether with a it is so: 3 of 4."),
    ):
        assert Claim("a", "With a it is so.", verdict, None, "3 of 4.").sentence == wanted
    assert Claim("a", "With a it is so.", HOLDS, None, "a call.").sentence.endswith(". A call.")


def test_without_answers_the_teacher_forced_figures_are_compared():
    positions = [positions_of(seed=seed, problems=200) for seed in range(3)]
    (claim,) = [one for one in claims(figures(positions, decided_of(positions), k=3)) if one.name == "half_unneeded"]
    assert claim.figures["measure"] == "unneeded_problems" and claim.figures["quality"] == "selection"
    assert " calls are tried, against " in claim.words and "calls that ran" not in claim.words


def test_a_claim_as_plain_values_and_as_a_sentence():
    positions = [positions_of(seed=seed) for seed in range(3)]
    decided = decided_of(positions)
    for one in claims(figures(positions, decided, outcomes_of(positions, decided), k=3)):
        assert one.as_dict()["verdict"] in (HOLDS, FAILS, WEAK, VOID) and one.statement[1:].rstrip(".") in one.sentence
        assert np.isfinite(len(one.words))
