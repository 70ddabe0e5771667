"""Scoring: first and second scores of every set of toolkens at all labelled positions of test problems, from one pass over the model.

    scored = scored_positions(model, tokenizer, [toolkens], problems, kinds=("own",), k=3, folder="work")
    decide(scored[0], policy)

The hidden states of the frozen model are the same under all toolkens, so they are cached once; documentation is read only where a tool is above
every word, and once where several seeds would read the same.
"""

# N positions, T tools, k candidates

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pydisp.progress import silence
from pydisp.toolken.decisions import candidates, fires
from pydisp.toolken.documentation import Documentation
from pydisp.toolken.evaluating.selection import Positions
from pydisp.toolken.problems.labels import Labelled, label
from pydisp.toolken.problems.problem import Problem, ProblemError
from pydisp.toolken.toolkens import Toolkens
from pydisp.toolken.tools.tools import Tools
from pydisp.toolken.training.features import Features, cached_features
from pydisp.toolken.training.logit_form import logit_form
from pydisp.toolken.training.positions import choose_positions
from pydisp.toolken.training.rerank import Examples, second_scores, second_states
from pydisp.toolken.training.rows import tool_logits
from pydisp.toolken.training.second_pass import context_tokens

_ROOM = 40  # tokens of documentation for each tool, of toolkens that do not say how many theirs were trained with


def documentation_room(toolkens: Toolkens) -> int:
    """How many tokens of documentation each tool has: as many as in training, for the second rows know no other."""
    return toolkens.calibration.get("documentation_tokens", _ROOM)


def usable(
    problems: Sequence[Problem], tokenizer, tools: Tools, model: nn.Module, *, kinds: Sequence[str], k: int
) -> tuple[list[Problem], list[Labelled], list[str]]:
    """The problems that can be scored, their labels, and sentences on the others.

    Left out are problems that call a tool that has no toolken, those that cannot be labelled, and those behind whose text the model has no room:
    for the text itself, or for the names and parameters of any k tools in documentation of any of the kinds.
    """
    kept, labelled, reasons = [], [], {"unknown": [], "unlabelled": [], "long": []}
    room = context_tokens(model) - max((Documentation(tokenizer, tools, kind).least(k) for kind in kinds), default=0)
    for problem in problems:
        if any(call.tool not in tools for call in problem.calls):
            reasons["unknown"].append(problem.id)
            continue
        try:
            one = label(problem, tokenizer, tools)
        except ProblemError:
            reasons["unlabelled"].append(problem.id)
            continue
        if len(one.ids) > room:
            reasons["long"].append(problem.id)
        else:
            kept.append(problem)
            labelled.append(one)
    words = {
        "unknown": "call a tool that has no toolken",
        "unlabelled": "cannot be labelled with this tokenizer",
        "long": "leave no room in the context for the documentation",
    }
    return (
        kept,
        labelled,
        [f"{len(ids)} problems {words[why]} and are left out; the first: {ids[0]}." for why, ids in reasons.items() if ids],
    )


def scored_positions(
    model: nn.Module,
    tokenizer,
    toolkens: Sequence[Toolkens],
    problems: Sequence[Problem],
    labelled: Sequence[Labelled],
    *,
    kinds: Sequence[str],
    k: int,
    folder: str | os.PathLike,
    batch_tokens: int = 2048,
    say: Callable[[str], None] = silence,
) -> list[Positions]:
    """The scores under each set of toolkens, at the same positions: all tool labels and all words of the solutions.

    Args:
        model: in evaluation mode, without a ToolkenHead. toolkens: of the same tools in one order, trained with the same room for documentation.
        problems, labelled: of `usable`. kinds: of documentation, as in `Policy.documentation`; () for none.
        folder: for caches; a stopped pass goes on there. batch_tokens: of a batch, padding counted.
    Raises: Interrupted after a stop request; ValueError for values that are not finite.
    """
    positions = choose_positions(labelled, most_words=None, seed=0)
    folder = Path(folder)
    features = cached_features(
        model, labelled, positions, folder / "first", vocabulary=toolkens[0].vocabulary, batch_tokens=batch_tokens, say=say,
        title="test: hidden states",
    )  # fmt: skip
    form = logit_form(model, torch.tensor([labelled[0].ids]))
    first = [tool_logits(features.hidden, one.rows, form) for one in toolkens]
    second: list[dict[str, np.ndarray]] = [{} for _ in toolkens]
    for kind in kinds:
        documentation = Documentation(tokenizer, toolkens[0].tools, kind, room=documentation_room(toolkens[0]))
        read = _Read(model, labelled, features, documentation, folder / f"second-{kind}", batch_tokens, say)
        for place, scores in enumerate(read.scores(first, [one.rerank_rows for one in toolkens], k)):
            second[place][kind] = scores
    groups, needs = tuple(one.group for one in problems), np.array([one.needs_tool for one in problems])
    gold, problem, best_word = positions.target.numpy(), positions.problem.numpy(), features.best_logit.numpy()
    return [Positions(one.numpy(), best_word, gold, problem, groups, needs, of) for one, of in zip(first, second, strict=True)]


class _Read:
    """The second scores of one kind of documentation."""

    def __init__(self, model, labelled, features: Features, documentation: Documentation, folder: Path, batch_tokens: int, say):
        self.model, self.labelled, self.features, self.documentation = model, labelled, features, documentation
        self.folder, self.batch_tokens, self.say = folder, batch_tokens, say

    def scores(self, first: Sequence[Tensor], rerank_rows: Sequence[Tensor], k: int) -> list[np.ndarray]:
        """For each seed (N, k + 1), REJ last, NaN where no tool is on top."""
        best = [candidates(one, k) for one in first]
        fired = [fires(self.features.best_logit[:, None], one).nonzero()[:, 0].tolist() for one in first]
        keys = [[(place, tuple(of[place].tolist())) for place in at] for of, at in zip(best, fired, strict=True)]
        unique = sorted({key for of in keys for key in of})
        where = {key: row for row, key in enumerate(unique)}
        states = self._states(unique) if unique else None
        found = []
        for of, at, wanted, rows in zip(best, fired, keys, rerank_rows, strict=True):
            scores = np.full((len(of), k + 1), np.nan, dtype=np.float32)
            if at:
                scores[at] = second_scores(states[[where[key] for key in wanted]], rows, of[at]).numpy()
            found.append(scores)
        return found

    def _states(self, keys: Sequence[tuple[int, tuple[int, ...]]]) -> Tensor:
        """(M, D) what the head reads at the end of the documentation."""
        places = torch.tensor([place for place, _ in keys])
        tools = torch.tensor([list(chosen) for _, chosen in keys])
        positions = self.features.positions
        unknown = torch.full((len(keys),), -1)
        examples = Examples(
            places, positions.problem[places], positions.place[places], tools, unknown, torch.ones(len(keys), dtype=torch.bool)
        )
        return second_states(
            self.model, self.labelled, examples, self.documentation, self.folder, batch_tokens=self.batch_tokens, say=self.say,
            title=f"test: {self.documentation.kind} documentation",
        )  # fmt: skip
