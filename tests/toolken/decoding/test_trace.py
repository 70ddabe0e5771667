"""Steps and traces as plain values, and counts of every outcome."""

import json

from toolken_writing import TOOLS

from pydisp.toolken.decisions import Choice
from pydisp.toolken.decoding.trace import OUTCOMES, Step, Trace


def test_a_step_names_what_a_choice_counts():
    choice = Choice(1, 1, (2, 1), (0.2, 0.7, 0.1), 0.7)
    step = Step.of(5, choice, TOOLS, "called", 9, arguments="", result="noon", kind="done", end=14)
    assert (step.fired, step.tool, step.candidates, step.probabilities) == ("oracle", "clock", ("oracle", "clock"), (0.2, 0.7, 0.1))
    assert (step.place, step.start, step.end, step.confidence) == (5, 9, 14, 0.7)
    assert Step.of(5, choice, TOOLS, "rejected", 9).end == 9 and Step.of(5, choice, TOOLS, "beyond", 9, confidence=None).confidence is None


def test_counts_name_every_outcome():
    trace = Trace([Step(place, "a", outcome, "a") for place, outcome in enumerate([*OUTCOMES, "called", "failed"])])
    assert trace.counts == {"called": 2, "rejected": 1, "failed": 2, "repeated": 1, "beyond": 1}
    assert trace.calls_made == 4


def test_a_trace_is_shown_by_its_counts():
    trace = Trace([Step(0, "a", outcome, "a") for outcome in ("rejected", "called", "called")])
    assert repr(trace) == "Trace(3 steps: 2 called, 1 rejected)" and repr(Trace()) == "Trace(0 steps)"
    assert repr(Trace([Step(0, "a", "failed", "a")])) == "Trace(1 step: 1 failed)"


def test_a_trace_is_plain_values():
    trace = Trace()
    trace.add(Step.of(0, Choice(None, 0, (0, 1), (0.1, 0.1, 0.8), 0.1), TOOLS, "rejected", 0))
    values = json.loads(json.dumps(trace.as_dict()))
    assert values["counts"]["rejected"] == 1
    assert values["steps"][0]["candidates"] == ["pick", "clock"] and values["steps"][0]["probabilities"] == [0.1, 0.1, 0.8]
    assert Step(**{**values["steps"][0], "candidates": ("pick", "clock"), "probabilities": (0.1, 0.1, 0.8)}) == trace.steps[0]
