"""Measured: one measure of each item under each seed, item by item, so that modes can be compared."""

# S seeds, N items

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pydisp.toolken.evaluating.estimates import Estimate, difference, share
from pydisp.toolken.evaluating.outcomes import Outcome
from pydisp.toolken.evaluating.selection import Decided, Positions


@dataclass(frozen=True, eq=False)
class Measured:
    """One measure of each item under each seed.

    Args:
        values: (S, N) float64, 0 to 1. groups: (N,). items: (N,) ids, so that two modes can be compared item by item.
    """

    values: np.ndarray
    groups: tuple[str, ...]
    items: tuple[str, ...]

    @property
    def estimate(self) -> Estimate | None:
        return share(self.values, self.groups)


def selection_measures(positions: Sequence[Positions], decided: Sequence[Decided], k: int) -> dict[str, Measured]:
    """Teacher-forced, of one mode; only those of which there is something.

    At gold calls: "selection", the right tool is called; "top_1", it is the first in the mode's order of tools, called or not; "top_k", it is
    among those that are reranked; "mrr". At words: "unneeded_positions". Over problems without a tool: "unneeded_problems", one is called somewhere;
    over the others: "missed_problems", none is called anywhere.

    Args:
        positions, decided: of each seed.
    """
    one = positions[0]
    is_gold = one.gold >= 0
    groups = one.group_of
    at_gold, at_words = np.flatnonzero(is_gold), np.flatnonzero(~is_gold)
    rows = {
        "selection": (at_gold, [done.tool == of.gold for of, done in zip(positions, decided, strict=True)]),
        "top_1": (at_gold, [done.rank == 1 for done in decided]),
        "top_k": (at_gold, [done.first_rank <= k for done in decided]),
        "mrr": (at_gold, [1 / np.maximum(done.rank, 1) for done in decided]),
        "unneeded_positions": (at_words, [done.called for done in decided]),
    }
    found = {}
    for name, (places, values) in rows.items():
        if len(places):
            matrix = np.stack([value[places] for value in values]).astype(np.float64)
            found[name] = Measured(matrix, tuple(groups[place] for place in places), tuple(map(str, places)))
    calls = np.stack([np.bincount(one.problem, weights=done.called, minlength=len(one.groups)) for done in decided])
    has = one.decision >= 0
    for name, places, values in (
        ("unneeded_problems", np.flatnonzero(~one.needs_tool & has), calls > 0),
        ("missed_problems", np.flatnonzero(one.needs_tool & has), calls == 0),
    ):
        if len(places):
            matrix = values[:, places].astype(np.float64)
            found[name] = Measured(matrix, tuple(one.groups[place] for place in places), tuple(map(str, places)))
    return found


def answer_measures(outcomes: list[Outcome]) -> dict[str, Measured]:
    """End to end, of one mode: "accuracy" and "within" of problems with a gold answer, "unneeded_answers" of those without a tool, "missed" of those
    that need one; only those of which there is something, the last two of modes with tools only.

    Raises: ValueError as `by_seed`.
    """
    seeds = by_seed(outcomes)
    rows = {
        "accuracy": (lambda one: one.is_exact, lambda one: one.is_exact is not None),
        "within": (lambda one: one.is_within, lambda one: one.is_within is not None),
        "unneeded_answers": (lambda one: one.tried > 0, lambda one: not one.needs_tool),
        "missed": (lambda one: one.is_missed, lambda one: one.needs_tool),
    }
    if outcomes and outcomes[0].seed is None:  # the plain model calls nothing by its nature, of which no share is to be estimated
        del rows["unneeded_answers"], rows["missed"]
    found = {}
    for name, (value, counts) in rows.items():
        table = [[one for one in of_seed if counts(one)] for of_seed in seeds]
        if table and table[0]:
            values = np.array([[value(one) for one in of_seed] for of_seed in table], dtype=np.float64)
            found[name] = Measured(values, tuple(one.group for one in table[0]), tuple(one.problem for one in table[0]))
    return found


def compared(first: Measured, second: Measured, *, factor: float = 1.0, seed: int = 0) -> Estimate | None:
    """`first - factor x second` over the items that both have, item by item; None where there are none."""
    place = {item: number for number, item in enumerate(second.items)}
    both = [(number, place[item]) for number, item in enumerate(first.items) if item in place]
    if not both:
        return None
    mine, others = (list(column) for column in zip(*both, strict=True))
    return difference(first.values[:, mine], second.values[:, others], [first.groups[one] for one in mine], factor=factor, seed=seed)


def by_seed(outcomes: list[Outcome]) -> list[list[Outcome]]:
    """The outcomes of each seed, in one order of problems.

    Raises: ValueError where seeds do not have the same problems once each.
    """
    seeds: dict[int | None, dict[str, Outcome]] = {}
    for one in outcomes:
        of_seed = seeds.setdefault(one.seed, {})
        if one.problem in of_seed:
            raise ValueError(f"problem {one.problem!r} has two outcomes of mode {one.mode!r} and seed {one.seed}; give one of each.")
        of_seed[one.problem] = one
    ordered = [seeds[seed] for seed in sorted(seeds, key=lambda seed: -1 if seed is None else seed)]
    for of_seed in ordered[1:]:
        if of_seed.keys() != ordered[0].keys():
            odd = sorted(of_seed.keys() ^ ordered[0].keys())[0]
            raise ValueError(f"problem {odd!r} was answered under some seeds of mode {outcomes[0].mode!r} only; answer it under all.")
    return [[of_seed[problem] for problem in ordered[0]] for of_seed in ordered]
