"""Figures of a sweep: from the runs of an arm to means over seeds, paired differences between weight decays, and learning speeds.

The replicate is the seed: it decides the first weights and the order of the windows, and nothing else differs between two runs of one weight
decay. Differences are taken seed by seed, so that what a seed does to both runs cancels out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pydisp.fairness.frequency import PARTS, bin_limits
from pydisp.fairness.weight_decay.settings import ArmSettings
from pydisp.intervals import LEVEL

TEXTS = {"train": "the train text", "held_out": "held-out text"}
MEASURES = {
    "average": "mean over tokens, nats",
    "balanced": "mean over types, nats",
    "head": "head, nats",
    "torso": "torso, nats",
    "tail": "tail, nats",
    "rare": "{rare}, nats",
    "rare_minus_head": "{rare} − head, nats",
    "balanced_minus_average": "types − tokens, nats",
    "accuracy": "accuracy",
}
GAPS = ("rare_minus_head", "balanced_minus_average")


@dataclass(frozen=True)
class Replicates:
    """One figure, once for each seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's t over the seeds, 95 %; None for one seed. With two seeds it reaches 12.7 standard errors to each side, with three 4.3."""
        count = len(self.values)
        if count < 2:
            return None
        from scipy import stats

        error = float(np.std(self.values, ddof=1)) / math.sqrt(count)
        reach = float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * error
        return self.mean - reach, self.mean + reach

    @property
    def is_clear(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)

    def as_dict(self) -> dict:
        return {"mean": self.mean, "interval": self.interval and list(self.interval), "values": list(self.values)}


@dataclass(frozen=True, eq=False)
class ArmFigures:
    """The runs of one arm.

    Args:
        name, settings: of the arm.
        results: what `TrainingRun.result` gave for each run.
    """

    name: str
    settings: ArmSettings
    results: Sequence[Mapping]

    @cached_property
    def ended(self) -> dict[float, dict[int, Mapping]]:
        """The runs that did not diverge, by weight decay (from the smallest) and seed."""
        found: dict[float, dict[int, Mapping]] = {decay: {} for decay in sorted(self.settings.weight_decay)}
        for result in self.results:
            if not result["diverged"]:
                found[result["weight_decay"]][result["seed"]] = result
        return {decay: runs for decay, runs in found.items() if runs}

    @property
    def diverged(self) -> list[Mapping]:
        return [result for result in self.results if result["diverged"]]

    @property
    def decays(self) -> list[float]:
        return list(self.ended)

    @property
    def base(self) -> float:
        """The smallest weight decay: what the others are compared with."""
        return self.decays[0]

    @property
    def products(self) -> dict[float, float]:
        """For each weight decay the sum over the steps of learning rate × weight decay."""
        return {decay: next(iter(runs.values()))["decay_product"] for decay, runs in self.ended.items()}

    @cached_property
    def rare(self) -> tuple[str, str]:
        """The group of rare types: the tail, or the lowest bin, where types of one count are so many that the train text has no tail."""
        final = next(iter(self.ended[self.base].values()))["final"]["train"]
        return ("parts", "tail") if "tail" in final["parts"] else ("bins", min(final["bins"], key=int))

    @property
    def rare_words(self) -> str:
        return "tail" if self.rare[0] == "parts" else f"types seen {label(self.rare)} times"

    @property
    def measures(self) -> dict[str, str]:
        """MEASURES with what "rare" means here; without it where that is the tail, which is there already."""
        found = {name: words.format(rare=self.rare_words) for name, words in MEASURES.items()}
        return {name: words for name, words in found.items() if name != "rare" or self.rare[0] == "bins"}

    def measure(self, text: str, decay: float, name: str) -> Replicates | None:
        """A figure of MEASURES; None if the text has no token of the group."""
        return _replicates([measures(run["final"][text], self.rare)[name] for run in self.ended[decay].values()])

    def difference(self, text: str, decay: float, name: str) -> Replicates | None:
        """A figure of MEASURES minus that of `base`, seed by seed; None if no seed has both runs."""
        runs, base = self.ended[decay], self.ended[self.base]
        pairs = [[measures(side[seed]["final"][text], self.rare)[name] for side in (runs, base)] for seed in runs if seed in base]
        return _replicates([None if None in pair else pair[0] - pair[1] for pair in pairs])

    def groups(self, text: str) -> list[tuple[str, str]]:
        """("bins", number) for each bin with tokens, rare ones first, and ("parts", name)."""
        final = next(iter(self.ended[self.base].values()))["final"][text]
        bins = [("bins", number) for number in sorted(final["bins"], key=int)]
        return bins + [("parts", name) for name in PARTS if name in final["parts"]]

    def size(self, text: str, group: tuple[str, str]) -> tuple[int, int]:
        """Tokens and types of a group; they are the same in all runs."""
        found = _in(next(iter(self.ended[self.base].values()))["final"][text], group)
        return found["tokens"], found["types"]

    def loss(self, text: str, decay: float, group: tuple[str, str]) -> Replicates:
        """The mean loss of a group's tokens."""
        return Replicates(tuple(_in(run["final"][text], group)["average_nats"] for run in self.ended[decay].values()))

    @property
    def steps(self) -> list[int]:
        """The steps of the curves' points."""
        return [point["step"] for point in next(iter(self.ended[self.base].values()))["curve"]]

    def curve(self, text: str, decay: float, group: tuple[str, str]) -> list[float] | None:
        """The mean loss over the seeds at each point; None if the text of the curves has no token of the group."""
        curves = [_losses(run, text, group) for run in self.ended[decay].values()]
        return None if None in curves else np.mean(curves, axis=0).tolist()

    def speed(self, text: str, decay: float, group: tuple[str, str]) -> Replicates | None:
        """`learning_speed` of a group."""
        curves = [_losses(run, text, group) for run in self.ended[decay].values()]
        return _replicates([None if losses is None else learning_speed(self.steps, losses) for losses in curves])

    def slope(self, decay: float) -> Replicates | None:
        """The slope of the runs where there is one."""
        found = [run["slope"]["slope"] for run in self.ended[decay].values() if "slope" in run["slope"]]
        return Replicates(tuple(found)) if found else None

    def as_dict(self) -> dict:
        """Plain values; weight decays are keys as text."""
        if not self.ended:
            return {"diverged": [run["name"] for run in self.diverged]}
        return {
            "base": self.base,
            "rare": self.rare_words,
            "decay_product": {f"{decay:g}": product for decay, product in self.products.items()},
            "diverged": [run["name"] for run in self.diverged],
            **{text: self._of_text(text) for text in TEXTS},
            "slope": {f"{decay:g}": _plain(self.slope(decay)) for decay in self.decays},
        }

    def _of_text(self, text: str) -> dict:
        groups = self.groups(text)
        return {
            "figures": {f"{decay:g}": {name: _plain(self.measure(text, decay, name)) for name in MEASURES} for decay in self.decays},
            "differences": {f"{decay:g}": {name: _plain(self.difference(text, decay, name)) for name in MEASURES} for decay in self.decays[1:]},
            "speed": {f"{decay:g}": {label(group): _plain(self.speed(text, decay, group)) for group in groups} for decay in self.decays},
        }  # fmt: skip


