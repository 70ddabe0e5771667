from decimal import Decimal

import pytest

from pydisp.holobench.items import Gold
from pydisp.holobench.scorer.answer_text import Plain
from pydisp.holobench.scorer.final_value import final_values


def values(kind: str, *lines: str, gold: str = "Anna") -> list:
    return final_values(list(lines), kind, Plain.of(Gold(("name",), ("text",), ((gold,),))))


@pytest.mark.parametrize(
    "line, value",
    [
        ("7", 7), ("There are 7 orders above 30", 7), ("3 + 4 = 7", 7), ("3, 5, 7", 7), ("The total is 7, which is fine", 7),
        ("12 of the 30 rows are from Rome, 7 of them new", 7), ("total: 7 of 12", 7), ("7 orders", 7), ("| 7 |", 7),
        ('"count": 7', 7), ("so 5 is wrong, 7", 7), ("It was -7", -7), ("is this 5 or 7", 5), ("on 2021-03-05 there were seven", 7),
        ("Isis 5 and 7", 7), ("[3, 7]", 7),
    ],
)  # fmt: skip
def test_the_number_a_line_ends_with(line, value):
    assert values("integer", "8", line) == [Decimal(value)]


def test_the_last_line_with_a_number_counts():
    assert values("decimal(2)", "5", "7.5", "I hope this helps", "]") == [Decimal("7.5")]
    assert values("integer", "none at all", "A12") == values("integer") == []


def test_dates_are_taken_as_numbers_are():
    assert values("date", "2020-01-01", "It was placed on March 5, 2021, before 2022-01-01") == ["2021-03-05"]
    assert values("date", "2021-01-01, 5 Mar 2021") == ["2021-03-05"]
    assert values("date", "2021", "05/06/2021") == []


@pytest.mark.parametrize(
    "line, found",
    [
        ("Anna", ["anna"]), ("- Anna.", ["anna"]), ("1. Anna", ["anna"]), ("It is Anna.", ["it is anna", "anna"]),
        ("Of all, the first is the Anna", ["of all, the first is the anna", "anna"]),
        ("What is asked is = Anna", ["what is asked is = anna", "anna"]), ("name: Anna", ["name: anna", "anna"]),
        ("x = Anna", ["x = anna", "anna"]), ("Anna has more", ["anna has more", "anna"]),
        ("Anna has what is Bob", ["anna has what is bob", "bob"]), ("Anna, Bob", ["anna, bob"]), ("| Anna |", ["anna"]),
        ("Chris Hass", ["chris hass"]),
        ("Anna is", ["anna is"]),
    ],
)  # fmt: skip
def test_the_text_a_line_ends_with(line, found):
    assert values("text", "Bob", line) == values("code", "Bob", line) == found


def test_a_text_line_without_letters_is_passed_over():
    assert values("text", "Anna", "---") == ["anna"]
    assert values("text") == []


def test_the_gold_itself_is_taken_whole():
    assert values("text", "x", "who is: - A", gold="who is: - A") == [("who is: - a")]
    assert values("text", "x", "- A", gold="- A") == ["a"]
    assert values("text", "x", "?!", gold="?!") == ["?!"]


def test_the_last_value_of_json_counts():
    assert values("text", '{"name": "A: is B"}') == ["a: is b"]
    assert values("text", "[", '"Bob",', '{"x": ["Carl", "Anna"]}', "]") == ["anna"]
    assert values("text", '[["Bob", null]]') == values("text", '[["Bob", []]]') == []
    assert values("text", '["Bob"]', "is Anna") == ["is anna", "anna"]
