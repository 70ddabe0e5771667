from decimal import Decimal
from fractions import Fraction
from functools import cache
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from pydisp.holobench.items import Gold
from pydisp.holobench.scorer.matching import Matched, Wanted
from pydisp.holobench.scorer.values import compared, is_close, read


def wanted(types, rows, kind: str = "group") -> Wanted:
    return Wanted(Gold(tuple(f"c{place}" for place in range(len(types))), tuple(types), tuple(rows)), kind)


def label_of(gold_row, answer_row, types, key) -> int:
    """Halves of one pair, straight from the rules: 2 exact, 1 partial, 0 none."""
    values = [read(cell, kind) for cell, kind in zip(answer_row, types, strict=True)]
    right = [compared(read(str(value), kind), kind) for value, kind in zip(gold_row, types, strict=True)]
    equal = [compared(value, kind) == own for value, own, kind in zip(values, right, types, strict=True)]
    if all(equal):
        return 2
    if key and all(equal[place] for place in key) and None not in values:
        return 1
    wrong = [place for place, is_equal in enumerate(equal) if not is_equal]
    return int(len(wrong) == 1 and values[wrong[0]] is not None and is_close(values[wrong[0]], right[wrong[0]], types[wrong[0]]))


def best_by_trial(golds, answers, types, key, is_ordered) -> tuple[int, int]:
    """(halves, exact) of the best matching, by trying all."""
    labels = [[label_of(gold, answer, types, key) for gold in golds] for answer in answers]
    best = (0, 0)
    slots = [*range(len(golds)), *[None] * len(answers)]
    for places in set(permutations(slots, len(answers))):
        used = [place for place in places if place is not None]
        if is_ordered and used != sorted(used):
            continue
        found = [labels[row][place] for row, place in enumerate(places) if place is not None]
        best = max(best, (sum(found), found.count(2)))
    return best


SHAPES = {
    ("text", "integer"): (0,), ("integer", "text"): (1,), ("identifier", "decimal(1)"): (0,), ("text", "text"): (0,),
    ("text", "date", "integer"): (0, 1), ("text",): (), ("integer",): (), ("identifier",): (),
    ("decimal(1)",): (), ("identifier", "text", "integer"): (1,), ("integer", "integer"): (0,), ("date", "text"): (0,),
}  # fmt: skip
POOLS = {
    "text": ["Vienna", "Viena", "Vienan", "Rome", "Rom"], "integer": [100, 103, 7, 6, 0, -100], "identifier": [100, 101],
    "decimal(1)": [Decimal("100.0"), Decimal("104.9"), Decimal("2.0")],
    "date": ["2021-03-05", "2021-03-06"],
}  # fmt: skip


@given(st.sampled_from(sorted(SHAPES)), st.booleans(), st.data())
@settings(max_examples=250, deadline=None)
def test_matching_is_the_best_of_all(types, is_ordered, data):
    row = st.tuples(*(st.sampled_from(POOLS[kind]) for kind in types))
    golds = data.draw(st.lists(row, min_size=1, max_size=4))
    wrong = st.tuples(*(st.sampled_from([*map(str, POOLS[kind]), "100.04", "nothing"]) for kind in types))
    answers = [tuple(map(str, answer)) for answer in data.draw(st.lists(row | wrong | st.sampled_from(golds), max_size=4))]
    found = wanted(
        types,
        [tuple(float(value) if isinstance(value, Decimal) else value for value in gold) for gold in golds],
        "top_k" if is_ordered else "join",
    ).match(answers)
    assert (found.halves, found.exact) == best_by_trial(golds, answers, types, SHAPES[types], is_ordered)
    assert found.rows == len(answers)


def test_rows_of_another_width_count_and_match_nothing():
    found = wanted(["text", "integer"], [("Rome", 1)]).match([("Rome",), ("Rome", "1", "2"), (), ("Rome", None), ("Rome", "1")])
    assert found == Matched(exact=1, partial=0, rows=5)


def test_gold_rows_by_number_are_exact():
    assert wanted(["text"], [("a",), ("b",)], "top_k").match([0, 1]) == Matched(2, 0, 2)
    assert wanted(["text"], [("a",), ("b",)], "top_k").match([1, 0]) == Matched(1, 0, 2)


def test_in_order_the_larger_sum_wins_over_an_exact_row():
    rows = [("Rome", 1), ("Oslo", 2), ("Bern", 3)]
    assert wanted(["text", "integer"], rows, "top_k").match([("Bern", "3"), ("Rome", "9"), ("Oslo", "9"), ("Bern", "9")]) == Matched(
        0, 3, 4
    )
    assert wanted(["text", "integer"], rows, "top_k").match([("Bern", "3"), ("Rome", "9"), ("Oslo", "9")]) == Matched(1, 0, 3)


def test_a_cell_loses_its_own_columns_name():
    gold = Gold(("city", "total_sum"), ("text", "integer"), (("Rome", 12), ("city: Oslo", 7)))
    assert Wanted(gold, "group").match([("City: Rome", "Total sum = 12"), ("city: Oslo", "total_sum:7")]) == Matched(2, 0, 2)
    assert Wanted(gold, "group").match([("town: Rome", "12")]) == Matched(0, 0, 1)


def test_keys_that_are_texts_are_never_close():
    for kind in ("top_k", "filter"):
        assert wanted(["identifier"], [("ABCDE",), ("X",)], kind).match([("abcde",), ("ABCDF",)]) == Matched(1, 0, 2)


def test_many_equal_keys_are_matched_as_often_as_they_occur():
    rows = [("Rome", number) for number in range(300)]
    answers = [("Rome", str(number)) for number in range(200, 1200)]
    assert wanted(["text", "integer"], rows).match(answers) == Matched(100, 200, 1000)


def test_augmenting_finds_the_pair_that_greed_misses():
    # "viennaa" is close to both names, "vienaa" to one of them only.
    assert wanted(["text"], [("vienna",), ("viennaab",)]).match([("viennaa",), ("viennb",)]) == Matched(0, 2, 2)


@cache
def fraction(value) -> Fraction:
    return Fraction(value)


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=30), st.integers(-300, 300))
def test_all_close_numbers_are_found(golds, answer):
    column = wanted(["integer"], [(gold,) for gold in golds])._columns[0]
    expected = {gold for gold in golds if gold != answer and abs(fraction(answer) - gold) < abs(fraction(gold)) / 20}
    assert set(column.close(Decimal(answer))) == expected
