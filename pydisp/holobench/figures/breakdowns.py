"""Breakdowns: figures of a group of scored items, and the groups: by class, length, placement, density and amount of relevant facts.

Figures.of(scored).f1.interval
broken_down(scored, Shares.of(manifest))["length"][512].f1.value
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from pydisp.holobench.figures.estimates import by_draw, difference_of, free_mean_of, mean_of
from pydisp.holobench.figures.scored_items import ANSWER_MEASURES, ScoredItem
from pydisp.holobench.items import CLASSES, PLACEMENTS
from pydisp.intervals import Estimate

BREAKDOWNS = ("class", "length", "placement", "density", "amount")


@dataclass(frozen=True, eq=False)
class Figures:
    """Means over the items of a group that were answered, with intervals over draws.

    Args:
        items: how many the group has, with those that were skipped. skipped: how many were not asked.
        draws: from how many draws the answered items are.
        answered: items with an answer; f1, recall, strict, exact: their means, None if there are none.
        unparsable: of the answers, how many nothing could be read from. unfinished: how many ran out of room.
        chosen: items with ranked choices; accuracy and margin in nats: their means; chance: that of guessing;
            above_chance: accuracy minus chance. unequal_choices: of these items, how many have choices of unequal numbers of tokens;
            unknown_choices: how many the predictions give no numbers of tokens for.
    """

    items: int
    skipped: int
    draws: int
    answered: int
    unparsable: int
    unfinished: int
    f1: Estimate | None
    recall: Estimate | None
    strict: Estimate | None
    exact: Estimate | None
    chosen: int
    accuracy: Estimate | None
    chance: float | None
    above_chance: Estimate | None
    margin: Estimate | None
    unequal_choices: int
    unknown_choices: int

    @classmethod
    def of(cls, scored: Sequence[ScoredItem]) -> "Figures":
        answers = [one for one in scored if one.score is not None]
        choices = [one for one in scored if one.choice is not None]
        return cls(
            items=len(scored),
            skipped=sum(one.skipped is not None for one in scored),
            draws=len({one.item.draw for one in scored if one.skipped is None}),
            answered=len(answers),
            unparsable=sum(one.score.unparsable for one in answers),
            unfinished=sum(one.is_unfinished for one in answers),
            **{measure: _mean(answers, measure, mean_of) for measure in ANSWER_MEASURES},
            chosen=len(choices),
            accuracy=_mean(choices, "accuracy", mean_of),
            chance=sum(one.choice.chance for one in choices) / len(choices) if choices else None,
            above_chance=_above_chance(choices),
            margin=_mean(choices, "margin", free_mean_of),
            unequal_choices=sum(one.choice.tokens_are_equal is False for one in choices),
            unknown_choices=sum(one.choice.tokens_are_equal is None for one in choices),
        )

    @property
    def f1_of_all(self) -> float | None:
        """The mean of F1 if skipped items count 0."""
        return None if self.f1 is None else self.f1.value * self.answered / (self.answered + self.skipped)

    def estimate(self, measure: str) -> Estimate | None:
        return getattr(self, measure)

    def answers_as_dict(self) -> dict:
        """`n` answers, and the means with the intervals over draws; `interval` is that of F1."""
        found = {measure: self.estimate(measure) for measure in ANSWER_MEASURES}
        return {
            "items": self.items,
            "skipped": self.skipped,
            "n": self.answered,
            "draws": self.draws,
            **{measure: None if one is None else one.value for measure, one in found.items()},
            "interval": None if self.f1 is None else self.f1.interval,
            "intervals": {measure: None if one is None else one.interval for measure, one in found.items()},
            "f1_of_all": self.f1_of_all,
            "unparsable": self.unparsable,
            "unfinished": self.unfinished,
        }

    def choices_as_dict(self) -> dict | None:
        """`n` items with ranked choices, their accuracy with its interval, chance, margin; None if there are none."""
        if self.accuracy is None:
            return None
        return {
            "items": self.items,
            "skipped": self.skipped,
            "n": self.chosen,
            "draws": self.draws,
            "accuracy": self.accuracy.value,
            "interval": self.accuracy.interval,
            "chance": self.chance,
            "above_chance": {"mean": self.above_chance.value, "interval": self.above_chance.interval},
            "margin_nats": {"mean": self.margin.value, "interval": self.margin.interval},
            "unequal_choices": self.unequal_choices,
            "unknown_choices": self.unknown_choices,
        }


def _mean(scored: Sequence[ScoredItem], measure: str, mean: Callable) -> Estimate | None:
    if not scored:
        return None
    return mean(*by_draw([one.value(measure) for one in scored], [one.item.draw for one in scored]))


def _above_chance(choices: Sequence[ScoredItem]) -> Estimate | None:
    if not choices:
        return None
    return difference_of(*by_draw([one.choice.accuracy - one.choice.chance for one in choices], [one.item.draw for one in choices]))


@dataclass(frozen=True)
class Shares:
    """How densities and amounts are put into groups: to the nearest that was asked for, else to the nearest power of two.

    Args:
        densities, amounts: those that the benchmark was built for; a benchmark has either.
    """

    densities: tuple[float, ...] = ()
    amounts: tuple[int, ...] = ()

    @classmethod
    def of(cls, manifest: dict) -> "Shares":
        """From the benchmark's manifest; what it does not say is empty."""
        return cls(tuple(manifest.get("densities") or ()), tuple(manifest.get("amounts") or ()))

    @property
    def breakdown(self) -> str:
        """Of the two, the one that the benchmark holds still: "density" or "amount"."""
        return "amount" if self.amounts and not self.densities else "density"

    def density(self, value: float) -> float:
        """The group of a density."""
        return _nearest(value, self.densities)

    def amount(self, value: float) -> float:
        """The group of an amount of tokens."""
        return _nearest(value, self.amounts)


