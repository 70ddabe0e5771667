"""Positions: every tool label, the decisions of problems without tools, and words up to a number."""

import pytest
import torch
from toolken_training import labelled

from pydisp.toolken.problems.labels import Labelled
from pydisp.toolken.training.positions import choose_positions

# bos and prompt are 1 2 3; solutions: two words and a call of tool 1 with a masked token behind; three words; nothing; a call at the end
WRITTEN_OUT = [
    Labelled((1, 2, 3, 10, 11, 12, 13), 3, (-1, -1, 1, -2, -2)),
    Labelled((1, 2, 3, 20, 21, 22), 3, (-1, -1, -1, -2)),
    Labelled((1, 2, 3), 3, (-2,)),
    Labelled((1, 2, 3), 3, (0,)),
]


def rows(positions) -> list[tuple]:
    columns = (positions.problem, positions.place, positions.target, positions.word, positions.is_decision)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_all_positions_of_a_small_case_written_out():
    assert rows(choose_positions(WRITTEN_OUT, most_words=None, seed=0)) == [
        (0, 3, -1, 10, False),
        (0, 4, -1, 11, False),
        (0, 5, 1, -1, True),
        (1, 3, -1, 20, True),
        (1, 4, -1, 21, False),
        (1, 5, -1, 22, False),
        (2, 3, -1, -1, True),  # nothing follows: whatever word comes, it is no tool
        (3, 3, 0, -1, True),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_tools_and_decisions_stay_when_words_are_drawn(seed):
    found = rows(choose_positions(WRITTEN_OUT, most_words=1, seed=seed))
    assert len(found) == 5
    assert {(0, 5, 1, -1, True), (1, 3, -1, 20, True), (2, 3, -1, -1, True), (3, 3, 0, -1, True)} < set(found)
    assert found == sorted(found)


def test_the_draw_is_the_seeds():
    some = labelled()
    for problem in some:
        assert len(problem.targets) == len(problem.ids) - problem.first + 1
    first, again, other = (rows(choose_positions(some, most_words=10, seed=seed)) for seed in (3, 3, 4))
    assert first == again != other


def test_only_the_first_call_of_a_problem_is_its_decision():
    positions = choose_positions([Labelled((1, 2, 3, 4, 5), 2, (0, -1, 1, -2))], most_words=None, seed=0)
    assert positions.is_decision.tolist() == [True, False, False]
    assert torch.equal(positions.target, torch.tensor([0, -1, 1]))
