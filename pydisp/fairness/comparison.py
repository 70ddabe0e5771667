"""Comparison: one model minus another on the same units of the same documents."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pydisp.fairness.groups import Group
from pydisp.fairness.measures import average, balanced_difference, calibration_error, of_ratios
from pydisp.fairness.scores import Scores
from pydisp.fairness.token_stats import UnitValues
from pydisp.intervals import Estimate, Ratio, Resamples


@dataclass(frozen=True)
class Difference:
    """MODEL minus REFERENCE on a group of units.

    Args:
        nats, accuracy: with intervals and p-values.
        rank, entropy, confidence, ece: differences of the means, and of the calibration errors.
        nats_per_byte: difference of the loss over the bytes of the units.
        agreement: share of the units on which both have the same first choice; None for two tokenizers.
    """

    units: int
    documents: int
    nats: Estimate
    accuracy: Estimate
    rank: float
    entropy: float
    confidence: float
    ece: float
    nats_per_byte: float
    agreement: float | None

    def as_dict(self) -> dict:
        others = {name: getattr(self, name) for name in ("rank", "entropy", "confidence", "ece", "nats_per_byte", "agreement")}
        return {**self.nats.as_dict(), "units": self.units, "documents": self.documents, "accuracy": self.accuracy.as_dict(), **others}


@dataclass(frozen=True, eq=False)
class Comparison:
    """All differences of two models.

    Args:
        unit: of everything but `average`.
        average_unit: "token" for models of one tokenizer, else "word".
        average: the mean loss of a token: the difference of two `pydisp eval`. For two tokenizers that of a word.
        whole: of all units. balanced: of the mean over types.
        excess: the tail's difference minus that of all units; None without a tail.
        nats: (U,) the differences; `is_whole` (U,) says which units count.
    """

    unit: str
    average_unit: str
    average: Estimate
    whole: Difference
    balanced: Estimate
    excess: Estimate | None
    bins: tuple[Difference | None, ...]
    parts: dict[str, Difference | None]
    deciles: tuple[Difference | None, ...]
    classes: dict[str, Difference | None]
    nats: np.ndarray
    is_whole: np.ndarray

    @property
    def tail(self) -> Difference | None:
        return self.parts["tail"]

    def as_dict(self) -> dict:
        """The object `delta` of the JSON; every mean is MODEL minus REFERENCE, in nats a unit."""

        def plain(difference):
            return None if difference is None else difference.as_dict()

        return {
            "average": {**self.average.as_dict(), "unit": self.average_unit},
            "whole": plain(self.whole),
            "balanced": self.balanced.as_dict(),
            "tail": plain(self.tail),
            "excess": plain(self.excess),
            "bins": [plain(one) for one in self.bins],
            "parts": {name: plain(one) for name, one in self.parts.items()},
            "deciles": [plain(one) for one in self.deciles],
            "classes": {name: plain(one) for name, one in self.classes.items()},
            "agreement": self.whole.agreement,
        }


def compare(
    scores: Scores, reference: Scores, resamples: Resamples, *, bins: Sequence[Group], parts: Mapping[str, Group],
    deciles: Sequence[Group], classes: Mapping[str, Group], has_one_tokenizer: bool, told: Callable[[], None] = lambda: None,
) -> Comparison:  # fmt: skip
    """Pair two models unit by unit; units that one of them did not score whole are left out. `told` is called after each group."""
    is_whole = scores.is_whole & reference.is_whole
    nats = scores.values.nats - reference.values.nats
    hits = scores.values.is_correct.astype(np.float64) - reference.values.is_correct
    document = scores.units.document
    agrees = scores.agrees(reference) if has_one_tokenizer else None

    def difference(chosen: np.ndarray) -> Difference | None:
        inside = chosen & is_whole
        if not inside.any():
            return None
        places = document[inside]
        mine, theirs = (UnitValues(*(column[inside] for column in one.values)) for one in (scores, reference))
        return Difference(
            units=int(inside.sum()),
            documents=len(np.unique(places)),
            nats=average(nats[inside], places, resamples, is_difference=True),
            accuracy=average(hits[inside], places, resamples, is_difference=True),
            rank=float(mine.rank.mean() - theirs.rank.mean()),
            entropy=float(mine.entropy.mean() - theirs.entropy.mean()),
            confidence=float(mine.confidence.mean() - theirs.confidence.mean()),
            ece=calibration_error(mine.confidence, mine.is_correct) - calibration_error(theirs.confidence, theirs.is_correct),
            nats_per_byte=float(nats[inside].sum() / scores.units.bytes[inside].sum()) if scores.units.bytes[inside].any() else 0.0,
            agreement=None if agrees is None else float(agrees[inside].mean()),
        )

    def of(group: Group) -> Difference | None:
        found = difference(group.holds)
        told()
        return found

    whole = difference(is_whole)
    if has_one_tokenizer:
        lost = scores.nats_by_document - reference.nats_by_document
        mean = of_ratios([Ratio(lost, scores.tokens_by_document)], resamples, is_difference=True)
    else:
        mean = whole.nats
    return Comparison(
        unit=scores.units.unit,
        average_unit="token" if has_one_tokenizer else scores.units.unit,
        average=mean,
        whole=whole,
        balanced=balanced_difference(nats[is_whole], document[is_whole], scores.units.type[is_whole], resamples),
        excess=_excess(nats, document, is_whole, parts["tail"].holds, resamples),
        bins=tuple(map(of, bins)),
        parts={name: of(group) for name, group in parts.items()},
        deciles=tuple(map(of, deciles)),
        classes={name: of(group) for name, group in classes.items()},
        nats=nats,
        is_whole=is_whole,
    )


def _excess(nats: np.ndarray, document: np.ndarray, is_whole: np.ndarray, in_tail: np.ndarray, resamples: Resamples) -> Estimate | None:
    """The mean difference of the tail minus that of all units."""
    if not (in_tail & is_whole).any():
        return None
    tail, whole = (
        Ratio(
            np.bincount(document[inside], weights=nats[inside], minlength=resamples.documents),
            np.bincount(document[inside], minlength=resamples.documents),
            sign,
        )
        for inside, sign in ((in_tail & is_whole, 1.0), (is_whole, -1.0))
    )
    # a shift that all units share is no excess
    return of_ratios([tail, whole], resamples, is_difference=True, centre=float(whole.sums.sum() / whole.counts.sum()))