def _nearest(value: float, asked: Sequence[float]) -> float:
    if value <= 0:
        return 0
    if asked:
        return min(asked, key=lambda one: abs(math.log(one / value)))
    return 2.0 ** round(math.log2(value))


def group_of(breakdown: str, one: ScoredItem, shares: Shares) -> Hashable:
    """The group of an item in one of BREAKDOWNS."""
    item = one.item
    if breakdown == shares.breakdown and (shares.densities or shares.amounts):
        return item.asked
    if breakdown in ("density", "amount"):
        return getattr(shares, breakdown)(getattr(item, breakdown))
    return item.kind if breakdown == "class" else getattr(item, breakdown)


def grouped(scored: Sequence[ScoredItem], key: Callable[[ScoredItem], Hashable]) -> dict:
    """The items by group; groups in the order of classes and placements, else by size."""
    groups: dict = {}
    for one in scored:
        groups.setdefault(key(one), []).append(one)
    return {name: groups[name] for name in sorted(groups, key=_order)}


def _order(group: Hashable) -> tuple:
    if isinstance(group, tuple):
        return tuple(map(_order, group))
    for known in (CLASSES, PLACEMENTS):
        if group in known:
            return (known.index(group), "")
    return (group, "") if isinstance(group, int | float) else (0, group)


def broken_down(scored: Sequence[ScoredItem], shares: Shares) -> dict[str, dict[Hashable, Figures]]:
    """For each of BREAKDOWNS the figures of its groups."""
    return {
        breakdown: {name: Figures.of(group) for name, group in grouped(scored, lambda one, by=breakdown: group_of(by, one, shares)).items()}
        for breakdown in BREAKDOWNS
    }


def crossed(scored: Sequence[ScoredItem], first: str, second: str, shares: Shares) -> dict[tuple, Figures]:
    """The figures of each pair of groups of two breakdowns."""
    groups = grouped(scored, lambda one: (group_of(first, one, shares), group_of(second, one, shares)))
    return {name: Figures.of(group) for name, group in groups.items()}


def group_name(group: Hashable) -> str:
    """The name of a group in JSON: `512`, `0.5`, `top_k`."""
    return f"{group:.10g}" if isinstance(group, float) else str(group)


def group_words(breakdown: str, group: Hashable) -> str:
    """The name of a group in tables: `1,024`, `50 %`, `top k`."""
    if breakdown == "density":
        return f"{100 * group:.3g} %"
    if breakdown in ("length", "amount"):
        return f"{group:,.0f}"
    return str(group).replace("_", " ")
