"""What became of a problem, and its line of JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisp.toolken.evaluating.outcomes import Outcome, OutcomeError, from_json_lines, json_lines


def outcome(*kinds: str, needs: bool = True, **values) -> Outcome:
    steps = tuple({"outcome": kind, "tool": "add"} for kind in kinds)
    return Outcome(
        **{
            "problem": "p",
            "group": "g",
            "mode": "reject",
            "seed": 0,
            "gold_tools": ("add",) if needs else (),
            "text": " 84",
            "steps": steps,
            **values,
        }
    )


def test_called_rejected_failed_and_repeated_are_counted_apart():
    one = outcome("called", "rejected", "failed", "called", "repeated", "rejected", "beyond")
    assert one.calls == 2 and one.tried == 3
    assert [one.count(kind) for kind in ("rejected", "failed", "repeated", "beyond")] == [2, 1, 1, 1]


def test_a_failed_call_is_no_abstention():
    tried = outcome("failed")
    assert not tried.is_missed and tried.tried == 1 and tried.calls == 0
    assert outcome("failed", needs=False).unneeded == 1


def test_a_rejected_or_repeated_step_is_no_call():
    assert outcome("rejected", "repeated", needs=False).unneeded == 0
    assert outcome("rejected").is_missed


def test_a_needed_call_is_never_unneeded_and_a_missing_one_is_missed():
    assert outcome("called", "called").unneeded == 0
    assert outcome().is_missed and not outcome(needs=False).is_missed


@given(st.text(), st.text(), st.sampled_from([None, True, False]))
def test_lines_are_read_as_they_were_written(text, gold, is_right):
    many = [outcome("called", text=text, gold=gold, is_exact=is_right), outcome(seed=None, mode="none")]
    try:
        written = json_lines(many)
        written.encode()
    except UnicodeEncodeError:  # halves of letters
        return
    assert from_json_lines(written) == many
    assert written.count("\n") == 2


def test_a_line_that_is_no_outcome_is_named():
    good = json_lines([outcome("called")])
    for bad in ("[]", '{"problem": "p"}', "{", good.replace('"outcome"', '"result"').strip()):
        with pytest.raises(OutcomeError, match="line 2 is no outcome"):
            from_json_lines(good + bad + "\n")


def test_values_for_json_are_plain():
    assert json.loads(json.dumps(outcome("called").as_dict())) == outcome("called").as_dict()
