"""Groups: the units of a text by how frequent they are and of what class. A group is a name, limits and (U,) bool."""

from dataclasses import dataclass

import numpy as np

from pydisp.fairness.frequency import PARTS, bin_limits, bins_of, deciles_of, parts_of
from pydisp.fairness.units import CLASSES, Units


@dataclass(frozen=True, eq=False)
class Group:
    """Units of one bin, part, decile or class.

    Args:
        name: what people read.
        low, high: lowest and highest count of its types; None for classes.
        holds: (U,) bool.
    """

    name: str
    low: int | None
    high: int | None
    holds: np.ndarray


def bins(units: Units, counts: np.ndarray) -> list[Group]:
    """Bins of the count by powers of 3, from the lowest to the highest that has a unit; those between may be empty.

    Args:
        counts: (V,) count of each type of the units.
    """
    of_type = bins_of(counts)
    groups = []
    for number in range(int(of_type.min()), int(of_type.max()) + 1):
        low, high = bin_limits(number)
        groups.append(Group(f"{low:,}" if low == high else f"{low:,} to {high:,}", low, high, (of_type == number)[units.type]))
    return groups


def parts(units: Units, counts: np.ndarray, among: np.ndarray) -> dict[str, Group]:
    """Head, torso and tail; each is there, perhaps empty.

    Args:
        counts: (V,) count of each type of the units.
        among: counts of all types of the counted text, which decide where a part ends.
    """
    places, all_places = parts_of(counts, among), parts_of(among)
    return {name: _placed(name, number, counts, places, among, all_places, units) for number, name in enumerate(PARTS)}


def deciles(units: Units, counts: np.ndarray, among: np.ndarray) -> list[Group]:
    """Tenths of the occurrences in the counted text, the most frequent types first; args as `parts`."""
    places, all_places = deciles_of(counts, among), deciles_of(among)
    return [_placed(f"tenth {number + 1}", number, counts, places, among, all_places, units) for number in range(10)]


def classes(units: Units) -> dict[str, Group]:
    """Classes of tokens or words, those that the text has."""
    return {name: Group(name, None, None, units.kind == number) for number, name in enumerate(CLASSES) if np.any(units.kind == number)}


def _placed(
    name: str, number: int, counts: np.ndarray, places: np.ndarray, among: np.ndarray, all_places: np.ndarray, units: Units
) -> Group:
    """The group of one place; its limits are those of the counted text, and 0 if it holds types that this text does not have."""
    inside = np.concatenate([among[all_places == number], counts[places == number]])
    low, high = (int(inside.min()), int(inside.max())) if len(inside) else (None, None)
    return Group(name, low, high, (places == number)[units.type])
