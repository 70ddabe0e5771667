"""Units: one quantity in another unit, exactly: convert(5, "km", "m") is 5000.

Names are in the singular, the plural, British and American spelling, and short. Miles, pounds and feet are international, gallons and pints US, a
kB is 1,000 bytes and a KiB 1,024, a year is 365 days.
"""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from pydisp.toolken.tools.arithmetic import Number, divide


@dataclass(frozen=True)
class Unit:
    """A unit: `value * factor + offset` is the quantity in the unit of its kind that has the factor 1."""

    kind: str
    factor: Fraction
    offset: Fraction = Fraction(0)


# kind -> (factor, names): what one of it is in the unit with the factor 1
_ROWS: dict[str, tuple[tuple[str, str], ...]] = {
    "length": (
        ("1", "m metre metres meter meters"),
        ("0.001", "mm millimetre millimetres millimeter millimeters"),
        ("0.01", "cm centimetre centimetres centimeter centimeters"),
        ("1000", "km kilometre kilometres kilometer kilometers"),
        ("0.0254", "in inch inches"),
        ("0.3048", "ft foot feet"),
        ("0.9144", "yd yard yards"),
        ("1609.344", "mi mile miles"),
    ),
    "mass": (
        ("1", "g gram grams"),
        ("0.001", "mg milligram milligrams"),
        ("1000", "kg kilogram kilograms"),
        ("1000000", "t tonne tonnes"),
        ("28.349523125", "oz ounce ounces"),
        ("453.59237", "lb pound pounds"),
        ("6350.29318", "st stone stones"),
    ),
    "volume": (
        ("1", "L litre litres liter liters"),
        ("0.001", "mL millilitre millilitres milliliter milliliters"),
        ("0.01", "cL centilitre centilitres centiliter centiliters"),
        ("1000", "m3"),
        ("0.0295735295625", "floz"),
        ("0.2365882365", "cup cups"),
        ("0.473176473", "pt pint pints"),
        ("0.946352946", "qt quart quarts"),
        ("3.785411784", "gal gallon gallons"),
    ),
    "time": (
        ("1", "s second seconds"),
        ("0.001", "ms millisecond milliseconds"),
        ("60", "min minute minutes"),
        ("3600", "h hour hours"),
        ("86400", "d day days"),
        ("604800", "week weeks"),
        ("31536000", "year years"),
    ),
    "area": (
        ("1", "m2"),
        ("0.0001", "cm2"),
        ("1000000", "km2"),
        ("10000", "ha hectare hectares"),
        ("0.09290304", "ft2"),
        ("4046.8564224", "acre acres"),
    ),
    "speed": (
        ("1", "m/s"),
        ("5/18", "km/h"),
        ("0.44704", "mph"),
        ("463/900", "kn knot knots"),
    ),
    "data": (
        ("1", "B byte bytes"),
        ("1/8", "bit bits"),
        ("1000", "kB kilobyte kilobytes"),
        ("1000000", "MB megabyte megabytes"),
        ("1000000000", "GB gigabyte gigabytes"),
        ("1000000000000", "TB terabyte terabytes"),
        ("1024", "KiB kibibyte kibibytes"),
        ("1048576", "MiB mebibyte mebibytes"),
        ("1073741824", "GiB gibibyte gibibytes"),
    ),
}
UNITS: dict[str, Unit] = {
    name: Unit(kind, Fraction(factor)) for kind, rows in _ROWS.items() for factor, names in rows for name in names.split()
}
for _names, _factor, _offset in (
    ("C celsius Celsius", "1", "273.15"),
    ("K kelvin Kelvin", "1", "0"),
    ("F fahrenheit Fahrenheit", "5/9", "45967/180"),
):
    UNITS |= {name: Unit("temperature", Fraction(_factor), Fraction(_offset)) for name in _names.split()}


def convert(value: Number, from_unit: str, to_unit: str) -> Number:
    """A quantity in another unit of the same kind.

    Raises: ValueError for a unit that is not in UNITS, and for two of different kinds.
    """
    for name in (from_unit, to_unit):
        if name not in UNITS:
            raise ValueError(f"{name[:40]!r} is no unit that is known here; give one such as 'km', 'pounds' or 'minutes'.")
    source, target = UNITS[from_unit], UNITS[to_unit]
    if source.kind != target.kind:
        raise ValueError(f"{from_unit!r} measures {source.kind} and {to_unit!r} {target.kind}; give two units of one kind.")
    quantity = (Fraction(value) * source.factor + source.offset - target.offset) / target.factor
    return divide(Decimal(quantity.numerator), Decimal(quantity.denominator))
