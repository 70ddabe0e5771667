"""Figures of a report as text: tables of numbers would show four digits of each."""

from pydisp.toolken.evaluating.estimates import Estimate

NO_BREAK = "\u00a0"


def percent_words(estimate: Estimate | None) -> str | None:
    """`41.0`, in per cent."""
    return None if estimate is None else f"{100 * estimate.value:.1f}"


def ends_words(interval: tuple[float, float] | None, sign: str = "") -> str | None:
    """`35.2 to 47.1` of shares, in per cent, on one line."""
    return None if interval is None else f"{100 * interval[0]:{sign}.1f} to {100 * interval[1]:{sign}.1f}".replace(" ", NO_BREAK)


def decimals(value: float | None) -> str | None:
    """`0.135`."""
    return None if value is None else f"{value:.3f}"


def with_ends(estimate: Estimate | None, places: int = 3, factor: float = 1.0) -> str | None:
    """`0.912 (0.871 to 0.943)`, on one line."""
    if estimate is None:
        return None
    ends = "" if estimate.interval is None else " ({} to {})".format(*(f"{factor * end:.{places}f}" for end in estimate.interval))
    return f"{factor * estimate.value:.{places}f}{ends}".replace(" ", NO_BREAK)
