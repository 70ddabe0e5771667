"""Comparison: what is known of two models, side by side on one page: their sizes, and what the report of each method says of both.

    found = compare("pruned-0.5", "pruned-0.7")
    found.as_dict()["methods"]["Pruning"]["both"]["weights"]    # {"a": …, "b": …, "difference": …, "ratio": …}
    found.report.write("out")

Nothing is measured: reports are read, from a folder itself and from the folders in it. Differences are given only where both reports state the
same data.

Files: `side`: one of the two, read from its folders · `pair`: the reports of one method of both
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydisp.comparison.pair import Pair, fact, headed
from pydisp.comparison.side import METHODS, OTHER, SPEED, Side, read_side
from pydisp.environment import run_facts
from pydisp.loading import displayed_name
from pydisp.report import Metric, Report, Section, Table
from pydisp.report.words import number
from pydisp.speed.models import PRUNED, UNPRUNED

__all__ = ["Comparison", "METHODS", "Pair", "Side", "compare"]

PEAK = "peak memory, MiB"
_TEXTS = {"held-out": "perplexity", "other": "perplexity_other", "calibration": "perplexity_calibration"}


@dataclass(frozen=True)
class Comparison:
    """Two sides and what they share."""

    a: Side
    b: Side

    @cached_property
    def pairs(self) -> list[Pair]:
        """The reports of one method: where a side has several, those in folders of one name."""
        found = []
        for method in (*METHODS, OTHER):
            a, b = ({folder: report for (kind, folder), report in side.reports.items() if kind == method} for side in (self.a, self.b))
            if len(a) == len(b) == 1:
                found.append(Pair(method, *a.values(), *b.values()))
            else:
                found += [Pair(method, a[folder], b[folder]) for folder in a if folder in b]
        return found

    @cached_property
    def names(self) -> tuple[str, str]:
        return self.a.name, self.b.name

    @cached_property
    def perplexities(self) -> dict[str, tuple[float, float]]:
        """Of both models on each text that pruning reports state of both: two reports of the same data, or one of the other side's model."""
        a, b = (next((one for (kind, _), one in side.reports.items() if kind == "Pruning"), None) for side in (self.a, self.b))
        if a and b:
            return {} if Pair("Pruning", a, b).differing else _pair_of(a, "pruned", b, "pruned")
        if b and fact(b, "result.model") == self.a.name:
            return _pair_of(b, "dense", b, "pruned")
        if a and fact(a, "result.model") == self.b.name:
            return _pair_of(a, "pruned", a, "dense")
        return {}

    @cached_property
    def speeds(self) -> dict[str, tuple[float, float]]:
        """How fast both are, in times of the model that both were pruned from, and their peaks in MiB, as far as the measured times say so.

        Only what was measured against the same model under the same conditions; one side may be that model itself.
        """
        a, b = (next((one for (kind, _), one in side.reports.items() if kind == SPEED), None) for side in (self.a, self.b))
        if a and b:
            same = fact(a, "result.against") == fact(b, "result.against") and not Pair(SPEED, a, b).differing
            return _speeds_of(a, PRUNED, b, PRUNED) if same else {}
        if b and fact(b, "result.against") == self.a.name:
            return _speeds_of(b, UNPRUNED, b, PRUNED)
        if a and fact(a, "result.against") == self.b.name:
            return _speeds_of(a, PRUNED, a, UNPRUNED)
        return {}

    @cached_property
    def unpaired(self) -> dict[str, list[Report]]:
        """The reports of each side that have no partner."""
        shown = {id(report) for pair in self.pairs for report in (pair.a, pair.b)}
        return {side.name: [one for one in side.reports.values() if id(one) not in shown] for side in (self.a, self.b)}

    def as_dict(self) -> dict:
        """The object that `pydisp compare --json` prints, without `out`."""
        return {
            "a": self.a.name, "b": self.b.name,
            "size": {"a": self.a.size, "b": self.b.size},
            "perplexity": {text: {"a": a, "b": b, "ratio": b / a} for text, (a, b) in self.perplexities.items()},
            "speed": {what: {"a": a, "b": b, "ratio": b / a} for what, (a, b) in self.speeds.items()},
            "methods": _by_method(self.pairs),
            "only": {name: [report.title for report in reports] for name, reports in self.unpaired.items()},
        }  # fmt: skip

    @property
    def report(self) -> Report:
        models = [self._models()] if self.a.size and self.b.size else []
        sections = _numbered([pair.section(self.names) for pair in self.pairs])
        alone = [
            (f"{name}: {report.title}", (*report.summary, *report.metrics) or ("The report has no summary.",))
            for name, reports in self.unpaired.items()
            for report in reports
        ]
        rest = [Section("Reports of one alone", headed(alone))] if alone else []
        return Report(
            title=f"{self.a.name} and {self.b.name} side by side",
            summary=self.sentences,
            metrics=self._cards(),
            sections=[*models, *sections, *rest],
            facts={"result": self.as_dict(), **run_facts()},
        )

    @property
    def sentences(self) -> list[str]:
        lines = []
        if self.a.size and self.b.size:
            a, b = (side.size["parameters"] for side in (self.a, self.b))
            lines.append(f"{self.b.name} has {b:,} parameters, {b / a:.3f} times those of {self.a.name} ({a:,}).")
        for text, (a, b) in list(self.perplexities.items())[:1]:
            lines.append(f"Its perplexity on {text} text is {b:.2f}, {b / a:.3f} times that of {self.a.name} ({a:.2f}).")
        methods = ", ".join(dict.fromkeys(pair.method for pair in self.pairs))
        lines.append(f"Reports of both: {methods}." if methods else "No method has a report of both.")
        return lines

    def _cards(self) -> list[Metric]:
        """Size, perplexity, speed and memory, the second model's in those of the first."""
        over = f"{self.b.name} ÷ {self.a.name}"
        found = []
        if self.a.size and self.b.size:
            found.append(("parameters", self.a.size["parameters"], self.b.size["parameters"], None))
        found += [(f"perplexity, {text} text", a, b, False) for text, (a, b) in list(self.perplexities.items())[:1]]
        found += [(what, a, b, what != PEAK) for what, (a, b) in self.speeds.items()]
        return [
            Metric(what, b / a, "times", higher_is_better=better, note=f"{over}: {number(b)} ÷ {number(a)}") for what, a, b, better in found
        ]

    def _models(self) -> Section:
        rows = [(word, self.a.size[word], self.b.size[word], _ratio(self.a.size[word], self.b.size[word])) for word in ("parameters", "MiB of weights")]  # fmt: skip
        rows += [(f"perplexity, {text} text", a, b, b / a) for text, (a, b) in self.perplexities.items()]
        rows += [(what, a, b, b / a) for what, (a, b) in self.speeds.items()]
        words = [f"{side.name}: a model of the type {side.size['type']}, saved in {side.size['dtype']}." for side in (self.a, self.b)]
        if self.perplexities:
            words.append("The perplexities are those that the pruning reports state, of the same text.")
        if self.speeds:
            words.append("Speeds are in times of the model that was pruned, which took turns with the pruned one.")
        return Section("Models", [*words, Table("Models", ("", *self.names, f"{self.b.name} ÷ {self.a.name}"), rows)])


