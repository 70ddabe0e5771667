"""Drawn columns: each kind alone."""

from collections import Counter
from datetime import date
from itertools import pairwise

import pytest

from pydisp.draws import Draws
from pydisp.holobench.database.drawn_columns import (
    Beside,
    Cents,
    Day,
    Name,
    Refers,
    Skew,
    Whole,
    Window,
    Word,
    Year,
    roman,
    share,
    words_of,
)


def test_roman_numbers():
    assert [roman(number) for number in (1, 4, 9, 14, 40, 90, 400, 1994)] == ["I", "IV", "IX", "XIV", "XL", "XC", "CD", "MCMXCIV"]


def test_names_come_again_with_a_number_when_all_pairs_are_taken():
    column = Name("color", starts="colors", ends="colors")
    pairs = len(words_of("colors")) * (len(words_of("colors")) - 1)  # a word is never doubled
    values = column.values(Draws("names"), Beside(2 * pairs + 1))
    assert len(set(values)) == len(values)
    assert all(len(value.split()) == 2 for value in values[:pairs])
    assert {value.split()[2] for value in values[pairs : 2 * pairs]} == {"II"}
    assert {value.removesuffix(" II") for value in values[pairs : 2 * pairs]} == set(values[:pairs])
    assert values[2 * pairs].endswith(" III")


def test_skew_draws_place_k_as_often_as_one_over_k_and_offset():
    draws, skew = Draws("skew"), Skew(10, offset=1)
    counts = Counter(skew.place(draws, 4) for _ in range(25_000))
    assert sorted(counts) == [0, 1, 2, 3]
    for place in range(4):
        assert counts[place] / 25_000 == pytest.approx(12 / 25 / (place + 1), abs=0.015)


def test_the_window_of_a_row_is_what_the_smallest_database_with_this_row_has():
    for child, parent in ((1, 4), (3, 5), (2, 20), (4, 1)):
        window = Window(child, parent, smallest=40)
        for number in range(200):
            rows = next(rows for rows in range(40, 2000) if share(rows, child) > number)
            assert window.rows(number) == share(rows, parent)


def test_references_stay_in_their_window_and_reach_its_end():
    window = Window(1, 4, smallest=40)
    values = Refers("parent", table="parents").values(Draws("refers"), Beside(2000, parents={"parents": (list(range(500)), window)}))
    assert all(value < window.rows(number) for number, value in enumerate(values))
    assert max(values) > 400


def test_a_reference_besides_another_holds_another_key():
    parents = {"letters": (["a", "b"], Window(1, 20, smallest=40))}
    values = Refers("other", table="letters", besides="one").values(Draws("besides"), Beside(40, {"one": ["a", "b"] * 20}, parents))
    assert values == ["b", "a"] * 20


def test_numbers_stay_in_their_range_and_reach_both_ends_of_it():
    values = Whole("points", low=10, high=29).values(Draws("whole"), Beside(3000))
    assert set(values) == set(range(10, 30))
    values = Cents("price", low=5, high=14).values(Draws("cents"), Beside(1000))
    assert {str(value) for value in values} == {f"0.{number:02d}" for number in range(5, 15)}


def test_years_and_days_stay_in_their_range():
    assert set(Year("year", low=2001, high=2004).values(Draws("year"), Beside(200))) == {2001, 2002, 2003, 2004}
    days = Day("day", low=2020, high=2020).values(Draws("day"), Beside(4000))
    assert {date.fromisoformat(day).year for day in days} == {2020}
    assert (min(days), max(days)) == ("2020-01-01", "2020-12-31")


def test_which_words_are_common_depends_on_the_seed():
    common = {Counter(Word("city", of="cities").values(Draws(seed), Beside(300))).most_common(1)[0][0] for seed in range(8)}
    assert len(common) > 2


def test_the_lists_have_no_word_twice():
    for name in ("first_names", "last_names", "staff_first_names", "staff_last_names", "things", "cities", "club_towns", "title_ends"):
        assert all(one != other for one, other in pairwise(sorted(words_of(name))))
