"""The numbers, cells and facts of a report as text, the same in Markdown and HTML."""

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydisp.report import Metric

Cell = str | int | float | bool | None


def number(value: float, decimals: int | None = None) -> str:
    """So many decimals, or four significant digits and whole numbers in full; digits in groups of three."""
    if decimals is not None:
        return f"{round(value, decimals) + 0:,.{decimals}f}"  # + 0: no -0.0
    if isinstance(value, int) or value == 0:
        return f"{value:,}" if isinstance(value, int) else "0"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -4 or magnitude > 14:
        return f"{value:.3e}"
    return f"{value:,.{max(0, 3 - magnitude)}f}"


def counted(count: int, noun: str) -> str:
    """`1 thread`, `2 threads`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def value_text(metric: "Metric") -> str:
    """The value with its standard error and interval, if it has them."""
    error = "" if metric.standard_error is None else f" ± {error_text(metric)}"
    interval = "" if metric.interval is None else f" [{', '.join(ends_text(metric))}]"
    return f"{number(metric.value, metric.decimals)}{error}{interval}"


def ends_text(metric: "Metric") -> tuple[str, str]:
    """The ends of the interval of a metric that has one."""
    low, high = metric.interval
    return number(low, metric.decimals), number(high, metric.decimals)


def error_text(metric: "Metric") -> str:
    """The error with as many decimals as the value is printed with, but at least one significant digit."""
    value, error = number(metric.value, metric.decimals), metric.standard_error
    decimals = len(value.partition(".")[2])
    return number(error) if error == 0 or "e" in value or error < 10**-decimals else f"{error:,.{decimals}f}"


def direction(metric: "Metric") -> str:
    """Whether higher or lower is better, in words; empty if neither is."""
    return {None: "", True: "higher", False: "lower"}[metric.higher_is_better]


def cell_text(cell: Cell) -> str:
    """A table's cell in words; empty for None."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return cell if isinstance(cell, str) else number(cell)


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def numeric_columns(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[bool]:
    """For each column, whether it holds only numbers and so is aligned to the right."""
    return [bool(rows) and all(row[i] is None or _is_number(row[i]) for row in rows) for i in range(len(columns))]


def flat_facts(facts: dict, prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as rows sorted by name; the names of their groups come first."""
    rows = []
    for key in sorted(facts):
        value = facts[key]
        if isinstance(value, dict) and value:
            rows += flat_facts(value, f"{prefix}{key}.")
        else:
            rows.append((prefix + key, fact_text(value)))
    return rows


def fact_text(value) -> str:
    """A fact as text, exact and not rounded, because it may be typed in again."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