def compare(a: str, b: str) -> Comparison:
    """Read what there is of two models.

    Args:
        a, b: folders with a report.json, or with folders that have one; or models by name. A pruned folder is both.
    Raises: ValueError (LoadingError is one) with one sentence for what is neither, and for one thing twice.
    """
    if Path(a).exists() and Path(b).exists() and Path(a).samefile(b) or a == b:
        raise ValueError(f"both are {a}; give two different folders or models.")
    names = [displayed_name(one) for one in (a, b)]
    if names[0] == names[1]:
        names = [str(Path(*Path(one).resolve().parts[-2:])) for one in (a, b)]
    if names[0] == names[1]:
        names = ["A", "B"]
    return Comparison(*(read_side(given, name) for given, name in zip((a, b), names, strict=True)))


def _pair_of(a: Report, of_a: str, b: Report, of_b: str) -> dict[str, tuple[float, float]]:
    found = {}
    for text, key in _TEXTS.items():
        both = fact(a, f"result.{key}.{of_a}"), fact(b, f"result.{key}.{of_b}")
        if all(isinstance(value, int | float) and value > 0 for value in both):
            found[text] = both
    return found


def _speeds_of(a: Report, of_a: str, b: Report, of_b: str) -> dict[str, tuple[float, float]]:
    found = {}
    for phase, words in (("decode", "speed of decoding"), ("prefill", "speed of a prompt")):
        both = [1.0 if model == UNPRUNED else fact(report, f"result.times.{UNPRUNED}.{phase}") for report, model in ((a, of_a), (b, of_b))]
        if all(both):
            found[words] = 1 / both[0], 1 / both[1]
    peaks = fact(a, f"result.models.{of_a}.peak_mib"), fact(b, f"result.models.{of_b}.peak_mib")
    return {**found, PEAK: peaks} if all(peaks) else found


def _ratio(a: float | None, b: float | None) -> float | None:
    return b / a if a and b else None


def _by_method(pairs: list[Pair]) -> dict[str, dict]:
    """The figures of each method; a second pair of one method has a number behind its name."""
    return {title: pair.as_dict() for title, pair in zip(_distinct([pair.method for pair in pairs]), pairs, strict=True)}


def _numbered(sections: list[Section]) -> list[Section]:
    titles = _distinct([section.title for section in sections])
    return [Section(title, section.parts) for title, section in zip(titles, sections, strict=True)]


def _distinct(names: list[str]) -> list[str]:
    return [name if names[:place].count(name) == 0 else f"{name} ({names[:place].count(name) + 1})" for place, name in enumerate(names)]
