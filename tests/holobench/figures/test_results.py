"""Results: figures of a model on a benchmark, from items and predictions."""

import json

import numpy as np
import pytest
from simulated_holobench import answered, benchmark, found, item

from pydisp.holobench.answers.predictions import Prediction
from pydisp.holobench.figures.results import results
from pydisp.holobench.figures.scored_items import ResultsError
from pydisp.holobench.items import CLASSES

FIGURES = ("f1", "recall", "strict", "exact", "n", "interval", "unparsable", "skipped", "items")


def test_breakdowns_have_the_scores_of_their_items():
    of_class = {kind: place / 10 for place, kind in enumerate(CLASSES)}
    items = benchmark(18, lengths=(512, 1024, 2048), placements=("begin", "end"))
    shown = found(items, lambda one: of_class[one.kind]).as_dict()
    assert {kind: figures["f1"] for kind, figures in shown["by_class"].items()} == pytest.approx(of_class)
    assert shown["f1"] == pytest.approx(np.mean(list(of_class.values())))
    assert list(shown["by_length"]) == ["512", "1024", "2048"] and list(shown["by_placement"]) == ["begin", "end"]
    for figures in (shown, *shown["by_class"].values(), *shown["by_length"].values(), *shown["by_placement"].values()):
        assert set(FIGURES) <= set(figures)
    assert shown["by_length"]["512"]["n"] == 36 and len(shown["by_length_and_class"]) == 27
    assert shown["interval"][0] < shown["f1"] < shown["interval"][1]


def test_skipped_items_are_counted_named_and_in_no_mean():
    items = benchmark(9, lengths=(512, 1024))
    shown = found(items, lambda one: None if one.length == 1024 else 0.6).as_dict()
    assert (shown["items"], shown["skipped"], shown["n"]) == (18, 9, 9)
    assert shown["f1"] == pytest.approx(0.6) and shown["f1_of_all"] == pytest.approx(0.3)
    assert shown["skipped_items"] == {one.id: "too long for the model" for one in items if one.length == 1024}
    assert shown["by_length"]["1024"]["f1"] is None and shown["by_length"]["1024"]["skipped"] == 9


def test_items_that_were_not_asked_count_nowhere():
    items = benchmark(9, lengths=(512,))
    some = results(items, [answered(one, 1.0) for one in items[:4]], {}, {})
    assert some.not_asked == 5 and some.overall.items == 4 and some.overall.f1_of_all == 1


def test_items_of_one_draw_are_no_more_sure_than_one_of_them():
    one_length = found(benchmark(20, lengths=(512,)), lambda one: float(int(one.draw) % 2))
    many = found(benchmark(20, lengths=(512, 1024, 2048, 4096)), lambda one: float(int(one.draw) % 2))
    assert one_length.overall.f1.interval == pytest.approx(many.overall.f1.interval)


def test_the_likelihood_form_alone_has_accuracy_and_chance_and_no_scores():
    items = benchmark(36)
    generator = np.random.default_rng(0)
    predictions = [Prediction(one.id, log_likelihoods=(-2.0 + generator.normal(1, 1), -2.0, -3.0, -4.0)) for one in items]
    one = results(items, predictions, {}, {"model": "m"})
    shown = one.as_dict()
    assert shown["f1"] is None and shown["n"] == 0 and not one.has_answers and one.has_choices
    likelihood = shown["likelihood"]
    assert 0.75 < likelihood["accuracy"] < 0.95 and likelihood["chance"] == 0.25 and likelihood["n"] == 72
    assert likelihood["interval"][0] > 0.25 and likelihood["margin_nats"]["mean"] == pytest.approx(1, abs=0.4)
    assert set(likelihood["by_length"]) == {"512", "1024"} and set(shown["effective_length"]) == {"accuracy"}
    assert shown["claims"][0]["name"] == "amount_against_length"


def test_answers_alone_have_no_likelihood():
    assert found(benchmark(9), lambda one: 0.5).as_dict()["likelihood"] is None


def test_nothing_but_skipped_items_gives_empty_results():
    shown = found(benchmark(3), lambda one: None).as_dict()
    assert shown["f1"] is None and shown["likelihood"] is None and shown["claims"] == [] and shown["effective_length"] == {}


def test_the_answer_marker_is_taken_from_the_manifest():
    one = item()
    text = "Facts: there are trees.\nFacts: they have names.\nAnswer:\n" + answered(one, 1.0).answer
    # asked directly, a model that writes "Facts:" has gone on to another prompt
    for answer, f1 in (("reason", 1), ("direct", 0)):
        assert results([one], [Prediction(one.id, text)], {"style": {"answer": answer}}, {}).overall.f1.value == f1


def test_the_same_predictions_give_the_same_json():
    items = benchmark(18, lengths=(512, 1024, 2048), amounts=(100, 200))
    shown = [found(items, lambda one: (int(one.draw) * 7 % 10) / 10, margin_of=lambda one: 0.5).as_dict() for _ in range(2)]
    assert json.dumps(shown[0], allow_nan=False) == json.dumps(shown[1], allow_nan=False)


def test_names_come_from_the_manifests():
    many = {"database": [{"name": "shop", "rows": {}}, {"name": "school", "rows": {}}]}
    one = results([item()], [answered(item(), 1)], many, {"model": "demo", "without_context": True})
    assert (one.model, one.data, one.is_without_context) == ("demo", "shop, school", True)
    five = {"database": [{"name": f"db{place}"} for place in range(5)]}
    assert results([item()], [answered(item(), 1)], five, {}).data == "db0, db1 and 3 more"
    unknown = results([item()], [answered(item(), 1)], {}, {})
    assert (unknown.model, unknown.data, unknown.is_without_context) == ("model", "benchmark", False)


def test_predictions_of_another_benchmark_are_refused():
    with pytest.raises(ResultsError, match="which the benchmark does not have"):
        results([item()], [Prediction("other", "7")], {}, {})
