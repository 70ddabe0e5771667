"""Fitting: the rows kept are those of the lowest validation loss, by seed, and nonsense is refused."""

import pytest
import torch

from pydisp.toolken.training.fitting import FitSettings, fitted, one_epoch, random_rows

GOAL = torch.tensor([[1.0, -2.0]])
NOISE = torch.randn(40, 1, 2, generator=torch.Generator().manual_seed(0))


def losses(rows, batch):
    return (rows - GOAL - NOISE[batch]).square().sum((1, 2))


def distance(rows) -> float:
    return (rows - GOAL).square().sum().item()


def fit(settings=FitSettings(learning_rate=0.05, weight_decay=0.0, batch_size=8, epochs=60), seed=0, validation=distance, **changes):  # noqa: B008
    return fitted(torch.zeros(1, 2), losses, 40, validation, settings, seed=seed, **changes)


def test_it_comes_near_the_lowest_loss():
    found = fit()
    assert found.first_validation_loss == 5.0
    assert found.validation_loss == pytest.approx(distance(found.rows)) and found.validation_loss < 0.2
    assert found.training_loss == pytest.approx(losses(found.rows, torch.arange(40)).mean().item(), rel=1e-5)


def test_it_stops_when_nothing_gets_better_and_keeps_the_best():
    seen = []

    def validation(rows):
        seen.append(rows.detach().clone())
        return float(abs(len(seen) - 8))  # lowest at the eighth call, after epoch 7

    found = fit(FitSettings(epochs=60, patience=5), validation=validation)
    assert (found.best_epoch, found.epochs, found.validation_loss) == (7, 12, 0.0)
    assert torch.equal(found.rows, seen[7])


def test_the_start_is_kept_if_nothing_is_better():
    found = fit(FitSettings(epochs=9, patience=3), validation=lambda rows: float(rows.abs().sum() > 0))
    assert torch.equal(found.rows, torch.zeros(1, 2)) and found.best_epoch == 0 and found.epochs == 3


def test_the_epochs_are_a_limit():
    assert fit(FitSettings(epochs=4, patience=100)).epochs == 4


def test_the_seed_decides_every_bit():
    assert torch.equal(fit(seed=1).rows, fit(seed=1).rows)
    assert not torch.equal(fit(seed=1).rows, fit(seed=2).rows)


def test_the_start_is_not_changed_and_facts_are_plain():
    start = torch.zeros(1, 2)
    found = fitted(start, losses, 40, distance, FitSettings(epochs=2), seed=0)
    assert torch.equal(start, torch.zeros(1, 2)) and not found.rows.requires_grad
    assert {type(value) for value in found.facts().values()} == {int, float}


def test_every_position_is_used_once_an_epoch():
    seen = []

    def watched(rows, batch):
        seen.extend(batch.tolist())
        return losses(rows, batch)

    rows = torch.zeros(1, 2, requires_grad=True)
    one_epoch(rows, watched, torch.optim.SGD([rows], lr=0.1), torch.arange(40).split(7))
    assert seen == list(range(40))
    fitted(torch.zeros(1, 2), watched, 40, distance, FitSettings(epochs=1, batch_size=16), seed=0)
    assert sorted(seen[40:80]) == list(range(40)) != seen[40:80]


def test_progress_is_said():
    lines = []
    found = fit(FitSettings(epochs=50, patience=50), say=lines.append, title="first rows")
    assert lines[-1].startswith("first rows: epoch 50 of 50, loss ") and f"lowest {found.validation_loss:.3f}" in lines[-1]


def test_a_loss_that_is_not_finite_stops_it():
    with pytest.raises(ValueError, match="validation loss is nan after epoch 1; choose a smaller learning rate"):
        fit(validation=lambda rows: float("nan") if rows.abs().sum() else 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coordinates": "plain"}, "coordinates is 'plain'; it must be one of: scaled, whitened"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"patience": True}, "patience is True"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FitSettings(**changes)


def test_random_rows_are_small_centred_and_the_seeds():
    rows = random_rows(4, 100, seed=3)
    assert torch.equal(rows, random_rows(4, 100, seed=3)) and not torch.equal(rows, random_rows(4, 100, seed=4))
    torch.testing.assert_close(rows.mean(0), torch.zeros(100), rtol=0, atol=1e-7)
    assert 0.01 < rows.std() < 0.03
    assert random_rows(1, 100, seed=3).abs().max() > 0
