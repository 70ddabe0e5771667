"""Figures of groups, and which group an item is in."""

import pytest
from simulated_holobench import item, scored

from pydisp.holobench.figures.breakdowns import BREAKDOWNS, Figures, Shares, broken_down, crossed, group_name, group_words, grouped
from pydisp.holobench.figures.scored_items import ScoredItem
from pydisp.holobench.items import CLASSES, PLACEMENTS


def test_figures_are_over_answered_items_and_count_the_others():
    group = [scored(item("0"), 1.0), scored(item("1"), 0.4), ScoredItem(item("2"), skipped="too long"), ScoredItem(item("3"), skipped="it")]
    found = Figures.of(group)
    assert (found.items, found.skipped, found.answered, found.draws) == (4, 2, 2, 2)
    assert found.f1.value == pytest.approx(0.7) and found.f1_of_all == pytest.approx(0.35)
    assert found.strict.value == 0.5 and found.accuracy is None and found.choices_as_dict() is None


def test_an_item_with_only_ranked_choices_is_in_no_mean_of_answers():
    with_choice = ScoredItem(item("1"), choice=scored(item("1"), 0, accuracy=1.0).choice)
    found = Figures.of([scored(item("0"), 0.5), with_choice])
    assert (found.answered, found.chosen, found.skipped) == (1, 1, 0)
    assert found.f1.value == 0.5 and found.f1_of_all == 0.5 and found.accuracy.value == 1


def test_a_group_of_skipped_items_has_no_figures():
    found = Figures.of([ScoredItem(item(), skipped="too long")])
    assert found.f1 is None and found.f1_of_all is None and found.draws == 0
    assert found.answers_as_dict()["n"] == 0 and found.answers_as_dict()["interval"] is None


def test_accuracy_is_compared_with_chance_over_the_same_items():
    found = Figures.of([scored(item(str(draw)), 0, accuracy=float(draw % 2)) for draw in range(40)])
    assert found.accuracy.value == 0.5 and found.chance == 0.25 and found.above_chance.value == 0.25
    assert found.above_chance.interval[0] > 0 and found.margin.value == 0
    assert found.choices_as_dict()["above_chance"]["mean"] == 0.25


def test_densities_go_to_the_nearest_that_was_asked_for():
    shares = Shares.of({"densities": [0.1, 0.5], "amounts": []})
    assert shares.breakdown == "density"
    assert [shares.density(value) for value in (0.47, 0.52, 0.12, 0.08)] == [0.5, 0.5, 0.1, 0.1]
    assert shares.amount(100) == 128


def test_amounts_go_to_the_nearest_that_was_asked_for():
    shares = Shares.of({"densities": [], "amounts": [100, 400]})
    assert shares.breakdown == "amount"
    assert [shares.amount(value) for value in (97, 130, 390)] == [100, 100, 400]
    assert shares.density(0.24) == 0.25


@pytest.mark.parametrize("manifest", [{}, {"densities": None, "amounts": None}])
def test_without_a_word_on_shares_groups_are_powers_of_two(manifest):
    shares = Shares.of(manifest)
    assert (shares.breakdown, shares.density(0.45), shares.density(0.99), shares.density(0.0), shares.amount(210)) == (
        "density",
        0.5,
        1,
        0,
        256,
    )


def test_groups_stand_in_the_order_of_classes_placements_and_sizes():
    items = [item(kind=kind) for kind in reversed(CLASSES)]
    items += [item(placement=placement) for placement in reversed(PLACEMENTS)] + [item(length=length) for length in (4096, 512, 16384)]
    found = broken_down([scored(one, 1) for one in items], Shares())
    assert list(found) == list(BREAKDOWNS)
    assert tuple(found["class"]) == CLASSES and tuple(found["placement"]) == PLACEMENTS and tuple(found["length"]) == (512, 4096, 16384)
    pairs = crossed([scored(one, 1) for one in items], "length", "class", Shares())
    assert list(pairs)[:2] == [(512, "filter"), (512, "count")] and list(pairs)[-1] == (16384, "filter")


def test_groups_share_out_all_items():
    every = [scored(item(str(place), length=512 * (1 + place % 3)), 1) for place in range(10)]
    groups = grouped(every, lambda one: one.item.length)
    assert sorted(map(len, groups.values())) == [3, 3, 4] and sum(groups.values(), []) != []


def test_names_of_groups():
    assert [group_name(one) for one in (512, 0.5, 256.0, "top_k")] == ["512", "0.5", "256", "top_k"]
    shown = [group_words(*one) for one in (("length", 65536), ("density", 0.0625), ("amount", 256.0), ("class", "top_k"))]
    assert shown == ["65,536", "6.25 %", "256", "top k"]
