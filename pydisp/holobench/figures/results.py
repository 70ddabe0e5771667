"""Results: what a model scored on a benchmark, over all items and broken down, with intervals over draws.

found = results(items, predictions.predictions, manifest, predictions.manifest)
found.overall.f1, found.by["length"][512].accuracy, found.as_dict()
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydisp.holobench.answers.predictions import Prediction
from pydisp.holobench.figures.breakdowns import Figures, Shares, broken_down, crossed, group_name
from pydisp.holobench.figures.claims import Claim, claims
from pydisp.holobench.figures.effective_length import EffectiveLength, effective_length
from pydisp.holobench.figures.scored_items import ScoredItem, score_items
from pydisp.holobench.items import Item
from pydisp.progress import Bar, silence

_MOST_NAMES = 3  # of databases in a title


@dataclass(frozen=True, eq=False)
class Results:
    """One model on one benchmark.

    Args:
        model: its name. data: names of the databases.
        scored: every item that has a prediction. not_asked: items of the benchmark without one, left out of everything.
        overall: over all. by: for each of BREAKDOWNS the figures of its groups.
        length_by_share: by (length, density), or (length, amount) if the benchmark holds that still. length_by_class: by (length, class).
        effective: how long contexts may be, of F1 and of the accuracy, as far as there are such.
        claims: the findings of the paper, tried on these results. A control, asked without the facts, has neither.
        manifest, predictions_manifest: of the two files.
    """

    model: str
    data: str
    scored: tuple[ScoredItem, ...]
    not_asked: int
    overall: Figures
    by: dict[str, dict[Hashable, Figures]]
    length_by_share: dict[tuple, Figures]
    length_by_class: dict[tuple, Figures]
    effective: tuple[EffectiveLength, ...]
    claims: tuple[Claim, ...]
    manifest: dict
    predictions_manifest: dict
    seed: int

    @property
    def name(self) -> str:
        """The model's, and whether it was asked without the facts: a control has the name of its model."""
        return f"{self.model} without the facts" if self.is_without_context else self.model

    @property
    def has_answers(self) -> bool:
        return self.overall.answered > 0

    @property
    def has_choices(self) -> bool:
        return self.overall.chosen > 0

    @cached_property
    def shares(self) -> Shares:
        return Shares.of(self.manifest)

    @property
    def is_without_context(self) -> bool:
        """Whether the model was asked without the facts: a control."""
        return bool(self.predictions_manifest.get("without_context"))

    def as_dict(self) -> dict:
        """Plain values for JSON; scores, chance and intervals are shares, of 1 at most, over answered items, beside their number `n`.

        Differences and slopes are of shares, with a sign; margins are nats; items, draws, skipped, unparsable and the like are counts.
        """
        skipped = {one.item.id: one.skipped for one in self.scored if one.skipped is not None}
        by_length_and = f"by_length_and_{self.shares.breakdown}"
        return {
            "model": self.model,
            "data": self.data,
            "without_context": self.is_without_context,
            "not_asked": self.not_asked,
            "skipped_items": skipped,
            **self.overall.answers_as_dict(),
            **{f"by_{name}": _each(groups, Figures.answers_as_dict) for name, groups in self.by.items()},
            by_length_and: _pairs(self.length_by_share, self.shares.breakdown, Figures.answers_as_dict),
            "by_length_and_class": _pairs(self.length_by_class, "class", Figures.answers_as_dict),
            "likelihood": self._likelihood(by_length_and),
            "effective_length": {one.measure: one.as_dict() for one in self.effective},
            "claims": [one.as_dict() for one in self.claims],
        }

    def _likelihood(self, by_length_and: str) -> dict | None:
        if not self.has_choices:
            return None
        return {
            **self.overall.choices_as_dict(),
            **{f"by_{name}": _each(groups, Figures.choices_as_dict) for name, groups in self.by.items()},
            by_length_and: _pairs(self.length_by_share, self.shares.breakdown, Figures.choices_as_dict),
            "by_length_and_class": _pairs(self.length_by_class, "class", Figures.choices_as_dict),
        }


def results(
    items: Sequence[Item],
    predictions: Sequence[Prediction],
    manifest: dict,
    predictions_manifest: dict,
    *,
    seed: int = 0,
    say: Callable[[str], None] = silence,
) -> Results:
    """Score the predictions and make all figures.

    Items without a prediction, as of a run of the first items only, are counted and left out. Skipped items are in no mean but in `f1_of_all`.

    Args:
        items: of the benchmark. predictions: of these items, as `predictions.read_predictions` gives them.
        manifest, predictions_manifest: of the two files; what they do not say is left open.
        seed: of the permutations behind p-values; intervals need none.
        say: a function that receives progress lines.
    Raises: ResultsError (a ValueError) with one sentence if the predictions are not of these items.
    """
    style = manifest.get("style") or {}
    model = str(predictions_manifest.get("model") or "model")
    with Bar(len(predictions), say, title=f"scores of {model}", unit="answer") as bar:
        scored = score_items(items, predictions, is_reasoned=style.get("answer") == "reason", told=lambda: bar.advance(1))
    shares = Shares.of(manifest)
    overall = Figures.of(scored)
    measures = [measure for measure, count in (("f1", overall.answered), ("accuracy", overall.chosen)) if count]
    tried = [] if predictions_manifest.get("without_context") else measures  # nothing that a control shows is an effect of its contexts
    parts = {
        "by": lambda: broken_down(scored, shares),
        "length_by_share": lambda: crossed(scored, "length", shares.breakdown, shares),
        "length_by_class": lambda: crossed(scored, "length", "class", shares),
        "effective": lambda: tuple(filter(None, (effective_length(scored, measure, shares) for measure in tried))),
        "claims": lambda: claims(scored, tried[0], seed=seed) if tried else (),
    }
    made = {}
    with Bar(len(parts), say, title=f"intervals of {model}", unit="part") as bar:
        for name, part in parts.items():
            made[name] = part()
            bar.advance(1)
    return Results(
        model=model,
        data=_data_name(manifest),
        scored=scored,
        not_asked=len(items) - len(scored),
        overall=overall,
        manifest=dict(manifest),
        predictions_manifest=dict(predictions_manifest),
        seed=seed,
        **made,
    )


def _data_name(manifest: dict) -> str:
    named = manifest.get("database") or "benchmark"
    names = [named] if isinstance(named, str) else [one["name"] if isinstance(one, dict) else str(one) for one in named]
    return (
        ", ".join(names) if len(names) <= _MOST_NAMES else f"{', '.join(names[: _MOST_NAMES - 1])} and {len(names) - _MOST_NAMES + 1} more"
    )


def _each(groups: dict[Hashable, Figures], as_dict) -> dict:
    return {group_name(name): as_dict(figures) for name, figures in groups.items()}


def _pairs(pairs: dict[tuple, Figures], second: str, as_dict) -> list[dict]:
    return [{"length": length, second: group, **(as_dict(figures) or {"n": 0})} for (length, group), figures in pairs.items()]
