from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisp.holobench.scorer.values import (
    compared,
    date,
    dates_in,
    folded,
    hidden_commas,
    is_close,
    name,
    number,
    numbers_in,
    read,
    rounded,
)


@pytest.mark.parametrize(
    "written",
    [
        "Oak Table",
        "oak  table",
        "**Oak Table**",
        '"Oak Table".',
        "“oak table”",
        "(Oak Table)",
        "- Oak Table",
        "The Oak Table",
        "Oak\u00a0Table!",
        "`Oak Table`",
        "Ｏak Table",
    ],
)
def test_a_name_is_the_same_in_any_dress(written):
    assert name(written) == "oak table"


@pytest.mark.parametrize("written", ["Oak Tables", "Oak-Table", "Oak Table 2", "An Oak Table", "OakTable", "Oak, Table", "Oak"])
def test_another_name_stays_another(written):
    assert name(written) != "oak table"


def test_quotes_and_dashes_inside_a_name_are_of_one_kind():
    assert name("O’Neil–Straße") == name("o'neil-STRASSE")


def test_a_name_of_signs_only_stays():
    assert name("???") == "???" and name(" -- ") == "--" and name("the") == "the" and name("The The") == "the" and name("") == ""


@pytest.mark.parametrize(
    "written, value",
    [
        ("12", "12"), ("-12", "-12"), ("−12", "-12"), ("+12", "12"), ("12.", "12"), ("**12**", "12"), ("(12)", "12"), ("#12", "12"),
        ("12 items", "12"), ("12 order items", "12"),
        ("1,234", "1234"), ("1 234", "1234"), ("1\u202f234.5", "1234.5"), ("1,234,567.89", "1234567.89"), ("$1,234.50", "1234.50"),
        ("-$5", "-5"), ("$-5", "-5"), ("12 €", "12"), ("12.50€", "12.50"),
        ("EUR 12", "12"), ("12 USD", "12"), ("42.50 euros", "42.50"), ("12 %", "12"), ("12%", "12"), ("12 percent", "12"),
        ("about 12", "12"), ("~12", "12"), ("≈ 12 kg", "12"), ("exactly 12", "12"),
        ("seven", "7"), ("Seven orders", "7"), ("twenty", "20"), ("zero", "0"), (".5", "0.5"), ("007", "7"), ("７", "7"),
        ("Order 157", "157"), ("Fine No. 399", "399"), ("Nr.12", "12"), ("№ 12", "12"), ("delay number **207**", "207"),
        ("**Order** 12", "12"),
        ("order #12", "12"), ("total 12 items", "12"), ("Order ID 12.", "12"), ("order seven", "7"), ("delay number **207", "207"),
        ("9" * 40, "9" * 40), ("0." + "3" * 39, "0." + "3" * 39),
    ],
)  # fmt: skip
def test_a_number_is_read_in_any_dress(written, value):
    assert number(written) == Decimal(value)


@pytest.mark.parametrize(
    "written",
    ["", "-", "A12", "12a", "1e3", "1/2", "12 of the 30", "12 very big items", "12,50", "1.234,50", "1,23", "1,2345", "12 13", "twenty-one",
    "twenty one", "two hundred", "5 million", "2 dozen",
     "9" * 41, "9" * 5000, "1e999999", "NaN", "inf", "Infinity", "٣", "12 = 12", "5 seven", "--5", "1.2.3", "2021-03-05", "x" * 10**5,
     "Order 12 13", "my own order 12", "order A12", "not 7", "minus 7", "below 7", "more than 7", "March 5", "may 2021", "no one",
     "hundred 7",
     "twenty order 1", "step 1", "7 or 8", "a 3*4"],
)  # fmt: skip
def test_what_is_no_number_is_none(written):
    assert number(written) is None


@given(st.integers(-(10**15), 10**15), st.integers(0, 3))
def test_a_written_number_is_read_back(value, digits):
    value = Decimal(value).scaleb(-digits)
    assert number(f"{value:f}") == number(f"{value:,f}") == number(f"€{value:,f} in total") == value


@pytest.mark.parametrize(
    "written",
    ["2021-03-05", "2021-3-5", "2021-03-05 00:00:00", "2021-03-05T00:00", "2021/03/05", "2021.03.05", "5 March 2021", "05 mar 2021",
    "5th of March 2021", "5 March, 2021", "March 5, 2021",
     "Mar. 5th, 2021", "MARCH 5 2021", "**2021-03-05**.", "(March 5, 2021)"],
)  # fmt: skip
def test_a_date_is_read_in_any_form(written):
    assert date(written) == "2021-03-05"


def test_a_numeric_date_is_read_where_one_order_is_possible():
    assert date("13/05/2021") == date("05/13/2021") == date("13.5.2021") == date("13-05-2021") == "2021-05-13"
    assert date("05/05/2021") == "2021-05-05"
    for written in (
        "05/06/2021",
        "13/13/2021",
        "31/02/2021",
        "2021-02-30",
        "2021-13-01",
        "5 March",
        "March 2021",
        "13/05/21",
        "2021-03-05 14:30",
        "on 2021-03-05",
        "0000-01-01",
        "12021-03-05",
        "13/05-2021",
    ):
        assert date(written) is None, written


