"""Values: the values that a report may hold, checked once when it is made; each error is one sentence that names the place."""

import math
import re
import sys
from collections.abc import Sequence
from numbers import Integral, Real

from pydisp.given_value import short

_MOST_SLUG_BYTES = 48  # a file name may contain the slugs of four titles, and file systems allow 255 bytes


def slug(title: str) -> str:
    """A title as part of a file name or an address: its letters and digits with single hyphens between, cut if it is long."""
    whole = re.sub(r"[\W_]+", "-", title.lower()).strip("-")
    return whole.encode()[:_MOST_SLUG_BYTES].decode(errors="ignore").rstrip("-") or "untitled"


def require_text(value, what: str, may_be_empty: bool = False) -> None:
    """Raise TypeError or ValueError, naming `what`, unless the value is a text that a page can hold."""
    if not isinstance(value, str):
        raise TypeError(f"{what} is {short(value)}; it must be a text.")
    if not may_be_empty and not value.strip():
        raise ValueError(f"{what} is empty; give it one.")
    _require_writable(value, what)


def _require_writable(text: str, what: str) -> None:
    """Refuse what no file in UTF-8 (half a surrogate pair) or no page (NUL) can hold."""
    unwritable = re.search(r"[\0\ud800-\udfff]", text)
    if unwritable:
        raise ValueError(f"{what} holds the character U+{ord(unwritable[0]):04X}, which a page cannot hold; leave it out.")


def require_distinct(names: Sequence[str], what: str) -> None:
    """Raise ValueError if a name stands twice."""
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"two {what} are called {short(twice[0])}; give each its own name.")


def finite(value, what: str) -> int | float:
    """The number as Python's int or float; TypeError or ValueError, naming `what`, if it is none or not finite."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{what} is {short(value)}; it must be a number.")
    try:
        number = int(value) if isinstance(value, Integral) else float(value)
        is_finite = math.isfinite(number)
    except OverflowError:
        raise ValueError(f"{what} is beyond the largest float ({sys.float_info.max:.1e}); it must be a float64 number.") from None
    if not is_finite:
        raise ValueError(f"{what} is {number}; it must be finite.")
    return number


def interval(value, what: str) -> tuple[float, float]:
    """(low, high) as Python's numbers; ValueError, naming `what`, for anything else."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{what} is {short(value)}; it must be (low, high).")
    low, high = (finite(v, what) for v in value)
    if low > high:
        raise ValueError(f"{what} runs from {low} down to {high}; give (low, high).")
    return low, high


def plain(value, place: str):
    """A copy in the types that JSON has; numbers of numpy become numbers of Python."""
    if isinstance(value, str):
        _require_writable(value, place)
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Real):
        return finite(value, place)
    if isinstance(value, list | tuple):
        return [plain(v, f"{place}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{place} has the key {key!r}; keys must be texts.")
            _require_writable(key, f"a key of {place}")
        return {k: plain(v, f"{place}.{k}") for k, v in value.items()}
    raise TypeError(
        f"{place} is of type {type(value).__name__}; JSON holds texts, numbers, True, False, None, lists and dicts: convert it."
    )
