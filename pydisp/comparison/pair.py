"""Pair: the reports of one method of two models, with what both state, and what one states alone."""

from dataclasses import dataclass
from functools import cached_property

from pydisp.comparison.side import METHODS, SPEED
from pydisp.report import Metric, Report, Section, Table
from pydisp.report.values import slug
from pydisp.report.words import number

_NO_RATIO = ("nats", "points")  # units of which a difference says how many times something is


@dataclass(frozen=True)
class Pair:
    """The reports of one method on both sides."""

    method: str
    a: Report
    b: Report

    @cached_property
    def differing(self) -> list[str]:
        """The facts about the data that are not the same in both."""
        names = METHODS[self.method][1] if self.method in METHODS else ()
        return [name for name in names if fact(self.a, name) != fact(self.b, name)]

    @cached_property
    def both(self) -> dict[str, tuple[Metric, Metric]]:
        """The metrics of one name and unit."""
        a, b = _metrics(self.a), _metrics(self.b)
        return {name: (a[name], b[name]) for name in a if name in b and a[name].unit == b[name].unit}

    def only(self, report: Report) -> list[Metric]:
        """The metrics of one of the reports that the other lacks."""
        return [metric for name, metric in _metrics(report).items() if name not in self.both]

    def as_dict(self) -> dict:
        return {
            "differing_data": self.differing,
            "both": {name: self._compared(*found) for name, found in self.both.items()},
            "only_a": {metric.name: metric.value for metric in self.only(self.a)},
            "only_b": {metric.name: metric.value for metric in self.only(self.b)},
        }

    def _compared(self, a: Metric, b: Metric) -> dict:
        same = not self.differing
        has_ratio = same and min(a.value, b.value) > 0 and not a.unit.startswith(_NO_RATIO)
        return {
            "unit": a.unit, "a": a.value, "b": b.value,
            "difference": b.value - a.value if same else None, "ratio": b.value / a.value if has_ratio else None,
        }  # fmt: skip

    def section(self, names: tuple[str, str]) -> Section:
        """What each report says, then the figures of both side by side, then those of one alone."""
        told = zip(names, (self.a, self.b), strict=True)
        parts: list = headed([(f"{name}: {report.title}", report.summary or ("The report has no summary.",)) for name, report in told])
        if self.differing:
            parts.append(f"The two are not of the same data ({', '.join(self.differing)}), so no differences are given.")
        if self.method == SPEED:
            parts.append(
                "Each folder's times are of a run of its own, in which its models took turns: on one machine the figures against the unpruned "
                "model compare best, and what its own figures differ by is the machine's doing."
            )
        rows = []
        for name, (a, b) in self.both.items():
            found = self._compared(a, b)
            difference = None if found["difference"] is None else _signed(found["difference"], a)
            rows.append((name, _words(a), _words(b), difference, found["ratio"], a.unit))
        if rows:
            minus, over = (f"{names[1]}\u00a0{sign}\u00a0{names[0]}" for sign in "−÷")
            parts.append(Table("Figures of both", ("figure", *names, minus, over, "unit"), rows))
        alone = [
            (metric.name, name, _words(metric), metric.unit)
            for name, report in zip(names, (self.a, self.b), strict=True)
            for metric in self.only(report)
        ]
        if alone:
            parts.append(Table("Figures of one alone", ("figure", "of", "value", "unit"), alone))
        return Section(self.method, parts)


def fact(report: Report, name: str):
    """A fact by its dotted name; None if the report has none."""
    found = report.facts
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def headed(contents: list[tuple[str, tuple]]) -> list[Section]:
    """Sections of these titles and parts; the titles get numbers where their addresses, which are cut, would be the same."""
    are_distinct = len({slug(title) for title, _ in contents}) == len(contents)
    return [Section(title if are_distinct else f"{n}. {title}", parts) for n, (title, parts) in enumerate(contents, 1)]


def _metrics(report: Report) -> dict[str, Metric]:
    """The metrics of a report and of its sections, the headlines first; of two of one name the first."""
    found = {metric.name: metric for metric in report.metrics}
    sections = list(report.sections)
    while sections:
        section = sections.pop(0)
        for part in section.parts:
            if isinstance(part, Metric):
                found.setdefault(part.name, part)
            elif isinstance(part, Section):
                sections.append(part)
    return found


def _words(metric: Metric) -> str:
    return number(metric.value, metric.decimals)


def _signed(difference: float, metric: Metric) -> str:
    words = number(abs(difference), metric.decimals)
    return words if difference == 0 else f"{'+' if difference > 0 else '−'}{words}"
