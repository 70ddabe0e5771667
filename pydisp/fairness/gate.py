"""Gate: a limit that a figure of an audit must not pass, for scripts and CI.

    Gate.parse("tail.nats > +0.10")      # the difference to --against: the tail's loss grew by more than 0.10 nats
    Gate.parse("average > 3.5")          # the figure of the model itself: no sign

NAME COMPARISON NUMBER: a number with a sign is of the difference MODEL minus REFERENCE, one without is of the model.
"""

import math
import operator
import re
from dataclasses import dataclass

_COMPARISONS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_PATTERN = re.compile(
    r"\s*([a-z_.]+)\s*(>=|<=|>|<)\s*([+-]?)([0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|\.[0-9]+(?:e[+-]?[0-9]+)?)\s*", re.IGNORECASE
)
_OF_PART = ("nats", "balanced", "accuracy", "ece", "rank", "entropy", "confidence")
FIGURES = {
    "average": ("average_nats",),
    "balanced": ("balanced_nats",),
    "nats_per_byte": ("nats_per_byte",),
    "accuracy": ("accuracy",),
    "ece": ("ece",),
    **{
        f"{part}.{name}": ("parts", part, "balanced_nats" if name == "balanced" else name)
        for part in ("head", "torso", "tail")
        for name in _OF_PART
    },
}
DIFFERENCES = {
    "average": ("delta", "average", "mean"),
    "balanced": ("delta", "balanced", "mean"),
    "accuracy": ("delta", "whole", "accuracy", "mean"),
    "excess": ("delta", "excess", "mean"),
    **{f"{part}.nats": ("delta", "parts", part, "mean") for part in ("head", "torso", "tail")},
    **{f"{part}.accuracy": ("delta", "parts", part, "accuracy", "mean") for part in ("head", "torso", "tail")},
}
_UNSIGNED_DIFFERENCES = {"agreement": ("delta", "agreement")}  # of two models, though no difference: written without a sign


@dataclass(frozen=True)
class Gate:
    """A name, a comparison (">", ">=", "<", "<="), a number, and whether it is of the difference."""

    name: str
    comparison: str
    number: float
    is_difference: bool

    @classmethod
    def parse(cls, text: str) -> "Gate":
        """Read NAME COMPARISON NUMBER.

        Raises: ValueError for anything else, or a name that there is not.
        """
        match = _PATTERN.fullmatch(text)
        if not match:
            raise ValueError(f'the limit {text!r} is not NAME COMPARISON NUMBER; write it as in "tail.nats > +0.10".')
        name, comparison, sign, digits = match.groups()
        known = DIFFERENCES if sign else FIGURES | _UNSIGNED_DIFFERENCES
        if name not in known:
            kind = "difference (a number with a sign)" if sign else "figure (a number without a sign)"
            raise ValueError(f"the limit {text!r} names no {kind}; known: {', '.join(known)}.")
        number = float(f"{sign}{digits}")
        if not math.isfinite(number):
            raise ValueError(f"the limit {text!r} has a number beyond the largest float; write a smaller one.")
        return cls(name, comparison, number, bool(sign))

    @property
    def needs_reference(self) -> bool:
        return self.is_difference or self.name in _UNSIGNED_DIFFERENCES

    def value(self, result: dict) -> float | None:
        """The figure in an audit's JSON; None if there is none (an empty part)."""
        path = DIFFERENCES[self.name] if self.is_difference else (FIGURES | _UNSIGNED_DIFFERENCES)[self.name]
        for key in path:
            result = None if result is None else result.get(key)
        return result

    def passed_by(self, result: dict) -> str | None:
        """A sentence if the figure is beyond the limit, or if there is no such figure; else None."""
        value = self.value(result)
        sign = "+" if self.is_difference and math.copysign(1, self.number) > 0 else ""
        limit = f"{self.name} {self.comparison} {sign}{self.number:g}"
        if value is None:
            return f"{limit}: the text has no unit of that kind, so the limit says nothing; give more text or another limit."
        if not _COMPARISONS[self.comparison](value, self.number):
            return None
        return f"{limit} is true: it is {value:{'+' if self.is_difference else ''}.6g}."
