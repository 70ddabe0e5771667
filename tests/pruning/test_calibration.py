"""The offset of the budget: exact on average, and its gradient is that of the constraint."""

import pytest
import torch
from tiny_text import tiny_llama

from pydisp.gates import LayerGates
from pydisp.pruning.calibration import at_budget, expected_kept
from pydisp.pruning.hypernetwork import HyperNetwork, draw_gates
from pydisp.spec import ModelSpec

SPEC = ModelSpec.from_model(tiny_llama())


def random_logits(spread, is_tied=False, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def logits(size):
        return (torch.randn(size, generator=generator) * spread).requires_grad_()

    if is_tied:
        residual = logits(32)
        return [LayerGates(residual, residual, residual, logits(48), residual) for _ in SPEC.costs]
    return [LayerGates(logits(32), logits(32), logits(32), logits(48), logits(32)) for _ in SPEC.costs]


@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("spread", [0.0, 0.1, 3.0, 30.0])
@pytest.mark.parametrize("share", [0.999, 0.8, 0.5, 0.1])
def test_the_expected_share_is_the_wanted_one(is_tied, spread, share):
    wanted = share * SPEC.parameters_block
    logits = at_budget(random_logits(spread, is_tied), SPEC, wanted)
    assert abs(expected_kept(logits, SPEC).item() - wanted) < 1e-3 * SPEC.parameters_block
    if is_tied:
        assert len({id(x) for layer in logits for x in layer}) == 1 + len(SPEC.costs)


def test_the_expected_share_is_the_mean_of_draws():
    logits = at_budget(random_logits(3.0), SPEC, 0.6 * SPEC.parameters_block)
    generator = torch.Generator().manual_seed(0)
    mean = sum(draw_gates(list(logits), SPEC, generator).kept_block().item() for _ in range(2000)) / 2000
    assert abs(mean / SPEC.parameters_block - 0.6) < 5e-3


@pytest.mark.parametrize("wanted", [0, 10 * SPEC.parameters_block])
def test_more_or_less_than_is_possible_gives_finite_logits(wanted):
    logits = at_budget(random_logits(1.0), SPEC, wanted)
    assert all(bool(x.isfinite().all()) for layer in logits for x in layer)


def test_the_gradient_is_that_of_moving_along_the_budget():
    """No change of one logit changes what is kept; a function of the logits changes as finite differences with a new offset say."""
    weights = random_logits(1.0, seed=1)

    def value(layers):
        moved = at_budget(layers, SPEC, 0.5 * SPEC.parameters_block)
        return sum(
            (torch.sigmoid(x) * w.detach()).sum()
            for layer, other in zip(moved, weights, strict=True)
            for x, w in zip(layer, other, strict=True)
        ), moved

    layers = random_logits(2.0)
    total, moved = value(layers)
    leaf = layers[1].mlp_middle
    (kept_slope,) = torch.autograd.grad(expected_kept(moved, SPEC), leaf, retain_graph=True)
    (unmoved_slope,) = torch.autograd.grad(expected_kept(layers, SPEC), leaf)
    assert kept_slope.abs().max() < 1e-4 * unmoved_slope.abs().max()
    (slope,) = torch.autograd.grad(total, leaf)
    largest = int(slope.abs().argmax())
    step = 0.05
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            leaf[largest] += sign * step
        values.append(value(layers)[0].item())
        with torch.no_grad():
            leaf[largest] -= sign * step
    assert abs((values[0] - values[1]) / (2 * step) - slope[largest].item()) < 0.02 * slope[largest].abs().item()


def test_the_network_starts_at_zero():
    network = HyperNetwork(SPEC, torch.Generator().manual_seed(0))
    assert all(not x.any() for layer in network() for x in layer)
