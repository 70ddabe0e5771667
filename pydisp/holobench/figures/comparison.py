"""Comparison: two models on the same items, such as a pruned and a dense one; every difference is the first minus the second.

    compared = compare(pruned_results, dense_results)
    compared.overall["f1"].interval, compared.by["length"][512]["f1"].adjusted_p

Items are paired; those that either model skipped, or has no prediction of, are left out of both and counted. The replicate is the draw: intervals are those of `estimates`, p-values
flip the signs of whole draws. Within a breakdown of one measure the p-values are corrected for the number of groups (Holm 1979).
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from pydisp.holobench.figures.breakdowns import BREAKDOWNS, Shares, group_name, group_of, grouped
from pydisp.holobench.figures.estimates import by_draw, difference_of
from pydisp.holobench.figures.results import Results
from pydisp.holobench.figures.scored_items import ScoredItem
from pydisp.intervals import Estimate, Resamples
from pydisp.progress import Bar, silence

COMPARED = ("f1", "recall", "accuracy")
P_LIMIT = 0.05  # a difference of up to this p is seen


class ComparisonError(ValueError):
    """Results that cannot be compared; the message is one sentence."""


@dataclass(frozen=True, eq=False)
class Difference:
    """The mean difference of one measure over the pairs of a group.

    Args:
        estimate: first minus second; p flips signs of draws, and is None for fewer than two draws. first, second: the two means.
        pairs, draws: how many. adjusted_p: after Holm within the breakdown; p itself for all items.
    """

    estimate: Estimate
    first: float
    second: float
    pairs: int
    draws: int
    adjusted_p: float | None

    @property
    def is_seen(self) -> bool:
        return self.adjusted_p is not None and self.adjusted_p <= P_LIMIT

    def as_dict(self) -> dict:
        """`first`, `second`, the mean difference, interval, p, and the smallest difference that could be seen if this one is not."""
        shown = {**self.estimate.as_dict(), "first": self.first, "second": self.second, "n": self.pairs, "draws": self.draws}
        return shown | {"adjusted_p": self.adjusted_p}


@dataclass(frozen=True, eq=False)
class Comparison:
    """First minus second.

    Args:
        first, second: names of the models. pairs: items that neither skipped. left_out: items that both have a prediction of and at least one skipped.
        only_first, only_second: items that only one of them has a prediction of, as of a run of the first items only.
        overall: by measure, those that both results have. by: for each breakdown, by group, by measure.
        share: "density" or "amount", whichever the benchmark holds still.
    """

    first: str
    second: str
    pairs: int
    left_out: int
    only_first: int
    only_second: int
    overall: dict[str, Difference]
    by: dict[str, dict[Hashable, dict[str, Difference]]]
    share: str

    def as_dict(self) -> dict:
        return {
            "first": self.first,
            "second": self.second,
            "items": self.pairs,
            "left_out": self.left_out,
            "only_first": self.only_first,
            "only_second": self.only_second,
            "correction": "Holm within each breakdown of a measure",
            **{measure: one.as_dict() for measure, one in self.overall.items()},
            **{
                f"by_{name}": {
                    group_name(group): {measure: one.as_dict() for measure, one in found.items()} for group, found in groups.items()
                }
                for name, groups in self.by.items()
            },
        }


Pair = tuple[ScoredItem, ScoredItem]


def compare(first: Results, second: Results, *, seed: int = 0, say: Callable[[str], None] = silence) -> Comparison:
    """First minus second, over the items that both answered.

    Args:
        seed: of the sign flips; up to 13 draws take all of them. say: a function that receives progress lines.
    Raises: ComparisonError if the two are of different benchmarks, or were asked in different forms.
    """
    pairs = _paired(first, second)
    answered = [pair for pair in pairs if all(one.skipped is None for one in pair)]
    measures = [measure for measure in COMPARED if any(_has(pair, measure) for pair in answered)]
    if not measures:
        raise ComparisonError(
            f"{first.model} and {second.model} have no item that both answered in one form; run both with the same --form on contexts that both read."
        )
    by = {}
    with Bar(1 + len(BREAKDOWNS), say, title=f"{first.name} against {second.name}", unit="part") as bar:
        overall = {measure: _difference(answered, measure, seed) for measure in measures}
        bar.advance(1)
        for breakdown in BREAKDOWNS:
            by[breakdown] = _broken_down(answered, breakdown, measures, first.shares, seed)
            bar.advance(1)
    return Comparison(
        first=first.name,
        second=second.name,
        pairs=len(answered),
        left_out=len(pairs) - len(answered),
        only_first=len(first.scored) - len(pairs),
        only_second=len(second.scored) - len(pairs),
        overall=overall,
        by=by,
        share=first.shares.breakdown,
    )


def _paired(first: Results, second: Results) -> list[Pair]:
    of_second = {one.item.id: one for one in second.scored}
    pairs = [(one, of_second[one.item.id]) for one in first.scored if one.item.id in of_second]
    if not pairs:
        raise ComparisonError(f"{first.model} and {second.model} have no item in common; compare predictions of one benchmark.")
    other = next((one.item.id for one, its in pairs if _content(one) != _content(its)), None)
    if other is not None:
        raise ComparisonError(
            f"item {other!r} of {first.model} is another question or context than that of {second.model}; compare predictions of one benchmark."
        )
    return pairs


def _content(one: ScoredItem) -> tuple:
    return one.item.sha256, one.item.question, one.item.gold


def _has(pair: Pair, measure: str) -> bool:
    return all(one.value(measure) is not None for one in pair)


def _broken_down(
    pairs: Sequence[Pair], breakdown: str, measures: Sequence[str], shares: Shares, seed: int
) -> dict[Hashable, dict[str, Difference]]:
    second_of = {id(one): other for one, other in pairs}
    groups = grouped([one for one, _ in pairs], lambda one: group_of(breakdown, one, shares))
    found = {name: [(one, second_of[id(one)]) for one in group] for name, group in groups.items()}
    differences: dict[Hashable, dict[str, Difference]] = {name: {} for name in found}
    for measure in measures:
        having = [name for name, group in found.items() if any(_has(pair, measure) for pair in group)]
        plain = [_difference(found[name], measure, seed) for name in having]
        for name, one, p in zip(having, plain, holm([one.estimate.p for one in plain]), strict=True):
            differences[name][measure] = Difference(one.estimate, one.first, one.second, one.pairs, one.draws, p)
    return differences


def _difference(pairs: Sequence[Pair], measure: str, seed: int) -> Difference:
    having = [pair for pair in pairs if _has(pair, measure)]
    first, second = (np.array([pair[place].value(measure) for pair in having]) for place in (0, 1))
    sums, counts = by_draw(first - second, [one.item.draw for one, _ in having])
    estimate = difference_of(sums, counts, Resamples(len(sums), seed))
    return Difference(estimate, float(first.mean()), float(second.mean()), len(having), len(sums), estimate.p)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """The p-values times the number of tests that are not yet rejected (Holm 1979), in the same order; None stays and is no test."""
    tested = sorted((place for place, p in enumerate(ps) if p is not None), key=lambda place: ps[place])
    adjusted: list[float | None] = [None] * len(ps)
    highest = 0.0
    for rank, place in enumerate(tested):
        highest = max(highest, min(1.0, ps[place] * (len(tested) - rank)))
        adjusted[place] = highest
    return adjusted
