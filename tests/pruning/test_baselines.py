"""The baselines, each by hand on a small case, and all at the same budget."""

import pytest
import torch
from families import MODELS, tiny_model
from tiny_text import TEXT, tiny_llama, tiny_tokenizer

from pydisp.pruning.baselines import layerdrop_plan, magnitude_plan, random_plan, record_activations, wanda_plan
from pydisp.pruning.planning import make_plan
from pydisp.pruning.settings import METHODS, PruneSettings
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model
from pydisp.text import Text, tokenize

IDS = torch.randint(3, 97, (3, 11), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", MODELS)
def test_every_family_at_the_budget(name):
    model = tiny_model(name, dtype=torch.float32)
    spec = ModelSpec.from_model(model)
    budget = spec.block_budget(0.5, "block")
    seen = record_activations(model, spec, [IDS])
    plans = [
        random_plan(spec, budget, 1, torch.Generator().manual_seed(0)),
        magnitude_plan(model, spec, budget, 1),
        wanda_plan(model, spec, seen, budget, 1),
        layerdrop_plan(model, spec, seen, budget, 1),
    ]
    for plan in plans:
        assert 0.49 < spec.kept_shares(plan)["block"] <= 0.5
        with torch.no_grad():
            assert torch.isfinite(prune_model(model, plan, spec)(input_ids=IDS).logits).all()


def test_recorded_norms_are_those_of_the_activations():
    model = tiny_llama()
    spec = ModelSpec.from_model(model)
    with torch.no_grad():
        hidden = model(input_ids=IDS, output_hidden_states=True).hidden_states
        normed = model.model.layers[1].input_layernorm(hidden[1])
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    seen = record_activations(model, spec, [IDS[:1], IDS[1:]])
    assert torch.allclose(seen.norms[1].attention_input.float(), normed.flatten(0, 1).norm(dim=0), rtol=1e-4)
    change = 1 - torch.nn.functional.cosine_similarity(hidden[1], hidden[2], dim=-1)
    assert abs(seen.influence[1] - change.mean().item()) < 1e-5
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


def test_magnitude_keeps_the_large_weights():
    model = tiny_llama()
    spec = ModelSpec.from_model(model)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[:16] *= 50
            layer.mlp.gate_proj.weight[::2] *= 50
    plan = magnitude_plan(model, spec, spec.block_budget(0.4, "block"), 1)
    for layer in plan.layers:
        kept = len(layer.attention.output)
        assert layer.attention.output.mask()[:16].sum() == min(16, kept)
        assert layer.mlp.middle.mask()[::2].sum() == min(24, len(layer.mlp.middle))


def test_wanda_drops_what_is_never_active():
    model = tiny_llama()
    spec = ModelSpec.from_model(model)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.input_layernorm.weight[:10] = 0  # those inputs are always 0
    plan = wanda_plan(model, spec, record_activations(model, spec, [IDS]), spec.block_budget(0.4, "block"), 1)
    assert not any(layer.attention.input.mask()[:10].any() for layer in plan.layers)


def test_layerdrop_drops_the_least_influential_layers_first():
    model = tiny_llama()
    spec = ModelSpec.from_model(model)
    with torch.no_grad():
        model.model.layers[1].self_attn.o_proj.weight *= 1e-3
        model.model.layers[1].mlp.down_proj.weight *= 1e-3
    seen = record_activations(model, spec, [IDS])
    plan = layerdrop_plan(model, spec, seen, spec.block_budget(0.6, "block"), 1)
    assert plan.layers[1].attention is None and plan.layers[1].mlp is None
    assert 0.59 < spec.kept_shares(plan)["block"] <= 0.6
    cut = [n for n, layer in enumerate(plan.layers) if layer.mlp and not layer.mlp.middle.is_full]
    assert len(cut) == 1 and seen.influence[cut[0]] == min(seen.influence[0], seen.influence[2])
    assert layerdrop_plan(model, spec, seen, spec.block_budget(0.99, "block"), 1).layers[0].attention is not None


@pytest.mark.parametrize("method", METHODS)
def test_every_method_by_name(method):
    model = tiny_llama()
    spec = ModelSpec.from_model(model)
    windows = tokenize(Text("text", (TEXT,)), tiny_tokenizer()).windows(32)
    wanted = PruneSettings(keep_ratio=0.6, method=method, steps=3, context_tokens=32, round_to=4, ratio_of="block")
    planned = make_plan(model, spec, windows, wanted.resolved(spec, 128))
    assert 0.55 < spec.kept_shares(planned.plan)["block"] <= 0.6
    assert make_plan(model, spec, windows, wanted.resolved(spec, 128)).plan == planned.plan
