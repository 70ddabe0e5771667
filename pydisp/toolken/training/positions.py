"""Positions: the places of labelled problems at which rows learn: every tool label, and words as examples of where none is needed.

    positions = choose_positions(labelled, most_words=20_000, seed=0)
    positions.problem, positions.place, positions.target        # (N,) each

A position is a label: place t of a problem stands for what the hidden state at t - 1 predicts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pydisp.draws import Draws
from pydisp.toolken.problems.labels import MASKED, WORD, Labelled


@dataclass(frozen=True, eq=False)
class Positions:
    """N positions in the order of problem and place; int64 and bool tensors on the CPU.

    Args:
        problem: (N,) which of the labelled problems. place: (N,) t, at least 1.
        target: (N,) place of a tool in the tools, or WORD.
        word: (N,) the id of the word at t; -1 where the target is a tool, or where the solution of a problem without tools is empty.
        is_decision: (N,) whether a problem's need of a tool is judged here: at its first call, or, without one, at its first solution token.
    """

    problem: Tensor
    place: Tensor
    target: Tensor
    word: Tensor
    is_decision: Tensor

    def __len__(self) -> int:
        return len(self.place)

    @property
    def is_tool(self) -> Tensor:
        """(N,) bool."""
        return self.target >= 0


def choose_positions(labelled: Sequence[Labelled], *, most_words: int | None, seed: int) -> Positions:
    """All tool labels; all word labels, but at most `most_words` of them, drawn by the seed; the decision position of problems without tools always.

    Args:
        most_words: None for all.
    """
    kept, words = [], []
    for number, one in enumerate(labelled):
        decision = next((place for place, target in enumerate(one.targets) if target >= 0), 0)
        needs_tool = one.targets[decision] >= 0
        for offset, target in enumerate(one.targets):
            row = (number, one.first + offset, max(target, WORD), offset == decision)
            if target >= 0 or offset == decision and not needs_tool:
                kept.append(row)
            elif target != MASKED:
                words.append(row)
    if most_words is not None and len(words) > most_words:
        words = Draws(seed, "word positions").sample(words, most_words)
    rows = sorted(kept + words)
    ids = [labelled[number].ids[place] if target == WORD and place < len(labelled[number].ids) else -1 for number, place, target, _ in rows]
    problem, place, target, is_decision = (torch.tensor([row[column] for row in rows], dtype=torch.int64) for column in range(4))
    return Positions(problem, place, target, torch.tensor(ids, dtype=torch.int64), is_decision.bool())