def measures(scores: Mapping, rare: tuple[str, str]) -> dict[str, float | None]:
    """The figures of MEASURES from one run's final figures on one text; None for a group without tokens and what needs it.

    Args:
        rare: the group of rare types.
    """
    head, torso, tail = (scores["parts"].get(part, {}).get("average_nats") for part in PARTS)
    few = scores[rare[0]].get(rare[1], {}).get("average_nats")
    average, balanced = scores["average_nats"], scores["balanced_nats"]
    return {
        "average": average, "balanced": balanced, "head": head, "torso": torso, "tail": tail, "rare": few,
        "rare_minus_head": None if None in (head, few) else few - head, "balanced_minus_average": balanced - average,
        "accuracy": scores["accuracy"],
    }  # fmt: skip


def label(group: tuple[str, str]) -> str:
    """The name of a part, or the counts of a bin: "head", "9 to 26"."""
    kind, name = group
    if kind == "parts":
        return name
    low, high = bin_limits(int(name))
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def learning_speed(steps: Sequence[int], losses: Sequence[float]) -> float:
    """1 - (area under the curve) / ((last step - first step) × first loss): 0 where nothing is learned, near 1 where all is at once.

    The area is that of straight lines between the points.
    """
    steps, losses = np.asarray(steps, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    area = float((np.diff(steps) * (losses[1:] + losses[:-1]) / 2).sum())
    return 1 - area / float((steps[-1] - steps[0]) * losses[0])


def _in(scores: Mapping, group: tuple[str, str]) -> Mapping:
    return scores[group[0]][group[1]]


def _losses(run: Mapping, text: str, group: tuple[str, str]) -> list[float] | None:
    kind, name = group
    return [point[text][kind][name]["average_nats"] for point in run["curve"]] if name in run["curve"][0][text][kind] else None


def _replicates(values: Sequence[float | None]) -> Replicates | None:
    return Replicates(tuple(values)) if values and None not in values else None


def _plain(replicates: Replicates | None) -> dict | None:
    return replicates and replicates.as_dict()
