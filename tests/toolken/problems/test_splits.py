"""Splits keep paraphrases together, do not depend on the order, and are as large as asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisp.toolken.problems.problem import Problem, ProblemError
from pydisp.toolken.problems.splits import split


def some(groups: list[int]) -> list[Problem]:
    return [Problem(str(number), "Q", " A", group=str(group)) for number, group in enumerate(groups)]


@given(
    st.lists(st.integers(0, 30), min_size=3, max_size=120),
    st.integers(0, 5),
    st.sampled_from([(0.15, 0.15), (0.3, 0.2), (0.0, 0.5), (0.2, 0.0)]),
)
def test_every_problem_stands_in_one_part_with_its_group(groups, seed, shares):
    if len(set(groups)) < 3:
        return
    problems = some(groups)
    parts = split(problems, seed=seed, validation=shares[0], test=shares[1])
    together = [*parts.train, *parts.validation, *parts.test]
    assert sorted(one.id for one in together) == sorted(one.id for one in problems)
    names = [{one.group for one in part} for part in (parts.train, parts.validation, parts.test)]
    assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])
    assert parts.train and bool(parts.validation) == (shares[0] > 0) and bool(parts.test) == (shares[1] > 0)
    largest = max(groups.count(group) for group in groups)
    for part, share in ((parts.validation, shares[0]), (parts.test, shares[1])):
        assert abs(len(part) - share * len(problems)) <= largest


def test_it_is_the_same_in_any_order_and_another_with_another_seed():
    problems = some([number // 2 for number in range(200)])
    first, again = split(problems, seed=0), split(problems[::-1], seed=0)
    assert {one.id for one in first.test} == {one.id for one in again.test}
    assert [one.id for one in again.train] == [one.id for one in first.train][::-1]
    assert {one.id for one in split(problems, seed=1).test} != {one.id for one in first.test}
    assert (len(first.train), len(first.validation), len(first.test)) == (140, 30, 30)


def test_no_part_that_is_asked_for_is_empty():
    parts = split(some([0] * 50 + [1, 2]), seed=0, validation=0.1, test=0.85)
    assert parts.train and parts.validation and parts.test


def test_parts_that_cannot_be_are_refused():
    for shares in ((0.5, 0.5), (-0.1, 0.2), (float("nan"), 0.1)):
        with pytest.raises(ProblemError, match="together below 1"):
            split(some([1, 2, 3]), seed=0, validation=shares[0], test=shares[1])
    with pytest.raises(ProblemError, match="3 problems in 2 groups, which cannot be split"):
        split(some([1, 1, 2]), seed=0)
