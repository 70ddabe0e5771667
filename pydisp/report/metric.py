"""Metric: one figure of a report, with its unit and its uncertainty."""

from dataclasses import dataclass

from pydisp.arguments import SWITCH, check_fields, optional, plain, whole
from pydisp.given_value import short
from pydisp.report.values import finite, interval, require_text

MOST_DECIMALS = 12


@dataclass(frozen=True)
class Metric:
    """One figure.

    Args:
        name: what was measured.
        unit: its unit; empty for a plain number.
        value: finite.
        standard_error: of the value, in its unit.
        interval: (low, high), in the value's unit; the note should name its level.
        n: number of observations behind the value.
        higher_is_better: None if neither direction is better.
        note: half a sentence more.
        decimals: how many are shown of the value, its error and its interval, such as 1 for `5.3 %`; None: four significant digits.
    Raises: ValueError or TypeError, naming the metric, for anything else.
    """

    name: str
    value: float
    unit: str = ""
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    n: int | None = None
    higher_is_better: bool | None = None
    note: str = ""
    decimals: int | None = None

    def __post_init__(self):
        require_text(self.name, "the name of a metric")
        place = f"metric {short(self.name)}"
        for name in ("unit", "note"):
            require_text(getattr(self, name), f"{place}: {name}", may_be_empty=True)
        self._set("value", finite(plain(self.value), f"{place}: value"))
        if self.standard_error is not None:
            self._set("standard_error", finite(plain(self.standard_error), f"{place}: standard_error"))
            if self.standard_error < 0:
                raise ValueError(f"{place}: standard_error is {self.standard_error}; it must be 0 or more.")
        if self.interval is not None:
            self._set("interval", interval(self.interval, f"{place}: interval"))
        check_fields(
            self, f"{place}: ", n=optional(whole(1, 2**63 - 1)), decimals=optional(whole(0, MOST_DECIMALS)), higher_is_better=optional(SWITCH)
        )  # fmt: skip

    def _set(self, name: str, value) -> None:
        object.__setattr__(self, name, value)
