"""Figures: what each mode does, from teacher-forced decisions and from generated answers, with intervals over groups of problems.

    found = figures(positions_by_seed, decided, outcomes)
    found.modes["calibrated"].accuracy.interval

- Teacher-forced, at labelled positions: `selection`, the share of gold calls at which the right tool is called; the place of the right tool among the
  tools (top k, MRR); words at which a tool is called; whether the scores tell problems that need a tool from others (AUROC); whether the
  confidence in the best tool is true where one is on top (ECE).
- End to end, on generated answers: `accuracy`, problems without a tool in which one is called all the same, and counts.

A figure that cannot be is None. Nothing depends on the name of a mode: two modes that decide alike have the same figures.
"""

# T tools

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pydisp.toolken.calibration_measures import ece
from pydisp.toolken.decisions import CONTROLS, MODES
from pydisp.toolken.evaluating.estimates import Estimate, area
from pydisp.toolken.evaluating.measured import Measured, answer_measures, by_seed, compared, selection_measures
from pydisp.toolken.evaluating.outcomes import CALLED, FAILED, REJECTED, REPEATED, Outcome
from pydisp.toolken.evaluating.selection import Decided, Positions

ORDER = MODES + CONTROLS
BEYOND = "beyond"
# pairs whose differences are shown, and what each says
PAIRS = (
    ("toolkengpt", "none"),
    ("rerank", "none"),
    ("reject", "none"),
    ("calibrated", "none"),
    ("rerank", "toolkengpt"),
    ("reject", "toolkengpt"),
    ("calibrated", "toolkengpt"),
    ("calibrated", "reject"),
    ("reject", "no_docs"),
    ("reject", "shuffled_docs"),
)


@dataclass(frozen=True, eq=False)
class ModeFigures:
    """The figures of one mode; None for what there is not.

    Args:
        measured: by measure: "selection", "top_1", "top_k", "mrr", "unneeded_positions", "unneeded_problems", "missed_problems" (teacher-forced),
            "accuracy", "within", "unneeded_answers", "missed" (end to end).
        counts: mean over seeds of the calls that ran, were unneeded, failed, were rejected, repeated, beyond the most calls or the room of a text.
        counts_of: "answers", or "positions" where nothing was generated, or "" where there is neither.
        need: the AUROC of what a mode would call by, over problems that need a tool and others. ece_by_seed: of the seeds in which it exists.
        confusion: (T, T + 2) counts over seeds at gold calls: the right tool by the called one, then none on top, then rejected; None without.
    """

    mode: str
    measured: Mapping[str, Measured] = field(default_factory=dict)
    counts: Mapping[str, float | None] = field(default_factory=dict)
    counts_of: str = ""
    need: Estimate | None = None
    ece_by_seed: tuple[float, ...] = ()
    confusion: np.ndarray | None = None

    def estimate(self, measure: str) -> Estimate | None:
        """Of one measure, "auroc" among them; None where it was not measured."""
        if measure == "auroc":
            return self.need
        return self.measured[measure].estimate if measure in self.measured else None

    @property
    def auroc(self) -> float | None:
        return None if self.need is None else self.need.value

    @property
    def ece(self) -> float | None:
        return _mean(self.ece_by_seed)

    @property
    def unneeded_problems(self) -> str:
        """The measure of problems without a tool in which one is called: end to end where there are answers."""
        return "unneeded_answers" if "unneeded_answers" in self.measured else "unneeded_problems"

    def as_dict(self) -> dict:
        """Plain values for JSON."""
        estimates = {name: one.as_dict() for name, of in self.measured.items() if (one := of.estimate) is not None}
        if self.need is not None:
            estimates["auroc"] = self.need.as_dict()
        accuracy, selection = estimates.get("accuracy"), estimates.get("selection")
        return {
            "selection": selection and selection["value"],
            "accuracy": accuracy and accuracy["value"],
            "interval": accuracy and accuracy["interval"],
            **{name: self.counts.get(name) for name in ("calls", "unneeded", "failed", "rejected", "repeated", "beyond")},
            "ece": self.ece,
            "auroc": self.auroc,
            "counts_of": self.counts_of or None,
            "ece_by_seed": list(self.ece_by_seed),
            "auroc_by_seed": [] if self.need is None else list(self.need.by_seed),
            "estimates": estimates,
        }


@dataclass(frozen=True, eq=False)
class Figures:
    """All modes, their differences and what guessing would have.

    Args:
        modes: in the order of ORDER. differences: (mode, other, measure) -> mode minus other.
        chance: of the selection: "uniform", 1 / T, and "commonest", the share that the commonest tool has of the gold calls; {} without gold calls.
        kinds: kind of problem -> mode -> accuracy over its problems.
    """

    modes: dict[str, ModeFigures]
    differences: dict[tuple[str, str, str], Estimate]
    chance: dict[str, float]
    kinds: dict[str, dict[str, Estimate]]

    def as_dict(self) -> dict:
        """Plain values for JSON."""
        return {
            "modes": {mode: one.as_dict() for mode, one in self.modes.items()},
            "differences": [
                {"mode": mode, "other": other, "measure": measure, **one.as_dict()}
                for (mode, other, measure), one in self.differences.items()
            ],
            "chance": self.chance,
            "kinds": {kind: {mode: one.as_dict() for mode, one in modes.items()} for kind, modes in self.kinds.items()},
        }


