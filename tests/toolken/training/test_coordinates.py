"""Coordinates: rows in them give the logits of rows outside them, and states in them have one size."""

import pytest
import torch

from pydisp.toolken.training.coordinates import KINDS, Coordinates

GENERATOR = torch.Generator().manual_seed(0)
STATES = torch.randn(200, 6, generator=GENERATOR) * torch.tensor([100.0, 1, 1, 0.1, 1, 5]) + torch.tensor([300.0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_mean_the_same_in_the_models_own_form(kind):
    space = Coordinates.of(STATES, kind)
    rows = torch.randn(3, 6, generator=GENERATOR)
    torch.testing.assert_close(space.hidden(STATES) @ rows.T, STATES @ space.rows(rows).T, rtol=1e-4, atol=1e-4)


def test_scaled_states_have_a_root_mean_square_near_1_in_large_dimensions():
    states = Coordinates.of(STATES, "scaled").hidden(STATES)
    assert states[:, 0].square().mean().sqrt().item() == pytest.approx(1, abs=0.1)
    assert torch.equal(states.sign(), STATES.sign())


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="coordinates are 'plain'; known: scaled, whitened"):
        Coordinates.of(STATES, "plain")


def test_whitened_states_are_nearly_as_large_in_every_direction():
    moments = {kind: _spread(Coordinates.of(STATES, kind).hidden(STATES)) for kind in KINDS}
    assert moments["whitened"] < moments["scaled"] < _spread(STATES)


def _spread(states: torch.Tensor) -> float:
    values = torch.linalg.eigvalsh(states.double().T @ states.double() / len(states))
    return (values[-1] / values[0]).item()


def test_fewer_states_than_dimensions_are_no_obstacle():
    few = STATES[:2]
    for kind in KINDS:
        assert torch.isfinite(Coordinates.of(few, kind).hidden(few)).all()
    assert torch.isfinite(Coordinates.of(torch.zeros(3, 4), "whitened").matrix).all()
