"""Outcome: damage and its error from paired windows, the sections of a report, what stands in the card and in the JSON."""

import json
import math
from dataclasses import replace

import pytest
from browser_page import needs_chromium, require_readable
from pruned_outcome import LOSSES, loss, tiny_outcome

from pydisp.origin import Origin
from pydisp.pruning.model_card import model_card
from pydisp.pruning.outcome import CALIBRATION, HELDOUT, OTHER, Losses, Outcome, Recovered
from pydisp.report import Report

BEFORE = {kind: Losses(f"text {kind}", loss(2.0, 4.0), loss(3.5, 5.7)) for kind in (HELDOUT, OTHER)}


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return tiny_outcome()


def test_damage_is_the_log_of_the_ratio_and_its_error_is_of_paired_windows():
    on = LOSSES[HELDOUT]
    assert on.damage == pytest.approx(math.log(on.times)) == pytest.approx(0.6)
    # differences 0.5 and 0.7: standard deviation sqrt(0.02), over sqrt(2) windows; the losses alone spread by 1.4 and more
    assert on.damage_error == pytest.approx(0.1)
    assert on.as_dict() == {"nats": pytest.approx(0.6), "standard_error": pytest.approx(0.1), "tokens": 62}


@pytest.mark.parametrize(
    "pair", [(loss(2.0), loss(3.0)), (loss(2.0, 3.0, known=False), loss(3.0, 4.0)), (loss(2.0, 3.0), loss(1.0, 2.0, 3.0))]
)
def test_damage_has_no_error_without_two_windows_of_both(pair):
    on = Losses("text", *pair)
    assert on.damage_error is None and on.as_dict()["standard_error"] is None


def test_damage_stands_beside_the_ratio_everywhere(outcome):
    result, report, card = outcome.as_dict(), outcome.report(), model_card(outcome, Origin())
    for key, kind in (("", HELDOUT), ("_other", OTHER), ("_calibration", CALIBRATION)):
        assert result[f"damage{key}"] == LOSSES[kind].as_dict() and set(result[f"perplexity{key}"]) == {"dense", "pruned"}
    json.dumps(result, allow_nan=False)
    metrics = {metric.name: metric for metric in report.metrics}
    assert list(metrics) == ["parameters kept", "weights", "perplexity, pruned ÷ dense"]
    kept = metrics["parameters kept"]
    assert kept.value == 100 * outcome.kept["total"] and f"{outcome.parameters['pruned']:,} of " in kept.note
    damage, *others = [part for part in report.sections[0].parts if type(part).__name__ == "Metric"]
    assert [one.name for one in (damage, *others)] == ["damage, held-out text", "damage, other text", "damage, calibration text"]
    assert (damage.value, damage.standard_error, damage.n) == (LOSSES[HELDOUT].damage, LOSSES[HELDOUT].damage_error, 62)
    assert metrics["weights"].value == 2 * outcome.parameters["pruned"] / 2**20
    table, losses = [part for part in report.sections[0].parts if type(part).__name__ == "Table"]
    assert table.columns[:2] == ("text", "pruned ÷ dense") and table.rows[0][1] == LOSSES[HELDOUT].times and table.rows[0][4] == 62
    assert losses.rows[0] == (HELDOUT, 3.0, 0.25, 3.6, 0.25)
    assert "a damage of 0.600 ± 0.100 nats per token" in report.to_markdown()
    assert f"| {LOSSES[HELDOUT].times:.3f} (damage 0.600 ± 0.100) |" in card and "perplexity of 62 tokens, held-out: text held-out" in card
    assert card.index("| parameters |") < card.index("```python") < card.index("pydisp prune tiny")
    assert Report.from_json(report.to_json()) == report


def test_the_curve_is_of_damage(outcome):
    (section,) = [section for section in outcome.report().sections if section.title == "Search"]
    (picture,) = section.parts
    assert "Damage on calibration text" in picture.svg and "62 tokens of the calibration text" in picture.caption


def test_the_dtype_of_the_weights_may_be_unknown(outcome):
    unknown = replace(outcome, stored=None)
    assert "weights" not in {metric.name for metric in unknown.report().metrics} and "MiB of weights in" not in model_card(
        unknown, Origin()
    )


def test_without_a_recovery_nothing_is_said_of_one(outcome):
    assert "recovery" not in outcome.as_dict()
    assert "ecover" not in outcome.report().to_markdown() + model_card(outcome, Origin())


def test_a_recovery_shows_losses_before_and_after(outcome):
    history = [{"step": step, "loss": 1 / step} for step in range(1, 41)]
    done = replace(outcome, recovered=Recovered(BEFORE, history, {"steps": 40, "learning_rate": 1e-3}, "Distillation loss"))
    assert done.as_dict()["recovery"] == {
        "steps": 40,
        "learning_rate": 1e-3,
        "perplexity_before": BEFORE[HELDOUT].perplexities,
        "perplexity_other_before": BEFORE[OTHER].perplexities,
        "damage_before": BEFORE[HELDOUT].as_dict(),
        "damage_other_before": BEFORE[OTHER].as_dict(),
    }
    report = done.report()
    assert [section.title for section in report.sections][:2] == ["Perplexity", "Recovery"]
    said, table, picture, settings = report.sections[1].parts
    assert table.rows[0][0] == HELDOUT and table.rows[0][4:] == (pytest.approx(1.6), pytest.approx(0.6), pytest.approx(0.375))
    assert "Distillation loss" in picture.svg and settings == "Settings: steps 40, learning_rate 0.001."
    sentence = "Before the kept weights were trained, the perplexity on held-out text was 99.48, a damage of 1.600 ± 0.100 nats per token."
    assert sentence in report.summary and sentence in model_card(done, Origin())
    assert len(replace(done, recovered=Recovered(BEFORE)).report().sections[1].parts) == 2  # neither a curve nor settings


def test_a_recovery_that_had_nothing_to_recover_has_no_share(outcome):
    better = {HELDOUT: Losses("text", loss(2.0, 4.0), loss(1.9, 3.9))}
    _, table = replace(outcome, recovered=Recovered(better)).report().sections[1].parts
    assert table.rows[0][-1] is None


@needs_chromium
def test_its_page_is_readable(outcome):
    history = [{"step": step, "loss": 1 / step} for step in range(1, 41)]
    done = replace(outcome, recovered=Recovered(BEFORE, history, {"steps": 40, "learning_rate": 1e-3}, "Distillation loss"))
    require_readable({"pruned": done.report().to_html()})