@given(st.dates())
def test_a_written_date_is_read_back(day):
    assert (
        date(day.isoformat()) == date(f"{day:%B} {day.day}, {day.year:04}") == date(f"{day.day} {day:%b} {day.year:04}") == day.isoformat()
    )


def test_equal_decimals_have_the_golds_digits_and_round_half_away_from_zero():
    for written, equal in (
        ("42.499", True),
        ("42.495", True),
        ("42.4949999999999999999999999999999", False),
        ("42.5", True),
        ("42", False),
        ("-42.5", False),
    ):
        assert (compared(read(written, "decimal(2)"), "decimal(2)") == Decimal("42.50")) == equal, written
    assert [str(rounded(Decimal(text), "decimal(1)")) for text in ("0.25", "0.35", "-0.25", "9" * 39 + ".95")] == [
        "0.3",
        "0.4",
        "-0.3",
        "1" + "0" * 39 + ".0",
    ]
    assert rounded(Decimal("7.5"), "decimal(0)") == 8


def test_whole_numbers_are_never_rounded():
    assert compared(read("7.0", "integer"), "integer") == 7 != compared(read("7.4", "integer"), "integer")


@pytest.mark.parametrize(
    "line, values",
    [
        ("there are 7 orders above 30", [7, 30]), ("3 + 4 = 7", [3, 4, 7]), ("3,5, 7", [3, 5, 7]), ("a12 1e3 7th", []), ("12-5", [12, 5]),
        ("-5 and -$6", [-5, -6]), ("1,234.50 or 1 234", [Decimal("1234.50"), 1234]),
        ("2021-03-05 has 7, may 5, 2021 too; 05/06/2021", [7]), ("seven of twenty", [7, 20]), ("twenty-one, twenty two", []),
        ("5 million, two hundred, 3 dozen", []), ("1/2 of 4", [4]), ("7.", [7]),
        ("v1.2.3", []), ("1.2.3", []), ("$5, #6, (7)", [5, 6, 7]), ("12% of 50€", [12, 50]), ("9" * 41 + " 8", [8]),
        ("someone, phone, often", []), ("10-20", [10, 20]),
    ],
)  # fmt: skip
def test_the_numbers_of_a_line(line, values):
    assert [value for _, value in numbers_in(folded(line))] == values


def test_numbers_and_dates_know_where_they_begin():
    assert numbers_in("is 7 -> -5") == [(3, 7), (8, -5)]
    assert dates_in("on march 5, 2021 or 2020-01-02, not 05/06/2021") == [(3, "2021-03-05"), (20, "2020-01-02")]


def test_commas_that_separate_nothing_are_hidden():
    for line in ("a, b", "12,34", "1234,567", "12, 345", "12, 2021", "1,2345", "", "a,b,c"):
        assert hidden_commas(line) == line
    for line in ("1,234", "x 1,234,567.5, y", "May 5, 2021", "on mar. 5th,2021 it was"):
        assert hidden_commas(line).count("\ue001") == line.count(",") - line.count(", y")
        assert hidden_commas(line).replace("\ue001", ",") == line


def edits(text: str) -> set[str]:
    """All texts one edit away, over a small alphabet."""
    signs = "abé 7"
    found = {text[:place] + sign + text[place:] for place in range(len(text) + 1) for sign in signs}
    found |= {text[:place] + sign + text[place + 1 :] for place in range(len(text)) for sign in ("", *signs)}
    return found | {text[:place] + text[place + 1] + text[place] + text[place + 2 :] for place in range(len(text) - 1)}


@given(st.text("abé 7", max_size=9), st.data())
def test_close_texts_are_those_one_edit_away(gold, data):
    answer = data.draw(st.sampled_from(sorted(edits(gold))) | st.text("abé 7", max_size=9))
    expected = answer in edits(gold) and sum(map(str.isalpha, gold)) >= 5 and answer.count("7") == gold.count("7")
    assert is_close(answer, gold, "text") == expected


def test_a_digit_is_never_an_edit():
    assert is_close("custmer 12", "customer 12", "text")
    for other in ("customer 13", "customer 1", "customer 123", "customer 21"):
        assert not is_close(other, "customer 12", "text")


def test_close_numbers_are_less_than_5_percent_off():
    pairs = [(104, 100, True), (105, 100, False), (95, 100, False), ("95.01", 100, True), (-104, -100, True), (-100, 100, False)]
    for answer, gold, close in [*pairs, (6, 7, False), (19, 20, False), (20, 21, True), (0, 0, False), (1, 0, False)]:
        assert is_close(Decimal(answer), Decimal(gold), "integer") == is_close(Decimal(answer), Decimal(gold), "decimal(2)") == close
    assert (
        not is_close(Decimal(104), Decimal(100), "identifier")
        and not is_close("2021-03-05", "2021-03-06", "date")
        and not is_close("abcdef", "abcdeg", "code")
    )


def test_a_cell_of_another_type_says_nothing():
    assert read(None, "text") is read("", "text") is read("Rome", "integer") is read("12", "date") is read("Rome", "decimal(2)") is None
    assert read("12", "text") == read("12", "code") == "12"
