"""A limit reads as written, and its names are those of the help."""

import re

import pytest

from pydisp.commands.fairness import GRAMMAR
from pydisp.fairness import gate
from pydisp.fairness.gate import Gate

RESULT = {
    "average_nats": 3.0, "balanced_nats": 5.0, "accuracy": 0.4, "ece": 0.02, "nats_per_byte": 0.7,
    "parts": {"tail": {"nats": 6.0, "balanced_nats": 6.5, "ece": 0.1}, "head": {"nats": None}},
    "delta": {"average": {"mean": 0.1}, "excess": {"mean": 0.3}, "parts": {"tail": {"mean": 0.4}, "head": None}, "agreement": 0.8},
}  # fmt: skip


@pytest.mark.parametrize(
    "limit, value",
    [
        ("tail.nats > +0.10", 0.4), ("tail.nats > 5.5", 6.0), ("average>=+.1", 0.1), ("average > 2.9", 3.0), ("excess > +2e-1", 0.3),
        ("agreement < 0.9", 0.8), ("tail.balanced > 6", 6.5), ("average > -0.05", 0.1), (" nats_per_byte <= .7 ", 0.7),
    ],
)  # fmt: skip
def test_a_limit_that_is_passed_says_the_figure(limit, value):
    sentence = Gate.parse(limit).passed_by(RESULT)
    assert sentence and re.search(rf"it is \+?{value:g}\.$", sentence), sentence


@pytest.mark.parametrize("limit", ["tail.nats > +0.40", "average < 3", "average > +0.1", "agreement < 0.8", "ece > 0.02"])
def test_a_limit_that_is_kept_says_nothing(limit):
    assert Gate.parse(limit).passed_by(RESULT) is None


def test_a_part_without_units_closes_the_gate():
    for limit in ("head.nats > +1", "head.nats > 1"):
        assert "the limit says nothing" in Gate.parse(limit).passed_by(RESULT)


@pytest.mark.parametrize(
    "limit, words",
    [("", "is not NAME"), ("tail > ", "is not NAME"), ("tail.nats = 3", "is not NAME"), ("tail.nats > three", "is not NAME"),
     ("tale.nats > 3", "names no figure"), ("ece > +0.1", "names no difference"), ("agreement > +0.1", "names no difference"),
     ("excess > 1", "names no figure"), ("tail.nats > +1 and head.nats > 1", "is not NAME"), ("average > 1e400", "beyond the largest float"), ("average > ٣", "is not NAME")],
)  # fmt: skip
def test_what_names_nothing_is_refused(limit, words):
    with pytest.raises(ValueError, match=words):
        Gate.parse(limit)


def test_the_help_names_every_figure():
    for name in {*gate.FIGURES, *gate.DIFFERENCES, "agreement"}:
        assert all(part in GRAMMAR for part in name.split(".")), name
