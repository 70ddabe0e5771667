"""Settings: what the defaults are and what follows the number of steps."""

from dataclasses import replace

import pytest
from tiny_text import tiny_llama

from pydisp.pruning.settings import METHODS, PruneSettings
from pydisp.spec import SMALL_MODEL_PARAMETERS, ModelSpec

SMALL = ModelSpec.from_model(tiny_llama())
LARGE = replace(SMALL, parameters_total=SMALL_MODEL_PARAMETERS)  # only this number decides


def resolved(spec=SMALL, positions=None, **changes):
    return PruneSettings(**{"keep_ratio": 0.5, "ratio_of": "block", **changes}).resolved(spec, positions)


def test_defaults_by_the_size_of_the_model():
    small, large = resolved(), resolved(LARGE)
    assert (small.steps, small.batch_size, small.context_tokens, small.round_to) == (600, 4, 256, 8)
    assert (large.steps, large.batch_size, large.context_tokens, large.round_to) == (300, 4, 256, 16)
    assert small.start == large.start == "gradient"
    assert resolved(positions=128).context_tokens == 128


@pytest.mark.parametrize(("steps", "rate"), [(5, 0.05), (50, 0.048), (150, 0.016), (600, 0.004), (10_000, 0.002)])
def test_the_learning_rate_follows_the_steps(steps, rate):
    assert resolved(steps=steps).learning_rate == pytest.approx(rate)
    assert resolved(LARGE, steps=steps).learning_rate == pytest.approx(rate / 10)
    assert resolved(steps=steps, learning_rate=0.3).learning_rate == 0.3


@pytest.mark.parametrize("method", METHODS)
def test_settings_in_use_are_those_of_the_method(method):
    used = resolved(method=method).in_use()
    searches = method in ("disp", "constrained")
    assert ("steps" in used) == ("start" in used) == ("hypernetwork" in used) == searches
    assert ("start_windows" in used) == ("bfloat16" in used) == (searches or method == "gradient")


@pytest.mark.parametrize("given", [None, True, False])
def test_bfloat16_is_the_default_where_it_is_faster(given):
    asked = PruneSettings(keep_ratio=0.5, bfloat16=given)
    found = [asked.resolved(SMALL, 256, has_bfloat16=faster).bfloat16 for faster in (False, True)]
    assert found == ([False, True] if given is None else [given, given])


@pytest.mark.parametrize(
    ("changes", "words"), [({"start": "taylor"}, "start is 'taylor'; it must be one of"), ({"start_windows": 0}, "start_windows is 0")]
)
def test_bad_values_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        resolved(**changes)
