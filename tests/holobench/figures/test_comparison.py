"""Two models on the same items."""

import json

import numpy as np
import pytest
from simulated_holobench import answered, benchmark, found, item

from pydisp.holobench.figures.comparison import ComparisonError, compare, holm
from pydisp.holobench.figures.comparison_section import comparison_section, difference_words
from pydisp.holobench.figures.results import results


def tenths(value):
    return float(np.clip(round(10 * value) / 10, 0, 1))


def test_the_difference_is_first_minus_second_item_by_item():
    items = benchmark(18, lengths=(512, 1024))
    first = found(items, lambda one: 0.3 if one.length == 512 else 0.6, model="pruned")
    second = found(items, lambda one: 0.5 if one.length == 512 else 0.6, model="dense")
    compared = compare(first, second)
    assert (compared.first, compared.second, compared.pairs, compared.left_out) == ("pruned", "dense", 36, 0)
    assert compared.overall["f1"].estimate.value == pytest.approx(-0.1)
    of_length = compared.by["length"]
    assert of_length[512]["f1"].estimate.value == pytest.approx(-0.2) and of_length[512]["f1"].is_seen
    assert of_length[1024]["f1"].estimate.value == 0 and not of_length[1024]["f1"].is_seen
    assert (of_length[512]["f1"].first, of_length[512]["f1"].second) == pytest.approx((0.3, 0.5))
    assert set(compared.overall) == {"f1", "recall"}
    assert compare(second, first).overall["f1"].estimate.value == pytest.approx(0.1)


def test_pairing_sees_what_two_intervals_do_not():
    generator = np.random.default_rng(1)
    of_draw = generator.uniform(0.1, 0.9, 40)
    items = benchmark(40, lengths=(512, 1024))
    first = found(items, lambda one: tenths(of_draw[int(one.draw)]))
    second = found(items, lambda one: tenths(of_draw[int(one.draw)] + (0.1 if int(one.draw) % 2 else 0)))
    overall = compare(first, second).overall["f1"]
    assert overall.is_seen and overall.estimate.interval[1] < 0
    assert first.overall.f1.interval[1] > second.overall.f1.interval[0]


def test_items_skipped_in_either_are_left_out_of_both_and_counted():
    items = benchmark(12, lengths=(512, 1024))
    first = found(items, lambda one: None if one.length == 1024 else 1.0)
    second = found(items, lambda one: None if one.draw == "003" else 0.5)
    compared = compare(first, second)
    assert (compared.pairs, compared.left_out) == (11, 13)
    assert compared.overall["f1"].pairs == 11 and compared.overall["f1"].second == 0.5
    assert 1024 not in compared.by["length"]


def test_items_that_only_one_has_predictions_of_are_counted_and_said():
    items = benchmark(12, lengths=(512,))
    first, second = (
        results(items, [answered(one, 0.5) for one in asked], {}, {"model": model})
        for model, asked in (("pruned", items[:5]), ("dense", items[1:]))
    )
    compared = compare(first, second)
    assert (compared.pairs, compared.left_out, compared.only_first, compared.only_second) == (4, 0, 1, 7)
    assert compared.as_dict()["only_first"] == 1 and compared.as_dict()["only_second"] == 7
    assert difference_words(compared).endswith(
        " Left out: 1 item that only pruned has predictions of. Left out: 7 items that only dense has predictions of."
    )
    assert "Left out" not in difference_words(compare(first, first))
    assert "only the second has" in difference_words(
        compare(first, results(items, [answered(one, 1.0) for one in items], {}, {"model": "pruned"}))
    )


def test_measures_over_different_items_say_over_how_many():
    items = benchmark(12, lengths=(512,))
    ranked = results(items, [answered(one, 0.5, 1.0 if place < 8 else None) for place, one in enumerate(items)], {}, {"model": "m"})
    compared = compare(ranked, ranked)
    assert "F1 over 12 items +0.0 points" in difference_words(compared) and "accuracy over 8 items +0.0" in difference_words(compared)
    table = comparison_section(compared).parts[2]
    assert table.columns[1] == "items" and [row[:2] for row in table.rows] == [("F1", 12), ("recall", 12), ("accuracy", 8)]
    same = compare(*(found(items, lambda one: 0.5, margin_of=lambda one: 1.0) for _ in range(2)))
    assert "F1 +0.0 points" in difference_words(same)


def test_a_difference_that_is_not_seen_says_what_could_be():
    items = benchmark(10, lengths=(512,))
    generator = np.random.default_rng(2)
    first, second = (found(items, lambda one: tenths(generator.random())) for _ in range(2))
    shown = compare(first, second).as_dict()
    assert shown["f1"]["p"] > 0.05 and shown["f1"]["smallest_visible"] > 0.1
    json.dumps(shown, allow_nan=False)


def test_accuracy_is_compared_where_both_have_choices():
    items = benchmark(20, lengths=(512,))
    first = found(items, lambda one: 0.5, margin_of=lambda one: 1.0)
    second = found(items, lambda one: 0.5, margin_of=lambda one: -1.0)
    compared = compare(first, second)
    assert compared.overall["accuracy"].estimate.value == 1 and compared.overall["accuracy"].is_seen
    assert compared.overall["f1"].estimate.value == 0
    assert set(compare(first, found(items, lambda one: 0.5)).overall) == {"f1", "recall"}


def test_p_values_of_groups_are_corrected_for_their_number():
    items = benchmark(36, lengths=(512, 1024))
    generator = np.random.default_rng(3)
    first, second = (found(items, lambda one: tenths(generator.random())) for _ in range(2))
    groups = compare(first, second).by["class"]
    plain = [one["f1"].estimate.p for one in groups.values()]
    assert [one["f1"].adjusted_p for one in groups.values()] == holm(plain)
    assert all(one["f1"].adjusted_p >= one["f1"].estimate.p for one in groups.values())


def test_holm_by_hand():
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.9, 0.8]) == [1, 1] and holm([]) == []


def test_one_draw_has_no_interval_and_no_p():
    one = item()
    first, second = (results([one], [answered(one, f1)], {}, {}) for f1 in (1.0, 0.5))
    compared = compare(first, second)
    assert compared.overall["f1"].estimate.interval is None and compared.overall["f1"].adjusted_p is None
    assert not compared.overall["f1"].is_seen


def test_results_of_other_items_are_refused():
    with pytest.raises(ComparisonError, match="no item in common"):
        compare(found([item("000")], lambda one: 1.0), found([item("001")], lambda one: 1.0))
    with pytest.raises(ComparisonError, match="another question or context"):
        compare(found([item()], lambda one: 1.0), found([item(sha256="0")], lambda one: 1.0))


def test_results_that_no_item_has_in_one_form_are_refused():
    items = benchmark(4, lengths=(512,))
    with pytest.raises(ComparisonError, match="no item that both answered"):
        compare(found(items, lambda one: 1.0), found(items, lambda one: None))
