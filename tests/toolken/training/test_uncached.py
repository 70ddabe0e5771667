"""Uncached: the plain definition, and an epoch that steps as one over cached features does."""

import pytest
import torch
from toolken_training import labelled, tiny

from pydisp.toolken.training.features import cached_features
from pydisp.toolken.training.fitting import one_epoch
from pydisp.toolken.training.logit_form import LogitForm
from pydisp.toolken.training.positions import choose_positions
from pydisp.toolken.training.rows import choice_losses
from pydisp.toolken.training.uncached import uncached_epoch, uncached_losses

TEXTS = labelled(8)
POSITIONS = choose_positions(TEXTS, most_words=None, seed=0)


def start() -> torch.Tensor:
    return torch.randn(3, 32, generator=torch.Generator().manual_seed(2)) * 0.1


@pytest.mark.parametrize("batch_tokens", [1, 100, 2048])
def test_losses_do_not_depend_on_the_batches(batch_tokens):
    found = uncached_losses(tiny(), TEXTS, POSITIONS, start(), 257, batch_tokens)
    torch.testing.assert_close(found, uncached_losses(tiny(), TEXTS, POSITIONS, start(), 257), rtol=1e-4, atol=1e-4)


def test_an_epoch_of_one_batch_is_one_step_of_the_cached_one(tmp_path):
    model = tiny()
    features = cached_features(model, TEXTS, POSITIONS, tmp_path, vocabulary=257)
    rows, cached = start().requires_grad_(), start().requires_grad_()
    loss = uncached_epoch(model, TEXTS, POSITIONS, rows, 257, torch.optim.SGD([rows], lr=0.1))
    assert loss == pytest.approx(uncached_losses(model, TEXTS, POSITIONS, start(), 257).mean().item(), rel=1e-5)

    def losses(values, batch):
        return choice_losses(values, features.hidden[batch], features.lse[batch], POSITIONS.target[batch], LogitForm())

    one_epoch(cached, losses, torch.optim.SGD([cached], lr=0.1), [torch.arange(len(POSITIONS))])
    torch.testing.assert_close(rows, cached, rtol=1e-4, atol=1e-5)
    assert not torch.equal(rows, start())


def test_the_model_learns_nothing_and_is_as_before():
    model = tiny()
    model.lm_head.weight.requires_grad_(True)
    model.model.norm.weight.requires_grad_(False)
    before = {name: (value.clone(), value.requires_grad) for name, value in model.named_parameters()}
    rows = start().requires_grad_()
    uncached_epoch(model, TEXTS, POSITIONS, rows, 257, torch.optim.SGD([rows], lr=0.1), batch_tokens=100)
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name][0]) and value.requires_grad == before[name][1] and value.grad is None


def test_a_model_that_takes_no_logits_to_keep_gives_the_same(monkeypatch):
    model = tiny()
    expected = uncached_losses(model, TEXTS, POSITIONS, start(), 257)
    plain = model.forward
    monkeypatch.setattr(model, "forward", lambda input_ids, use_cache: plain(input_ids=input_ids, use_cache=use_cache))
    torch.testing.assert_close(uncached_losses(model, TEXTS, POSITIONS, start(), 257), expected, rtol=1e-5, atol=1e-5)
