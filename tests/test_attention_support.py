"""support: whether a model can be recorded, told before it runs; what it says yes to is recorded in test_attention_recording.py."""

import pytest
import torch
import transformers
from families import MODELS, random_plan, tiny_model
from transformers import AttentionInterface, AttentionMaskInterface

from pydisp.attention_recording import record_attention
from pydisp.attention_support import support, support_of_config
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

TINY = dict(vocab_size=97, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)


@pytest.mark.parametrize("name", MODELS)
def test_every_family_that_pydisp_prunes_can_be_recorded_stock_and_pruned(name):
    model = tiny_model(name, dtype=torch.float32)
    assert support(model) and support(model).reason == ""
    assert support(prune_model(model, random_plan(ModelSpec.from_model(model), 1, (0,), (2,))))


@pytest.mark.parametrize("prefix", ["GPTNeoX", "Granite", "Phi3"])
def test_other_models_of_the_attention_interface_can_be_recorded(prefix):
    config = getattr(transformers, f"{prefix}Config")(**TINY, pad_token_id=0)
    assert support(getattr(transformers, f"{prefix}ForCausalLM")(config))


def test_a_vision_tower_that_sees_both_ways_does_not_count():
    text = dict(TINY, head_dim=16, sliding_window=6, layer_types=["sliding_attention"], num_key_value_heads=1)
    vision = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=96, boi_token_index=95, eoi_token_index=94)  # fmt: skip
    model = transformers.Gemma3ForConditionalGeneration(config).eval()
    assert support(model), support(model).reason
    ids = torch.randint(3, 90, (1, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), record_attention(model, torch.ones(1, 9, dtype=torch.int64), 1) as recording:
        model(input_ids=ids, use_cache=False)
    torch.testing.assert_close(recording.layers[0].mass_sum.flatten(), torch.full((2,), 9.0))


def test_a_layer_that_attends_twice_is_refused_in_its_forward():
    config = transformers.DiffLlamaConfig(**TINY, num_key_value_heads=2)
    model = transformers.DiffLlamaForCausalLM(config).eval()
    with torch.no_grad(), record_attention(model, torch.ones(1, 9, dtype=torch.int64), 1), pytest.raises(ValueError, match="DiffLlamaAttention attends twice"):  # fmt: skip
        model(input_ids=torch.arange(3, 12)[None], use_cache=False)


@pytest.mark.parametrize(("kind", "is_supported"), [("Llama", True), ("Bloom", False)])
def test_a_config_is_enough(kind, is_supported):
    sizes = TINY if kind == "Llama" else dict(vocab_size=97, hidden_size=16, n_layer=1, n_head=2)
    assert bool(support_of_config(getattr(transformers, f"{kind}Config")(**sizes))) == is_supported


def a_llama(**options):
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**TINY, **options)).eval()


def flash():
    model = a_llama()
    model.config._attn_implementation = "flash_attention_2"  # set_attn_implementation asks for its package
    return model


def chunked():
    model = a_llama()
    model.config.layer_types = ["chunked_attention"]
    return model


def bidirectional():
    model = a_llama()
    model.model.layers[0].self_attn.is_causal = False
    return model


def checkpointed():
    model = a_llama().train()
    model.model.gradient_checkpointing = True
    return model


def t5():
    config = transformers.T5Config(vocab_size=97, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    return transformers.T5ForConditionalGeneration(config)


REFUSED = {
    "flash": (flash, "'flash_attention_2' is a flash attention, which cannot be recorded; choose another"),
    "chunked": (chunked, "layers of the kind 'chunked_attention'; only full and sliding"),
    "bidirectional": (bidirectional, "LlamaForCausalLM attends in both directions"),
    "bert": (lambda: transformers.BertModel(transformers.BertConfig(**TINY)), "BertModel attends in both directions"),
    "checkpointed": (checkpointed, r"gradient checkpointing runs each layer twice; call model.eval\(\)"),
    "t5": (t5, "is an encoder-decoder"),
    "bart": (
        lambda: transformers.BartForCausalLM(transformers.BartConfig(vocab_size=97, d_model=16, decoder_layers=1, encoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16)),
        "BartForCausalLM attends in both directions",
    ),
    "bloom": (lambda: transformers.BloomForCausalLM(transformers.BloomConfig(vocab_size=97, hidden_size=16, n_layer=1, n_head=2)), "BloomForCausalLM has no attention that goes through transformers' AttentionInterface"),
    "mamba": (lambda: transformers.MambaForCausalLM(transformers.MambaConfig(vocab_size=97, hidden_size=16, num_hidden_layers=1)), "MambaForCausalLM has no attention that goes through"),
    "linear": (lambda: torch.nn.Linear(2, 2), "model is a Linear without a transformers config"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_recorded_says_why(name):
    build, reason = REFUSED[name]
    found = support(build())
    assert not found
    with pytest.raises(ValueError, match=reason):
        raise ValueError(found.reason)


def test_an_implementation_without_masks_is_refused():
    AttentionInterface.register("attention_without_a_mask", AttentionInterface._global_mapping["sdpa"])
    try:
        assert "has no mask function to read; choose another" in support(a_llama(attn_implementation="attention_without_a_mask")).reason
    finally:
        AttentionInterface._global_mapping.pop("attention_without_a_mask")
    assert "attention_without_a_mask" not in AttentionMaskInterface._global_mapping


def test_a_model_that_is_being_recorded_is_not_free():
    model = a_llama()
    with record_attention(model, torch.ones(1, 3, dtype=torch.int64), 1):
        assert "is being recorded already" in support(model).reason
    assert support(model)
