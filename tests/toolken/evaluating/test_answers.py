"""A generated answer against the gold one."""

import os
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisp.toolken.evaluating.answers import answer_part, judged, last_numbers, normalised, numbers_of
from pydisp.toolken.problems.generator import FAMILIES, generate
from pydisp.toolken.problems.gsm8k import read_gsm8k


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        (" 84", "84"),
        (" 84.", "84"),
        (" 84.0 apples", "84"),
        (" $84", "84"),
        ("84 %", "84%"),
        (" 12 * 7 = 84", "84"),
        ("12*7=84", "84"),
        ("48+24=72", "72"),
        ("100-16=84.", "84"),
        (" -3.5", "-3.5"),
        (" \u22123.5", "-3.5"),
        (" .5", "0.5"),
        (" 1,234.5 km", "1234.5"),
        (" 1e3", "1000"),
        (" 84\nQuestion: What is 1 plus 1?", "84"),
        ("\n\n84", "84"),
        (" 84 and 12", "84 and 12"),
        (" 84 apples and 12 pears", "84 and 12"),
        (" Monday", "Monday"),
        (" monday.", "Monday"),
        (" Monday, for that day", "Monday"),
        (" 2024-03-05 + 10 days = 2024-03-15", "2024-03-15"),
        (" 2024-03-15.", "2024-03-15"),
        (" yes", "Yes"),
        (" 1958-10-29 is a Wednesday", "Wednesday"),
        (" 1958-10-29: Wednesday.", "Wednesday"),
        (" 540 days after 1974-03-25 comes 1975-09-16", "1975-09-16"),
        (" the shelf is A3", "A3"),
        (" T740, arrival: 05:19", "05:19"),
        (" Tuesday, then Friday", "Tuesday and Friday"),
        (" Tuesday; Friday", "Tuesday and Friday"),
        (" on 2024-05-03 there are 3", "3"),
        (" 1/2 of 6 is 3", "3"),
        ("The  quick brown", "the quick brown."),
    ],
)
def test_right_answers_are_exact(text, gold):
    found = judged(text, gold)
    assert found.is_exact is True and found.is_within is True


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        (" 85", "84"),
        (" 84\n", "-84"),
        (" 840", "84"),
        (" 8,4", "84"),
        (" eighty-four", "84"),
        ("", "84"),
        (" 84", "84 and 12"),
        (" 12 and 84", "84 and 12"),
        (" 84 and 13", "84 and 12"),
        (" 2024-03-16", "2024-03-15"),
        (" 2024-03-150", "2024-03-15"),
        (" 15", "2024-03-15"),
        (" 2024-05-03", "3"),
        (" 2024-05-03", "2024"),
        (" 14:35", "35"),
        (" 1/2", "2"),
        (" 12.50-3", "12"),
        (" 2010\u20132012", "2012"),
        (" the day is not a Monday", "Monday"),
        (" the day is a Monday or Tuesday", "Monday"),
        (" No, it is yes", "Yes"),
        (" Friday, then Tuesday", "Tuesday and Friday"),
        (" Tuesday", "Tuesday and Friday"),
        (" Monday or Tuesday", "Monday"),
        (" Not Monday", "Monday"),
        (" Mondays", "Monday"),
        ("", "Monday"),
        (" 5", "Monday"),
    ],
)
def test_wrong_answers_are_neither_exact_nor_within(text, gold):
    found = judged(text, gold)
    assert found.is_exact is False and found.is_within is False


@pytest.mark.parametrize(("text", "is_within"), [("1000.9", True), ("1001", True), ("1001.1", False), ("999", True), ("-1000", False)])
def test_within_is_a_thousandth_of_the_gold_answer(text, is_within):
    found = judged(text, "1000")
    assert (found.is_exact, found.is_within) == (False, is_within)


def test_nothing_is_near_zero_but_zero():
    assert judged("0.0001", "0").is_within is False
    assert judged("0.0", "0").is_exact is True


def test_each_of_two_numbers_must_be_within():
    assert judged("1000.5 and 7", "1000 and 7").is_within is True
    assert judged("1000.5 and 8", "1000 and 7").is_within is False


def test_without_a_gold_answer_nothing_is_right_or_wrong():
    found = judged(" 84", None)
    assert found.is_exact is None and found.is_within is None and found.answer == "84"


def test_the_answer_of_several_lines_stands_behind_the_last_mark():
    text = "48/2 = 24 clips.\n48+24 = 72.\n#### 72\n\nQuestion: What is 5 plus 5?\nAnswer: 10\n#### 10"
    assert judged(text, "72", has_lines=True).is_exact is True
    assert judged(text, "72").is_exact is False  # the first line says 24
    assert judged("She has 3.\nSo she has 72.", "72", has_lines=True).is_exact is True
    assert judged("#### 3\nNo, it is\n#### 72", "72", has_lines=True).is_exact is True
    assert answer_part("#### ", has_lines=True) == ""


def test_a_gold_answer_of_numbers_is_told_from_a_date():
    assert numbers_of("84") == [Decimal(84)]
    assert numbers_of("$1,200.50") == [Decimal("1200.50")]
    assert numbers_of("12 km/h") == [Decimal(12)]
    assert numbers_of("84 apples and 12 pears") == [Decimal(84), Decimal(12)]
    for text in ("2024-03-15", "14:35", "5 March 2024", "Monday", "1/2", "", "12 and Monday"):
        assert numbers_of(text) is None


def test_the_shown_answer_is_what_was_compared():
    assert judged(" he has 84.50 apples", "84.5").answer == "84.5"
    assert judged(" 1,200 and 3", "1200 and 3").answer == "1200 and 3"


def test_normalising_drops_case_spaces_quotes_and_the_final_stop():
    assert normalised('  "The   Cat." ') == "the cat"
    assert normalised("The Cat.") == "the cat"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_every_gold_solution_of_the_generator_is_right(family, seed):
    wrong = [(one.solution, one.answer) for one in generate(family, 1000, seed) if not judged(one.solution, one.answer).is_exact]
    assert wrong == []


@pytest.mark.skipif("PYDISP_TOOLKEN_DATA" not in os.environ, reason="PYDISP_TOOLKEN_DATA names the folder with gsm8k/")
def test_every_gold_solution_of_gsm8k_is_right():
    problems = read_gsm8k(Path(os.environ["PYDISP_TOOLKEN_DATA"]) / "gsm8k").problems
    assert len(problems) > 8000
    assert [(one.solution, one.answer) for one in problems if not judged(one.solution, one.answer, has_lines=True).is_exact] == []


@given(st.decimals(min_value=-(10**12), max_value=10**12, places=3))
def test_every_number_that_is_written_is_read_again(value):
    assert last_numbers(f"It is {value} km.", 1) == [value]
    assert judged(f" {value:,} km", str(value)).is_exact is True


@given(st.text(max_size=80))
def test_any_text_is_judged(text):
    for gold in ("84", "Monday", "1 and 2"):
        assert isinstance(judged(text, gold).is_exact, bool)
    judged(text, text), judged("84", text, has_lines=True)
