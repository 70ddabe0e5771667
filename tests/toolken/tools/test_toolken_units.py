"""Units: exact factors, one kind at a time, and a way back."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisp.toolken.tools.units import UNITS, convert

KINDS = {kind: sorted(name for name, unit in UNITS.items() if unit.kind == kind) for kind in {unit.kind for unit in UNITS.values()}}


@pytest.mark.parametrize(
    "value, source, target, expected",
    [(5, "km", "m", 5000), (1, "mile", "metres", "1609.344"), (12, "inches", "ft", 1), (1, "yard", "feet", 3), (3, "pounds", "grams", "1360.77711"),
     (1, "stone", "lb", 14), (16, "oz", "pound", 1), (1, "gallon", "pints", 8), (1, "gallon", "quarts", 4), (1, "pint", "cups", 2), (1, "cup", "floz", 8),
     (1, "m3", "litres", 1000), (90, "minutes", "h", "1.5"), (2, "weeks", "days", 14), (1, "year", "days", 365), (86, "Fahrenheit", "Celsius", 30),
     (-40, "F", "C", -40), (0, "C", "K", "273.15"), (0, "celsius", "fahrenheit", 32), (1, "ha", "m2", 10000), (640, "acres", "km2", "2.589988110336"),
     (1, "m2", "cm2", 10000), (36, "km/h", "m/s", 10), (60, "mph", "km/h", "96.56064"), (1, "knot", "km/h", "1.852"), (8, "bits", "bytes", 1),
     (1, "MiB", "KiB", 1024), (1, "GB", "MB", 1000), (1, "GiB", "B", 1073741824), (Decimal("0.5"), "t", "kg", 500), (100, "cL", "L", 1)],
)  # fmt: skip
def test_conversions_written_out(value, source, target, expected):
    assert convert(value, source, target) == Decimal(expected)


@given(st.data(), st.integers(-1000, 1000))
def test_the_way_back_gives_the_same_number(data, value):
    names = data.draw(st.sampled_from(sorted(KINDS.values())))
    source, target = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(names))
    assert abs(Decimal(convert(convert(value, source, target), target, source)) - value) < Decimal("1e-15")


def test_kinds_are_not_mixed_and_unknown_units_are_refused():
    assert sorted(KINDS) == ["area", "data", "length", "mass", "speed", "temperature", "time", "volume"]
    with pytest.raises(ValueError, match="measures length and 'kg' mass"):
        convert(1, "km", "kg")
    with pytest.raises(ValueError, match="'parsec' is no unit"):
        convert(1, "parsec", "m")
