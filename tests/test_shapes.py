"""Random models of named shapes and random plans for them."""

import pytest
import torch

from pydisp import shapes
from pydisp.spec import ModelSpec


def test_a_random_plan_keeps_just_below_its_ratio(tiny_shape):
    dense = shapes.random_model(tiny_shape, torch.float32, torch.device("cpu"))
    spec = ModelSpec.from_model(dense)
    for ratio in (0.3, 0.5, 0.9):
        plan = shapes.random_plan(spec, ratio)
        assert ratio - 0.1 < spec.kept_shares(plan)["block"] <= ratio
        assert all(len(kept) % 16 == 0 for layer in plan.layers for kept in layer.sets().values())
        assert plan.digest() == shapes.random_plan(spec, ratio).digest() != shapes.random_plan(spec, ratio, seed=1).digest()
    first = plan.layers[0]
    assert first.attention.input != first.attention.output != first.mlp.input
    with pytest.raises(ValueError, match="even blocks of width 16 keep more"):
        shapes.random_plan(spec, 0.01)


def test_a_random_model_is_whole(tiny_shape):
    model = shapes.random_model(tiny_shape, torch.bfloat16, torch.device("cpu"))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16} and not any(t.is_meta for t in (*model.parameters(), *model.buffers()))
    assert model.lm_head.weight is model.model.embed_tokens.weight
    stock = type(model)(model.config).model.rotary_emb.inv_freq
    assert torch.equal(model.model.rotary_emb.inv_freq, stock) and model(torch.arange(1, 13)[None]).logits.isfinite().all()


@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_named_shapes_have_the_parameters_of_their_models(shape):
    import transformers

    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(shapes.config_of(shape))
    known = {"llama-3.2-1b": 1_235_814_400, "llama-2-7b": 6_738_415_616, "qwen2.5-0.5b": 494_032_768}
    assert sum(p.numel() for p in model.parameters()) == known[shape]
