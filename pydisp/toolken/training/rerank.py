"""Rerank: the second rows W', one a tool and one for REJ, from prefixes with the documentation of the best k tools.

    examples = choose_examples(features, tool_logits(features.hidden, rows, form), k=3, most=1000, seed=0)
    second = second_states(model, labelled, examples, documentation, "work/second")
    fit = train_second_rows(examples, second, validation_examples, validation_second, tools, FitSettings(), seed=0)

Source: Toolken+, https://arxiv.org/abs/2410.12004: cross-entropy over the k best tools and REJ with a copy of rows of its own; REJ is right where the
first rows fire at a word. Which words, and what is done where the gold tool is not among the k, is ours. The candidates are those of rows that know these
positions, so the gold tool is mostly the first; with candidates of rows that were trained without them the second rows chose worse (SmolLM2-135M,
351 problems: the right tool at 0.45 of the calls of held-out problems against 0.58), for the order of the candidates then told them less.
"""

# M examples, D hidden, T tools, k candidates

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pydisp.draws import Draws
from pydisp.progress import silence
from pydisp.toolken.decisions import candidates
from pydisp.toolken.documentation import Documentation
from pydisp.toolken.problems.labels import Labelled
from pydisp.toolken.training.coordinates import Coordinates
from pydisp.toolken.training.features import Features
from pydisp.toolken.training.fitting import Fit, FitSettings, fitted, random_rows
from pydisp.toolken.training.second_pass import cached_second_states, context_tokens


@dataclass(frozen=True, eq=False)
class Examples:
    """M positions of features that are reranked.

    Args:
        position: (M,) int64, rows of the features. problem, place: (M,) int64, where the prefix ends.
        candidates: (M, k) int64 tools, the best first.
        right: (M,) int64: which candidate is right, k for REJ, -1 where the gold tool is not among them.
        fires: (M,) bool: whether a tool is above every word, so that decoding would come here.
    """

    position: Tensor
    problem: Tensor
    place: Tensor
    candidates: Tensor
    right: Tensor
    fires: Tensor

    def __len__(self) -> int:
        return len(self.position)

    @property
    def k(self) -> int:
        return self.candidates.shape[1]

    def kept(self, index: Tensor) -> "Examples":
        """Some of them, by numbers or by a mask."""
        return Examples(**{name: values[index] for name, values in vars(self).items()})


def choose_examples(features: Features, logits: Tensor, *, k: int, most: int | None, seed: int, put_gold: bool = True) -> Examples:
    """Positions with a gold tool, and as many words or all where a tool fires: these first, then those with the largest probability of a tool.

    Args:
        logits: (N, T) of the tools, by the trained first rows. k: at most T.
        most: of the gold ones, drawn by the seed, and then as many words as gold ones. None for all gold ones and all words where a tool fires:
            what is calibrated must have them at decoding's ratio.
        put_gold: where the gold tool is not among the best k it stands in place of the last, so that its row learns; False for what is calibrated
            or measured, where it is missing as in decoding.
    """
    best = candidates(logits, k)
    target, is_tool = features.positions.target, features.positions.is_tool
    gold, words = is_tool.nonzero()[:, 0], (~is_tool).nonzero()[:, 0]
    if most is not None and len(gold) > most:
        gold = torch.tensor(sorted(Draws(seed, "reranked").sample(gold.tolist(), most)))
    fires = logits.amax(1) > features.best_logit
    odds = logits.logsumexp(1) - features.lse  # of any tool against all words: the order of their probabilities
    order = (odds + torch.where(fires, 1e6, 0))[words].sort(descending=True, stable=True).indices
    count = max(len(gold), 1, int(fires[words].sum()) if most is None else 0)
    chosen = torch.cat([gold, words[order[:count]]]).sort().values
    best, target = best[chosen], target[chosen]
    is_there = (best == target[:, None]).any(1)
    if put_gold:
        is_missing = (target >= 0) & ~is_there
        best[:, -1] = torch.where(is_missing, target, best[:, -1])
        is_there |= is_missing
    right = torch.where(target < 0, k, torch.where(is_there, (best == target[:, None]).int().argmax(1), -1))
    positions = features.positions
    return Examples(chosen, positions.problem[chosen], positions.place[chosen], best, right, fires[chosen])


def second_states(
    model: nn.Module,
    labelled: Sequence[Labelled],
    examples: Examples,
    documentation: Documentation,
    folder: str | os.PathLike,
    *,
    batch_tokens: int = 2048,
    say: Callable[[str], None] = silence,
    title: str = "documentation",
) -> Tensor:
    """(M, D) float32: h' of each example, with the documentation of its candidates.

    Raises: DocumentationError where the context has no room; Interrupted; ValueError for values that are not finite.
    """
    room = context_tokens(model)
    prefixes = [labelled[problem].ids[:place] for problem, place in zip(examples.problem.tolist(), examples.place.tolist(), strict=True)]
    tails = [documentation.ids(tools, room - len(prefix)) for tools, prefix in zip(examples.candidates.tolist(), prefixes, strict=True)]
    return cached_second_states(model, prefixes, tails, folder, batch_tokens=batch_tokens, say=say, title=title)


def second_scores(second: Tensor, rerank_rows: Tensor, places: Tensor) -> Tensor:
    """(M, k + 1) scores of candidates and REJ, from (M, D) states, (T + 1, D) rows with REJ last, and (M, k) candidates."""
    scores = second @ rerank_rows.T
    return torch.cat([scores.gather(1, places), scores[:, -1:]], 1)


def train_second_rows(
    train: Examples,
    train_states: Tensor,
    validation: Examples,
    validation_states: Tensor,
    tools: int,
    settings: FitSettings,
    *,
    seed: int,
    say: Callable[[str], None] = silence,
) -> Fit:
    """W' (T + 1, D) float32, REJ last, with the lowest validation loss; examples without a right candidate count nowhere.

    Raises: ValueError for a loss that is not finite, and if no example of a part has a right candidate.
    """
    for part, examples in (("training", train), ("validation", validation)):
        if not (examples.right >= 0).any():
            raise ValueError(
                f"none of {len(examples)} {part} examples has the right tool among its {examples.k} candidates, and none needs no tool; "
                "choose a larger k, or give more problems."
            )
    train_states, train = train_states[train.right >= 0], train.kept(train.right >= 0)
    validation_states, validation = validation_states[validation.right >= 0], validation.kept(validation.right >= 0)
    space = Coordinates.of(train_states, settings.coordinates)
    states, checked = space.hidden(train_states), space.hidden(validation_states)

    def losses(rows: Tensor, batch: Tensor) -> Tensor:
        scores = second_scores(states[batch], rows, train.candidates[batch])
        return torch.nn.functional.cross_entropy(scores, train.right[batch], reduction="none")

    def validation_loss(rows: Tensor) -> float:
        scores = second_scores(checked, rows, validation.candidates)
        return torch.nn.functional.cross_entropy(scores.double(), validation.right).item()

    fit = fitted(
        random_rows(tools + 1, states.shape[1], seed),
        losses,
        len(train),
        validation_loss,
        settings,
        seed=seed,
        say=say,
        title="second rows",
    )
    return Fit(**{**vars(fit), "rows": space.rows(fit.rows)})
