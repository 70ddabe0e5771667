"""Items with what became of them: scores of answers, ranks of choices, skipped ones."""

import pytest
from simulated_holobench import GOLD, answer, answered, item

from pydisp.holobench.answers.predictions import Prediction
from pydisp.holobench.figures.scored_items import ResultsError, rank, score_items
from pydisp.holobench.items import Gold


def test_an_answer_is_scored_and_the_order_is_that_of_the_items():
    items = [item("000"), item("001"), item("002")]
    found = score_items(items, [answered(items[2], 0.3), answered(items[0], 1.0)], is_reasoned=False)
    assert [one.item.draw for one in found] == ["000", "002"]
    assert [one.value("f1") for one in found] == [1.0, 0.3]
    assert [one.value("strict") for one in found] == [1.0, 0.0]
    assert found[0].value("accuracy") is None


def test_a_reasoned_answer_stands_behind_its_marker():
    text = "Facts: there are trees.\nFacts: they have names.\nAnswer:\n" + answer(1.0)
    for is_reasoned in (True, False):
        (found,) = score_items([item()], [Prediction(item().id, text)], is_reasoned=is_reasoned)
        assert found.value("f1") == is_reasoned


def test_what_cannot_be_read_and_what_ran_out_of_room_is_marked():
    count = item(gold=Gold(("count",), ("integer",), ((7,),)), kind="count")
    (found,) = score_items([count], [Prediction(count.id, "many of them", finished=False)], is_reasoned=False)
    assert found.score.unparsable and found.is_unfinished and found.value("f1") == 0


def test_a_skipped_item_has_no_scores():
    (found,) = score_items([item()], [Prediction(item().id, skipped="too long")], is_reasoned=False)
    assert found.skipped == "too long" and found.value("f1") is None and found.value("margin") is None and not found.is_unfinished


@pytest.mark.parametrize(
    ("log_likelihoods", "accuracy", "margin"),
    [
        ([-1, -2, -3, -4], 1, 1),
        ([-2, -1, -3, -4], 0, -1),
        ([-1, -1, -3, -4], 1 / 2, 0),
        ([-1, -1, -1, -4], 1 / 3, 0),
        ([-1, -1, -1, -1], 1 / 4, 0),  # chance for a model to which all are alike
        ([-2, -1, -1, -4], 0, -1),  # near misses that tie with each other
    ],
)
def test_the_gold_choice_is_right_if_it_is_likeliest(log_likelihoods, accuracy, margin):
    found = rank(log_likelihoods, item())
    assert (found.accuracy, found.margin, found.chance) == (accuracy, margin, 1 / 4)


@pytest.mark.parametrize(("tokens", "are_equal"), [((2, 2, 2, 2), True), ((2, 2, 3, 2), False), (None, None)])
def test_choices_say_whether_they_have_as_many_tokens(tokens, are_equal):
    prediction = Prediction(item().id, log_likelihoods=(-1.0, -2.0, -3.0, -4.0), choice_tokens=tokens)
    (found,) = score_items([item()], [prediction], is_reasoned=False)
    assert found.choice.tokens_are_equal is are_equal


def test_the_gold_choice_stands_where_the_item_says():
    found = rank([-3, -1], item(choices=("a", "b"), correct=1))
    assert (found.accuracy, found.margin, found.chance) == (1, 2, 1 / 2)


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([], "there is no prediction; ask the model first."),
        ([Prediction("other", "7")], "item 'other', which the benchmark does not have"),
        ([answered(item(), 1), answered(item(), 0)], "has two predictions"),
        ([Prediction(item().id, log_likelihoods=(-1.0, -2.0))], "has 4 choices and 2 log-likelihoods"),
        ([Prediction(item().id, log_likelihoods=(-1.0, float("nan"), -2.0, -3.0))], "not a finite number"),
        ([Prediction(item().id, log_likelihoods=(-1.0, float("-inf"), -2.0, -3.0))], "not a finite number"),
    ],
)
def test_predictions_of_something_else_are_refused(predictions, message):
    with pytest.raises(ResultsError, match=message):
        score_items([item()], predictions, is_reasoned=False)


def test_log_likelihoods_of_an_item_without_choices_are_refused():
    with pytest.raises(ResultsError, match="has 0 choices and 4"):
        rank([-1, -2, -3, -4], item(choices=None, correct=None))


def test_the_gold_of_the_simulation_is_ten_rows():
    assert len(GOLD.rows) == 10
