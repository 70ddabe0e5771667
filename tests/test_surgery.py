"""Surgery equals the masked dense model, per family, in float64; gates equal masks; the dense export is the same function."""

import copy
import functools

import pytest
import torch
from families import MODELS, random_plan, tiny_model

from pydisp.gates import Gates, LayerGates
from pydisp.modeling.config import stock_config
from pydisp.spec import ModelSpec
from pydisp.surgery import gated, mask_dense_, prune_model, to_dense
from pydisp.token_nll import token_nll

# Measured: 1e-14 and below. gemma2's softcapped attention takes its softmax in float32 on both sides; the two inputs differ by
# 1e-16, so a few probabilities round the other way.
TOLERANCE = {"gemma2": 1e-5}
IDS = torch.randint(3, 97, (2, 17), generator=torch.Generator().manual_seed(0))


def _float64_norm(module, offset, x):
    normed = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + getattr(module, "eps", getattr(module, "variance_epsilon", None)))
    return normed * (module.weight + offset)


def in_float64(model, spec):
    """transformers computes RMSNorm in float32 whatever the dtype; here in float64, so that only surgery can differ."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = functools.partial(_float64_norm, module, spec.family.norm_offset)
    return model


@torch.no_grad()
def logits(model, ids=IDS):
    return model(input_ids=ids).logits


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


@pytest.fixture
def dense(name):
    return tiny_model(name)


REMOVALS = {"none": ((), ()), "first": ((0,), (2,)), "whole-layer": ((1,), (1,)), "last": ((3, 0), (3,))}


@pytest.mark.parametrize("removal", REMOVALS)
def test_pruned_equals_masked_dense(name, dense, removal):
    spec = ModelSpec.from_model(dense)
    plan = random_plan(spec, 1, *REMOVALS[removal])
    pruned = prune_model(dense, plan, spec)
    masked = mask_dense_(copy.deepcopy(dense), plan)
    want, got = logits(in_float64(masked, spec)), logits(in_float64(pruned, spec))
    assert (want - got).abs().max() < TOLERANCE.get(name, 1e-11)
    assert (logits(dense) - got).abs().max() > 0.1
    assert sum(p.numel() for p in pruned.parameters()) == spec.kept_total(plan)


def test_pruned_equals_untouched_stock_in_float32(dense):
    dense = dense.float()
    plan = random_plan(ModelSpec.from_model(dense), 2, (0,), (1,))
    want, got = logits(mask_dense_(copy.deepcopy(dense), plan)), logits(prune_model(dense, plan))
    assert (want - got).abs().max() < 2e-4 * want.abs().max()


def test_gates_equal_masks_and_are_undone(name, dense):
    spec = ModelSpec.from_model(dense)
    plan = random_plan(spec, 3)
    before = logits(dense)
    dense.train()
    with gated(dense, spec) as use:
        assert not dense.training and not any(p.requires_grad for p in dense.parameters())
        assert torch.equal(logits(dense), before)
        use(Gates.from_plan(plan, spec, torch.float64))
        got = logits(dense)
    assert dense.training and all(p.requires_grad for p in dense.parameters())
    assert torch.equal(logits(dense.eval()), before)
    want = logits(mask_dense_(copy.deepcopy(dense), plan))
    assert (want - got).abs().max() < 1e-5


def test_gates_are_undone_after_an_error(dense):
    before = logits(dense)
    with pytest.raises(RuntimeError, match="stop"), gated(dense, ModelSpec.from_model(dense)):
        raise RuntimeError("stop")
    assert torch.equal(logits(dense), before) and all(p.requires_grad for p in dense.parameters())


def test_kept_parameters_of_gates_equal_those_of_the_plan(dense):
    spec = ModelSpec.from_model(dense)
    plan = random_plan(spec, 4)
    assert Gates.from_plan(plan, spec).kept_block().item() == spec.kept_block(plan)


def test_dense_export_is_the_same_function(name, dense):
    spec = ModelSpec.from_model(dense)
    pruned = prune_model(dense, random_plan(spec, 5, (0,), (2,)), spec)
    exported = to_dense(pruned)
    assert type(exported) is type(dense)
    assert {n: p.shape for n, p in exported.named_parameters()} == {n: p.shape for n, p in dense.named_parameters()}
    assert (logits(pruned) - logits(exported)).abs().max() < 1e-5
    again = exported.config.to_dict()
    changed = {k for k, v in dense.config.to_dict().items() if again.get(k) != v} - {"architectures", "dtype"}
    assert not changed


def test_pruning_leaves_the_model_as_it_was(dense):
    before = {n: t.clone() for n, t in dense.state_dict().items()}
    config = copy.deepcopy(dense.config.to_dict())
    prune_model(dense, random_plan(ModelSpec.from_model(dense), 6, (1,)))
    assert dense.config.to_dict() == config
    assert all(torch.equal(before[n], t) for n, t in dense.state_dict().items())


def test_training_the_pruned_model_leaves_the_dense_one_alone(dense):
    before = {n: t.clone() for n, t in dense.state_dict().items()}
    pruned = prune_model(dense, random_plan(ModelSpec.from_model(dense), 7))
    pruned(input_ids=IDS, labels=IDS).loss.backward()
    torch.optim.SGD(pruned.parameters(), lr=1.0).step()
    assert all(torch.equal(before[n], t) for n, t in dense.state_dict().items())
    assert all(p.grad is None for p in dense.parameters())


def test_plan_of_another_model_is_refused():
    spec = ModelSpec.from_model(tiny_model("llama"))
    plan = random_plan(spec)
    with pytest.raises(ValueError, match="other weights"):
        prune_model(tiny_model("llama", seed=9), plan)
    with pytest.raises(ValueError, match="made for llama .*this model is qwen2"):
        prune_model(tiny_model("qwen2"), plan)


def test_a_stock_model_has_no_dense_export():
    with pytest.raises(ValueError, match="not a pruned model"):
        to_dense(tiny_model("llama"))


def test_the_stock_config_is_the_dense_one():
    dense = tiny_model("gemma2")
    pruned = prune_model(dense, random_plan(ModelSpec.from_model(dense), no_attention=(0,)))
    assert stock_config(pruned.config).layer_types == dense.config.layer_types != pruned.config.layer_types


class Kept:
    """Counts the values that autograd keeps for the backward."""

    values = 0

    def add(self, tensor):
        self.values += tensor.numel()
        return tensor


def test_checkpointing_changes_no_loss_and_no_gradient_of_a_gate(dense):
    spec, generator, seen = ModelSpec.from_model(dense), torch.Generator().manual_seed(1), []
    sizes = [spec.middle_size if name == "mlp_middle" else spec.hidden_size for name in LayerGates._fields]
    values = [[torch.rand(size, generator=generator).round() for size in sizes] for _ in spec.costs]
    forwards = [vars(module).get("forward") for module in dense.modules()]
    for checkpointing in (False, True):
        gates = tuple(LayerGates(*(v.clone().requires_grad_() for v in layer)) for layer in values)
        kept = Kept()
        with gated(dense, spec, gradient_checkpointing=checkpointing) as use:
            use(Gates(gates, spec))
            with torch.autograd.graph.saved_tensors_hooks(kept.add, lambda tensor: tensor):
                loss = token_nll(dense, IDS).mean()
            loss.backward()
        seen.append((loss, [g.grad for layer in gates for g in layer], kept.values))
        assert [vars(module).get("forward") for module in dense.modules()] == forwards
    (loss, gradients, kept), (again, others, fewer) = seen
    assert torch.equal(loss, again) and fewer < kept
    assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True))
