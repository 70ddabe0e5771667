"""A recovery learns, keeps the plan, draws nothing, and goes on after any step as if it had not been stopped."""

import copy

import pytest
import torch
from families import random_plan, tiny_model

from pydisp.pruning import recovery
from pydisp.pruning.recovery import Recovery, RecoveryDiverged
from pydisp.pruning.recovery_settings import RecoverySettings
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

SETTINGS = RecoverySettings(steps=6, batch_size=2, context_tokens=16, learning_rate=1e-2, bfloat16=False, trains_head=False)


@pytest.fixture
def windows(generator):
    return torch.randint(1, 90, (7, 16), generator=generator)


def models(name="llama", dtype=torch.float32):
    dense = tiny_model(name, dtype=dtype)
    spec = ModelSpec.from_model(dense)
    return dense, prune_model(dense, random_plan(spec), spec)


def settings(**changes):
    from dataclasses import replace

    return replace(SETTINGS, **changes)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", ["llama-tied", "gemma2", "phi"])
@pytest.mark.parametrize("changes", [{}, {"cross_entropy": 0.5}, {"bfloat16": True}, {"lora_rank": 4}, {"trains_head": True}])
def test_the_loss_falls_and_the_dense_model_stays(windows, name, changes):
    if changes.get("lora_rank"):
        pytest.importorskip("peft")
    dense, pruned = models(name)
    before, names, kind = weights(dense), list(pruned.state_dict()), type(pruned)
    outside = pruned.get_input_embeddings().weight.clone()
    recovery = Recovery(pruned, dense, windows[:2], settings(steps=40, **changes))
    recovered = recovery.run()
    losses = [step["loss"] for step in recovery.progress.history]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3]) and recovery.progress.tokens == 40 * 2 * 16
    assert all(torch.equal(before[key], tensor) for key, tensor in dense.state_dict().items())
    assert recovered is pruned and type(pruned) is kind and list(pruned.state_dict()) == names and not pruned.training
    assert torch.equal(outside, pruned.get_input_embeddings().weight) != changes.get("trains_head", False)
    assert all(p.requires_grad and p.grad is None for p in pruned.parameters())


@pytest.mark.parametrize("changes", [{}, {"lora_rank": 2}, {"trains_head": True, "bfloat16": True}])
def test_resumed_after_each_step_it_is_the_same(windows, changes):
    if changes.get("lora_rank"):
        pytest.importorskip("peft")
    dense, pruned = models()
    whole = copy.deepcopy(pruned)
    states = []
    Recovery(whole, dense, windows, settings(**changes)).run(lambda recovery: states.append(copy.deepcopy(recovery.state_dict())))
    assert len(states) == 6
    for state in states:
        again = copy.deepcopy(pruned)
        recovery = Recovery(again, dense, windows, settings(**changes))
        recovery.load_state_dict(state)
        recovery.run()
        assert all(torch.equal(whole.state_dict()[name], tensor) for name, tensor in again.state_dict().items())
        assert len(recovery.progress.history) == 6


@pytest.mark.parametrize("bfloat16", [True, False])
def test_the_loss_is_taken_in_the_region_of_the_products(windows, monkeypatch, bfloat16):
    seen, loss = [], recovery.distillation_loss
    monkeypatch.setattr(recovery, "distillation_loss", lambda *a, **k: (seen.append(torch.is_autocast_enabled("cpu")), loss(*a, **k))[1])
    dense, pruned = models()
    Recovery(pruned, dense, windows, settings(bfloat16=bfloat16, steps=2)).run()
    assert seen == [bfloat16] * 2


def test_merged_adapters_equal_the_adapters_beside_the_weights(windows):
    pytest.importorskip("peft")
    dense, pruned = models(dtype=torch.float64)
    seen = {}

    def score(recovery):
        if recovery.progress.step == 6:
            with torch.no_grad():
                seen["beside"] = recovery.model(input_ids=windows).logits

    before = weights(pruned)
    Recovery(pruned, dense, windows, settings(lora_rank=3)).run(score)
    assert not any("lora" in name for name, _ in pruned.named_modules()) and not hasattr(pruned, "peft_config")
    assert any(not torch.equal(before[name], tensor) for name, tensor in pruned.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(pruned(input_ids=windows).logits, seen["beside"], rtol=1e-10, atol=1e-10)


def test_the_order_of_the_windows_and_no_draw_but_the_seed_s(windows):
    dense, pruned = models()
    results = []
    for seed, other in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(other)
        model = copy.deepcopy(pruned)
        Recovery(model, dense, windows, settings(seed=seed)).run()
        results.append(model.state_dict())
    name = next(name for name in results[0] if name.endswith("q_proj.weight"))
    assert torch.equal(results[0][name], results[1][name]) and not torch.equal(results[0][name], results[2][name])


def test_a_half_precision_model_trains_in_float32(windows):
    dense, pruned = models(dtype=torch.bfloat16)
    recovered = Recovery(pruned, dense, windows, settings()).run()
    assert recovered.dtype == torch.float32 and dense.dtype == torch.bfloat16


def test_a_loss_that_is_no_number_names_the_step(windows):
    dense, pruned = models()
    recovery = Recovery(pruned, dense, windows, settings())

    def spoil(recovery):
        if recovery.progress.step == 2:
            with torch.no_grad():
                next(iter(recovery.trained.values())).fill_(torch.nan)

    with pytest.raises(RecoveryDiverged, match="the loss is nan at step 3 of the recovery; lower the learning rate"):
        recovery.run(spoil)


def test_what_cannot_be_used_is_refused(windows):
    dense, pruned = models()
    with pytest.raises(ValueError, match="has 7 windows of 16 tokens, a step of the recovery needs 8"):
        Recovery(pruned, dense, windows, settings(batch_size=8))
    recovery = Recovery(pruned, dense, windows, settings())
    with pytest.raises(ValueError, match="not of this version or model"):
        recovery.load_state_dict({"weights": {}})
    for changes, words in (
        ({"steps": 0}, "steps is 0"), ({"learning_rate": 0.0}, "above 0"), ({"cross_entropy": 1.5}, "between 0 and 1"),
        ({"seed": 2**63}, r"from 0 to 9223372036854775807"), ({"lora_rank": 2, "trains_head": True}, "leave out lora_rank or trains_head"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            settings(**changes)


def test_defaults_follow_the_model_and_the_machine():
    small = RecoverySettings().resolved(3_000_000, 4, 256, torch.device("cpu"))
    large = RecoverySettings(lora_rank=8, bfloat16=False).resolved(135_000_000, 1, 2048, torch.device("cpu"))
    assert (small.steps, small.batch_size, small.context_tokens, small.trains_head) == (300, 4, 256, True)
    assert small.bfloat16 in (True, False) and not large.trains_head
    assert (large.steps, large.batch_size, large.context_tokens, large.bfloat16) == (1000, 1, 2048, False)
    assert RecoverySettings(steps=5).resolved(1, 1, 8, torch.device("cpu")).steps == 5
