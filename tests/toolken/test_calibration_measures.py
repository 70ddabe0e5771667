"""AUROC, ECE and risk over coverage, against cases counted by hand and plain definitions."""

import numpy as np
import pytest

from pydisp.toolken.calibration_measures import auroc, ece, reliability, risk_coverage


def test_auroc_of_separated_scores_is_one_and_of_swapped_ones_zero():
    assert auroc([0.9, 0.2, 0.7], [True, False, True]) == 1.0
    assert auroc([0.1, 0.2, 0.0], [True, False, True]) == 0.0


def test_auroc_counts_equal_scores_as_one_half():
    assert auroc([0.5, 0.5, 0.5, 0.5], [True, False, True, False]) == 0.5
    # pairs of positives (3, 2) with negatives (2, 1): 3 > 2, 3 > 1, 2 = 2, 2 > 1
    assert auroc([3, 2, 2, 1], [True, True, False, False]) == 3.5 / 4


def test_auroc_equals_the_share_of_pairs():
    generator = np.random.default_rng(0)
    scores, positive = generator.integers(0, 7, 60).astype(float), generator.random(60) < 0.3
    above = scores[positive][:, None] - scores[~positive][None]
    assert auroc(scores, positive) == pytest.approx(np.mean((above > 0) + 0.5 * (above == 0)), abs=1e-12)


def test_auroc_orders_infinite_scores():
    assert auroc([-np.inf, np.inf, 0.0], [False, True, False]) == 1.0


def test_auroc_of_one_class_is_undefined():
    assert auroc([0.3, 0.4], [True, True]) is None
    assert auroc([0.3, 0.4], [False, False]) is None
    assert auroc([], []) is None


def test_reliability_bins_hold_their_lower_edge_and_the_last_one_both():
    found = reliability([0.0, 0.09, 0.1, 0.95, 1.0], [False, True, True, True, False])
    assert [one.count for one in found] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found[0].accuracy == 0.5 and found[0].confidence == pytest.approx(0.045)
    assert found[9].accuracy == 0.5 and found[9].confidence == pytest.approx(0.975)
    assert found[2].accuracy is None and found[2].confidence is None
    assert (found[0].low, found[-1].high) == (0.0, 1.0)


def test_ece_by_hand():
    # bin 0.9 .. 1: confidence 0.95, accuracy 0.5, half of all; bin 0.2 .. 0.3: confidence 0.25, accuracy 0; the other half
    assert ece([0.95, 0.95, 0.25, 0.25], [True, False, False, False]) == pytest.approx(0.5 * 0.45 + 0.5 * 0.25)
    assert ece([0.9, 0.6], [True, False]) == pytest.approx(0.35)


def test_ece_is_weighted_by_how_many_a_bin_holds():
    assert ece([1.0, 1.0, 1.0, 0.5], [True, True, True, False]) == pytest.approx(0.125)


def test_ece_of_true_confidences_is_near_zero():
    generator = np.random.default_rng(1)
    confidences = generator.random(20_000)
    assert ece(confidences, generator.random(20_000) < confidences) < 0.02


def test_ece_of_nothing_is_undefined():
    assert ece([], []) is None


def test_risk_over_coverage_by_hand():
    found = risk_coverage([0.9, 0.8, 0.8, 0.1], [True, True, False, False])
    assert found.thresholds.tolist() == [0.9, 0.8, 0.1]
    assert found.coverage.tolist() == [0.25, 0.75, 1.0]
    assert found.risk.tolist() == pytest.approx([0, 1 / 3, 0.5])
    assert found.area == pytest.approx((0 + 1 / 3 + 1 / 3 + 1 / 2) / 4)


def test_risk_over_coverage_does_not_depend_on_the_order_of_equal_confidences():
    first = risk_coverage([0.5, 0.5, 0.5, 0.2], [True, False, False, True])
    second = risk_coverage([0.5, 0.5, 0.2, 0.5], [False, False, True, True])
    assert first.area == second.area and first.risk.tolist() == second.risk.tolist()


def test_risk_at_full_coverage_is_the_share_that_is_wrong():
    generator = np.random.default_rng(2)
    right = generator.random(50) < 0.7
    found = risk_coverage(generator.random(50), right)
    assert found.coverage[-1] == 1 and found.risk[-1] == pytest.approx(1 - right.mean())
    assert risk_coverage([], []) is None


def test_what_is_no_confidence_is_refused():
    with pytest.raises(ValueError, match="2 scores and 1 outcomes"):
        auroc([0.1, 0.2], [True])
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        risk_coverage([0.1, np.nan], [True, False])
    with pytest.raises(ValueError, match="from 0.5 to 1.5"):
        ece([0.5, 1.5], [True, False])
