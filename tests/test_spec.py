import pytest
import torch
from families import MODELS, random_plan, tiny_model
from transformers import LlamaConfig, MambaConfig

from pydisp.registration import FAMILY_NAMES
from pydisp.spec import FAMILIES, ModelSpec, family_of


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_of_the_model(name):
    model = tiny_model(name)
    spec = ModelSpec.from_model(model)
    assert spec.parameters_total == sum(p.numel() for p in model.parameters())
    assert 0 < spec.parameters_block < spec.parameters_total
    full = {"attention": (spec.hidden_size,) * 2, "mlp": (spec.hidden_size, spec.middle_size, spec.hidden_size)}
    cost = [c.attention(*full["attention"]) + c.mlp(*full["mlp"]) + c.either_fixed + c.always_fixed for c in spec.costs]
    assert sum(cost) == spec.parameters_block


def test_tied_weights_count_once():
    tied, untied = (ModelSpec.from_model(tiny_model(n)) for n in ("llama-tied", "llama"))
    assert tied.parameters_outside == 97 * 48 + 48
    assert untied.parameters_outside == 2 * 97 * 48 + 48


def test_budgets():
    spec = ModelSpec.from_model(tiny_model("llama"))
    assert spec.block_budget(0.5, "block") == spec.parameters_block // 2
    assert spec.block_budget(0.75, "total") == int(0.75 * spec.parameters_total) - spec.parameters_outside


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5, 1.5, float("nan")])
def test_a_ratio_outside_0_and_1_is_refused(ratio):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        ModelSpec.from_model(tiny_model("llama")).block_budget(ratio, "total")


def test_a_ratio_that_the_embeddings_exceed_is_refused():
    with pytest.raises(ValueError, match="embeddings and head alone are 0.1"):
        ModelSpec.from_model(tiny_model("llama")).block_budget(0.05, "total")


def test_an_unknown_base_of_the_ratio_is_refused():
    with pytest.raises(ValueError, match="choose 'total'"):
        ModelSpec.from_model(tiny_model("llama")).block_budget(0.5, "layers")


def test_unknown_families_are_refused():
    with pytest.raises(ValueError, match="unknown model family 'mamba'; known: gemma, .*Add a row"):
        family_of(MambaConfig())
    with pytest.raises(ValueError, match="OpenELM is not part of transformers"):
        family_of(LlamaConfig(), "openelm")
    with pytest.raises(ValueError, match="already pruned"):
        family_of(LlamaConfig(), "pydisp_llama")


def test_the_light_list_of_families_is_the_table():
    assert set(FAMILY_NAMES) == set(FAMILIES)


@pytest.mark.parametrize("number", [0, 3])
def test_wrapped_projections_are_refused(number):
    model = tiny_model("llama")
    model.model.layers[number].self_attn.q_proj = torch.nn.Sequential(torch.nn.Linear(48, 48))
    with pytest.raises(ValueError, match=f"self_attn.q_proj of layer {number} is a torch.nn.modules.container.Sequential"):
        ModelSpec.from_model(model)


def test_the_digest_is_of_the_weights_and_not_of_the_dtype():
    spec = ModelSpec.from_model(tiny_model("llama", dtype=torch.bfloat16))
    assert ModelSpec.from_model(tiny_model("llama", dtype=torch.bfloat16).float()).digest == spec.digest
    assert ModelSpec.from_model(tiny_model("llama", seed=5, dtype=torch.bfloat16)).digest != spec.digest


def test_kept_shares():
    spec = ModelSpec.from_model(tiny_model("qwen3"))
    plan = random_plan(spec)
    shares = spec.kept_shares(plan)
    assert shares["block"] == spec.kept_block(plan) / spec.parameters_block < shares["total"] < 1