def figures(
    positions: Sequence[Positions], decided: Mapping[str, Sequence[Decided]], outcomes: Sequence[Outcome] = (), *, k: int, seed: int = 0
) -> Figures:
    """The figures of all modes that were run.

    Args:
        positions: of each seed; the same positions of the same problems with the scores of that seed's toolkens; () where there are none.
        decided: by mode, of each seed. outcomes: of every mode, seed and problem. k: for the share of gold tools among the first k.
        seed: of the p-values.
    Raises: ValueError where a mode lacks a problem that another seed of it has.
    """
    answered: dict[str, list[Outcome]] = {}
    for one in outcomes:
        answered.setdefault(one.mode, []).append(one)
    modes = {}
    for mode in ORDER:
        if mode in decided or mode in answered:
            modes[mode] = _mode_figures(mode, positions, decided.get(mode, ()), answered.get(mode, []), k)
    kinds = {kind: {} for kind in sorted({one.kind for one in outcomes if one.is_exact is not None})}
    for mode in modes:
        for kind in kinds:
            found = answer_measures([one for one in answered.get(mode, []) if one.kind == kind]).get("accuracy")
            if found is not None:
                kinds[kind][mode] = found.estimate
    return Figures(modes, _differences(modes, seed), _chance(positions), kinds)


def _mode_figures(mode: str, positions: Sequence[Positions], decided: Sequence[Decided], outcomes: list[Outcome], k: int) -> ModeFigures:
    measured, counts, counts_of = {}, {}, ""
    need, eces, confusion = None, (), None
    if decided:
        measured.update(selection_measures(positions, decided, k))
        counts, counts_of = _position_counts(positions, decided), "positions"
        pairs = list(zip(positions, decided, strict=True))
        need = _need(positions, decided)
        eces = _defined(ece(done.confidence[done.fired], done.best[done.fired] == one.gold[done.fired]) for one, done in pairs)
        confusion = sum(_confusion(one, done) for one, done in pairs)
    if outcomes:
        measured.update(answer_measures(outcomes))
        counts, counts_of = _answer_counts(outcomes), "answers"
    return ModeFigures(mode, measured, counts, counts_of, need, eces, confusion)


def _position_counts(positions: Sequence[Positions], decided: Sequence[Decided]) -> dict[str, float | None]:
    is_word = positions[0].gold < 0
    return {
        "calls": float(np.mean([done.called.sum() for done in decided])),
        "unneeded": float(np.mean([(done.called & is_word).sum() for done in decided])),
        "rejected": float(np.mean([done.rejected.sum() for done in decided])),
    }


def _need(positions: Sequence[Positions], decided: Sequence[Decided]) -> Estimate | None:
    one = positions[0]
    decision = one.decision
    has = np.flatnonzero(decision >= 0)
    return area([done.need[decision[has]] for done in decided], one.needs_tool[has], [one.groups[place] for place in has])


def _confusion(positions: Positions, decided: Decided) -> np.ndarray:
    tools = positions.first.shape[1]
    at = np.flatnonzero(positions.gold >= 0)
    column = np.where(decided.called[at], decided.tool[at], np.where(decided.rejected[at], tools + 1, tools))
    counts = np.zeros((tools, tools + 2), dtype=np.int64)
    np.add.at(counts, (positions.gold[at], column), 1)
    return counts


def _answer_counts(outcomes: list[Outcome]) -> dict[str, float | None]:
    seeds = by_seed(outcomes)
    names = {"calls": CALLED, "failed": FAILED, "rejected": REJECTED, "repeated": REPEATED, "beyond": BEYOND}
    counts = {name: float(np.mean([sum(one.count(kind) for one in of) for of in seeds])) for name, kind in names.items()}
    return {**counts, "unneeded": float(np.mean([sum(one.unneeded for one in of) for of in seeds]))}


def _differences(modes: dict[str, ModeFigures], seed: int) -> dict[tuple[str, str, str], Estimate]:
    found = {}
    for mode, other in PAIRS:
        if mode in modes and other in modes:
            for measure in ("selection", "accuracy", "unneeded_answers", "unneeded_problems"):
                one, another = modes[mode].measured.get(measure), modes[other].measured.get(measure)
                if one is not None and another is not None:
                    estimate = compared(one, another, seed=seed)
                    if estimate is not None:
                        found[mode, other, measure] = estimate
    return found


def _chance(positions: Sequence[Positions]) -> dict[str, float]:
    gold = positions[0].gold[positions[0].gold >= 0] if positions else np.zeros(0, dtype=np.int64)
    if not len(gold):
        return {}
    return {"uniform": 1 / positions[0].first.shape[1], "commonest": float(np.bincount(gold).max() / len(gold))}


def _defined(values) -> tuple[float, ...]:
    return tuple(value for value in values if value is not None)


def _mean(values: tuple[float, ...]) -> float | None:
    return float(np.mean(values)) if values else None
