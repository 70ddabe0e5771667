"""Splits: problems into train, validation and test, by their groups, so that no paraphrase of a tested problem was trained on.

splits = split(problems, seed=0)
splits.train, splits.validation, splits.test
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydisp.draws import Draws
from pydisp.report.words import counted
from pydisp.toolken.problems.problem import Problem, ProblemError


@dataclass(frozen=True)
class Splits:
    """The parts, each in the order of the problems that were split."""

    train: tuple[Problem, ...]
    validation: tuple[Problem, ...]
    test: tuple[Problem, ...]


def split(problems: Sequence[Problem], *, seed: int, validation: float = 0.15, test: float = 0.15) -> Splits:
    """Groups are ordered by a draw of their names; the first go to test, the next to validation, the others to train.

    Where a group stands depends on the seed and on the other groups, not on the order of the problems. The parts are as large as the shares say, but for
    the size of one group.

    Args:
        validation, test: shares of the problems, each 0 or more, together below 1.
    Raises: ProblemError for other shares, and if there are fewer groups than parts that are asked for.
    """
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise ProblemError(f"the shares of validation and test are {validation} and {test}; they must be 0 or more and together below 1.")
    sizes: dict[str, int] = {}
    for one in problems:
        sizes[one.group] = sizes.get(one.group, 0) + 1
    parts = 1 + (validation > 0) + (test > 0)
    if len(sizes) < parts:
        raise ProblemError(
            f"{counted(len(problems), 'problem')} in {counted(len(sizes), 'group')}, which cannot be split into {parts} parts; give more problems."
        )
    shuffled = Draws(seed, "toolken split").shuffled(sorted(sizes))
    part_of, place = {}, 0
    for name, share, later in (("test", test, parts - 1), ("validation", validation, 1)):
        count = 0
        while share > 0 and place < len(shuffled) - later and (not count or count + sizes[shuffled[place]] / 2 <= share * len(problems)):
            count += sizes[shuffled[place]]
            part_of[shuffled[place]] = name
            place += 1
    return Splits(*(tuple(one for one in problems if part_of.get(one.group, "train") == name) for name in ("train", "validation", "test")))
