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
    assert values("integer", "8 or 9", line) == [Decimal(value)]


def test_the_last_line_with_a_number_counts():
    assert values("decimal(2)", "5", "7.5", "I hope this helps", "]") == [Decimal("7.5")]
    assert values("integer", "none at all", "A12") == values("integer") == []


def test_dates_are_taken_as_numbers_are():
    assert values("date", "2020-01-01 or 02", "It was placed on March 5, 2021, before 2022-01-01") == ["2021-03-05"]
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
    assert values("text", '["Bob"]', "Anna") == ["anna"]


@pytest.mark.parametrize(
    "lines, value",
    [
        (["7", "These are the orders above 30."], 7), (["Of 10 orders, some are above 30.", "7", "I hope this helps with all 10."], 7),
        (["7 orders", "Orders 12 and 15 were among them, all above 30.", "**7**"], 7), (["7", "There are 8 orders."], 8),
        (["7", "So: about $8"], 8),
        (["7", "8"], 8), (["1. order 4", "2. order 9", "In all that makes 7 orders."], 7),
        (["Step 1", "In all we find that Rome has 7."], 7),
        (["order 7", "It has the largest sum, 99 euros"], 7), (["| n |", "|---|", "| 7 |", "These are the orders above 30."], 7),
        (['{"city": "Rome", "n": 7}', "These are the orders above 30."], 7), (["Rows: [12, 15]", "That makes 7 orders"], 7),
        (["| # | n |", "|---|---|", "| 1 | 7 |", "These are the orders above 30."], 7), (["[", "7", "]", "which are those above 30"], 7),
    ],
)  # fmt: skip
def test_one_number_alone_on_a_line_counts_unless_a_later_line_states_another(lines, value):
    assert values("integer", *lines) == [value]


def test_one_date_alone_on_a_line_counts():
    assert values("date", "- March 5, 2021", "The order of 2021-04-01 came later.") == ["2021-03-05"]
    assert values("date", "March 5, 2021", "It was 2021-04-01.") == ["2021-04-01"]
    assert values("date", "It was on 2021-03-05, because the next came on 2021-04-01") == ["2021-03-05"]


@pytest.mark.parametrize(
    "line, value",
    [
        ("The count is 7, because 3 of the 10 orders are below 30.", 7), ("7 because 3 + 4 = 8", 7), ("7 (out of 12 orders)", 7),
        ("7 (out of 12", 7),
        ("3 (out of 5) and 4 (out of 9), in all 7", 7), ("7 orders, since 5 of the 12 are from Oslo", 7),
        ("Because 3 are below, the count is 7", 7), ("Now because 3 are below, it is 7", 7),
        ("The 3 customers since 2019 placed 7", 7), ("The 3 customers since 5 May placed 7", 7), ("Since 12 are new, it is 7", 7),
    ],
)  # fmt: skip
def test_the_reason_of_a_number_is_not_looked_at(line, value):
    assert values("integer", line) == [value]


LONG = "It leads the list with twelve orders, followed by Oslo and Bern."


@pytest.mark.parametrize(
    "lines, found",
    [
        (["Anna", LONG, LONG], ["anna"]), (["- **Anna**", LONG], ["anna"]), (["Name: Anna", LONG], ["name: anna", "anna"]),
        (["Anna, Bob", LONG], ["anna, bob"]), (["Anna", "Bob"], ["bob"]), (["Anna", LONG, "Bob"], ["bob"]),
        (["Let me see.", f"{LONG} It is Anna"], [f"{LONG} It is Anna".casefold(), "anna"]),
        (["# Names", f"{LONG} It is Anna"], [f"{LONG} It is Anna".casefold(), "anna"]),
        (["Bob has two", f"{LONG} It is Anna"], [f"{LONG} It is Anna".casefold(), "anna"]),
        (["one two three four five six seven", f"{LONG} It is Anna"], [f"{LONG} It is Anna".casefold(), "anna"]),
        (['["Anna"]', "This is Bob"], ["anna"]), (['{"n": 3, "name": "Anna"}', "I hope this helps!"], ["anna"]),
        (["- Anna", "I hope this helps!"], ["anna"]),
        (["| name |", "|---|", "| Anna |", "I hope this helps!"], ["anna"]),
        (["| No. | name |", "|---|---|", "| 1 | Anna |", "I hope this helps!"], ["anna"]),
        (["| No. | name |", "|---|---|", "| 1 | Anna |"], ["anna"]),
        (["| No. | name |", "|---|---|", "| 1 | Anna |", "| 2 | Bob |"], ["bob"]),
        (["- Anna: 3", "- Bob: 4", "Bob has more"], ["bob has more", "bob"]), (["- Anna: 3", "Bob has more"], ["bob has more", "bob"]),
        (["| name |", "|---|", "| Anna |", "| Bob |", "Anna has more"], ["anna has more", "anna"]),
        (['["Anna", "Bob"]', "Bob has more"], ["bob has more", "bob"]),
    ],
)  # fmt: skip
def test_a_first_line_or_a_block_of_one_text_counts_with_prose_after_it(lines, found):
    assert values("text", *lines, gold="Carl") == found


def test_a_gold_row_behind_a_bullet_is_taken_whole():
    assert values("text", "- who is: A", gold="who is: A") == ["who is: a"]
    assert values("text", "- who is: A", "I hope this helps!", gold="who is: A") == ["who is: a"]
