"""bench/legal_judgement.py and legal_before_after.py: what they sample, score and sum up."""

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from legal_before_after import over_runs, parsed  # noqa: E402
from legal_judgement import definitions, sample, score  # noqa: E402


def test_the_sample_has_marked_spans_and_spans_of_other_kinds_of_each_kind():
    items = sample()
    assert items == sample() and Counter((item["kind"], item["is_marked"]) for item in items) == Counter(
        {(kind, is_marked): 20 if is_marked else 6 for kind in definitions() for is_marked in (True, False)}
    )
    for item in items:
        own = item["passage"].rsplit("-", 1)[0].replace("-", " ")
        assert (own == item["kind"]) == item["is_marked"] and item["text"][item["start"] : item["end"]].strip()


def test_precision_agreement_and_kappa_are_those_of_the_verdicts():
    items = sample()
    right = {item["n"]: {"n": item["n"], "verdict": "yes" if item["is_marked"] else "no"} for item in items}
    found = score(items, right)
    assert set(found["precision"].values()) == {1.0} and found["agreement"] == 1 and found["cohen_kappa"] == pytest.approx(1)
    wrong = next(item for item in items if item["is_marked"])
    found = score(items, right | {wrong["n"]: {"n": wrong["n"], "verdict": "no", "reason": "cut"}})
    assert found["precision"][wrong["kind"]] == 0.95 and found["agreement"] == pytest.approx(181 / 182)
    with pytest.raises(ValueError, match=f"item {wrong['n']} has no verdict yes or no; judge all 182 items"):
        score(items, {n: one for n, one in right.items() if n != wrong["n"]})


def test_pairs_of_one_label_are_runs_and_their_interval_is_students():
    assert parsed(["a=x,y", "b=z,y", "a=v,w"]) == {"a": [("x", "y"), ("v", "w")], "b": [("z", "y")]}
    with pytest.raises(ValueError, match="--pair is 'a=x'; it must be LABEL=MODEL,REFERENCE"):
        parsed(["a=x"])
    found = over_runs([1.0, 2.0, 3.0])
    assert found["mean"] == 2 and found["interval"] == pytest.approx([2 - 2.4841, 2 + 2.4841], abs=1e-3)
    assert over_runs([1.0])["interval"] is None
