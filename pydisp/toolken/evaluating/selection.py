"""Selection: which tool is called where the text so far is the gold one, by the scores of every labelled position.

    decided = decide(positions, Policy("reject", k=3))
    decided.tool[positions.gold >= 0] == positions.gold[positions.gold >= 0]

A position stands before a token of a solution. Its gold is a tool, where a call's result begins, or a word. What is done there follows from
the scores by `pydisp.toolken.decisions`, as in decoding, so that all modes are read off one pass over the model.
"""

# N positions, P problems, T tools, k reranked tools

from dataclasses import dataclass, field

import numpy as np

from pydisp.toolken.decisions import Policy, candidates, choice, fires

WORD = -1  # the gold of a position before a word
NONE = -1  # no tool is called


@dataclass(frozen=True, eq=False)
class Positions:
    """The scores of the labelled positions of one set of toolkens.

    Args:
        first: (N, T) float32 logits of the tools. best_word: (N,) the largest logit of a word.
        gold: (N,) int64 place of the tool, or WORD. problem: (N,) int64 place of the problem; the positions of one problem are in the order of its text.
        groups: (P,) group of each problem. needs_tool: (P,) bool.
        second: by kind of documentation ("own", "none", "shuffled") the (N, k + 1) scores of the k best tools of `first`, REJ last; NaN in
            rows that were not read.
    Raises: ValueError where lengths differ.
    """

    first: np.ndarray
    best_word: np.ndarray
    gold: np.ndarray
    problem: np.ndarray
    groups: tuple[str, ...]
    needs_tool: np.ndarray
    second: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        lengths = {len(self.first), len(self.best_word), len(self.gold), len(self.problem), *(len(one) for one in self.second.values())}
        if len(lengths) > 1 or len(self.groups) != len(self.needs_tool):
            raise ValueError(
                f"the scores are of {sorted(lengths)} positions, the groups of {len(self.groups)} of {len(self.needs_tool)} problems; give one of each."
            )

    @property
    def group_of(self) -> list[str]:
        """(N,) that of each position's problem."""
        return [self.groups[place] for place in self.problem.tolist()]

    @property
    def decision(self) -> np.ndarray:
        """(P,) int64 position at which a problem shows whether it needs a tool: its first call; its first position where it has none; -1 without positions."""
        found = np.full(len(self.groups), -1, dtype=np.int64)
        is_call = self.gold >= 0
        for wanted in (is_call, np.ones(len(self.gold), dtype=bool)):
            places = np.flatnonzero(wanted)[::-1]  # the earliest is written last
            first = np.full(len(self.groups), -1, dtype=np.int64)
            first[self.problem[places]] = places
            found = np.where(found < 0, first, found)
        return found


@dataclass(frozen=True, eq=False)
class Decided:
    """What one policy does at each position.

    Args:
        fired: (N,) bool, a tool is above every word. tool: (N,) int64 the tool that is called, or NONE. best: (N,) the best tool, called or not; NONE where none fires.
        confidence: (N,) float64 probability of the best tool, NaN where none fires.
        need: (N,) float64, the larger the more the policy would call: it orders positions as its decisions do.
        rank: (N,) int64 place of the gold tool in the policy's order of tools, 1 for the first; 0 at words.
        first_rank: (N,) the same in the order of the first scores.
    """

    fired: np.ndarray
    tool: np.ndarray
    best: np.ndarray
    confidence: np.ndarray
    need: np.ndarray
    rank: np.ndarray
    first_rank: np.ndarray

    @property
    def called(self) -> np.ndarray:
        """(N,) bool."""
        return self.tool != NONE

    @property
    def rejected(self) -> np.ndarray:
        """(N,) bool: a tool was on top, and none was called."""
        return self.fired & (self.tool == NONE)


def decide(positions: Positions, policy: Policy) -> Decided:
    """The decisions of one policy.

    Raises: ValueError for the mode "none", which decides nothing, for a k above the number of tools, and where a tool fires at a position
        whose documentation was not read.
    """
    import torch

    if not policy.uses_tools:
        raise ValueError("the mode 'none' has no tools and decides nothing; leave it out.")
    first, best_word = torch.as_tensor(positions.first), torch.as_tensor(positions.best_word)
    fired = fires(best_word[:, None], first).numpy() if len(first) else np.zeros(0, dtype=bool)
    places = candidates(first, policy.k)
    second = positions.second.get(policy.documentation) if policy.reads_documentation else None
    _check_read(fired, second, policy)
    count = len(positions.gold)
    tool, best = np.full(count, NONE, dtype=np.int64), np.full(count, NONE, dtype=np.int64)
    confidence = np.full(count, np.nan)
    need = (positions.first.max(1) - positions.best_word).astype(np.float64) if count else np.zeros(0)
    rank = _ranks(positions)
    first_rank = rank.copy()
    for place in np.flatnonzero(fired):
        scores = None if second is None else torch.as_tensor(second[place])
        made = choice(policy, first[place], places[place], scores)
        best[place], confidence[place] = made.best, made.confidence
        tool[place] = NONE if made.tool is None else made.tool
        if made.probabilities:
            rank[place] = _reranked(positions.gold[place], made, int(rank[place]))
    if policy.mode not in ("toolkengpt", "rerank"):
        need = _need_after_reading(need, fired, confidence, second, policy)
    return Decided(fired, tool, best, confidence, need, rank, first_rank)


def _check_read(fired: np.ndarray, second: np.ndarray | None, policy: Policy) -> None:
    if not policy.reads_documentation or not fired.any():
        return
    if second is None or second.shape[1] != policy.k + 1:
        found = "none" if second is None else f"those of {second.shape[1] - 1} tools"
        raise ValueError(
            f"mode {policy.mode!r} needs the second scores of {policy.k} tools, there are {found}; score the positions for it."
        )
    unread = int(np.isnan(second[fired]).any(1).sum())
    if unread:
        raise ValueError(
            f"a tool fires at {unread} positions without second scores; score these with {policy.documentation!r} documentation."
        )


def _ranks(positions: Positions) -> np.ndarray:
    """(N,) place of the gold tool among the first scores, of equal ones the earlier tool first; 0 at words."""
    rank = np.zeros(len(positions.gold), dtype=np.int64)
    at = np.flatnonzero(positions.gold >= 0)
    gold = positions.gold[at]
    own = positions.first[at, gold][:, None]
    is_earlier = np.arange(positions.first.shape[1]) < gold[:, None]
    rank[at] = 1 + ((positions.first[at] > own) | ((positions.first[at] == own) & is_earlier)).sum(1)
    return rank


def _reranked(gold: int, made, first_rank: int) -> int:
    """The place of the gold tool when the candidates stand in the order of their probabilities; behind them the first order holds."""
    if gold not in made.candidates:
        return first_rank
    place = made.candidates.index(gold)
    among = made.probabilities[: len(made.candidates)]
    return 1 + sum(one > among[place] or (one == among[place] and other < place) for other, one in enumerate(among))


def _need_after_reading(
    need: np.ndarray, fired: np.ndarray, confidence: np.ndarray, second: np.ndarray | None, policy: Policy
) -> np.ndarray:
    """Positions at which a tool fires stand above all others; among them, what the policy decides by: the probability of the best tool
    (calibrated) or the best tool's score less that of REJ."""
    if not fired.any():
        return need
    decisive = confidence[fired] if policy.mode == "calibrated" else second[fired, :-1].max(1) - second[fired, -1]
    found = need - 1 - max(0.0, -float(decisive.min()))  # where none fires, the need is 0 at most
    found[fired] = decisive
    return found
