"""A checkpoint that is not of its config is refused with its first wrong weight, and one with what is left out rightly is loaded."""

import json
import math
import re

import pytest
import torch
import transformers
from families import MODELS, random_plan, tiny_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_text import PARTLY_ON_DISK, tiny_llama, write_model, write_text

from pydisp.checkpoint import misfit
from pydisp.evaluation import evaluate
from pydisp.loading import LoadingError, load_model
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

CPU = torch.device("cpu")
UP, IDS = "model.layers.1.mlp.up_proj.weight", torch.arange(1, 11)[None]


@pytest.fixture
def folder(tmp_path):
    return write_model(tmp_path / "model", dtype=torch.float32)


def change_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def change_weights(folder, without: str = "", rename=lambda key: key, **more):
    """`more`: tensors to add or to put in the place of others."""
    path = folder / "model.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    weights = load_file(path) | {key.replace("__", "."): tensor for key, tensor in more.items()}
    save_file({rename(key): tensor for key, tensor in weights.items() if key != without}, path, metadata)
    return folder


def loaded(folder, **options):
    return load_model(str(folder), device=CPU, dtype=torch.float32, **options)


def words_on(folder, **options) -> str:
    with pytest.raises(LoadingError) as error:
        loaded(folder, **options)
    words = str(error.value)
    assert words.startswith(f"{folder} ") and words.endswith("copy or convert it again, or give it the config of its weights."), words
    return words


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"num_hidden_layers": 1},
            "holds weights that its config has no place for: model.layers.1.input_layernorm.weight (18 weights in all)",
        ),
        (
            {"num_hidden_layers": 5},
            "holds 31,488 weights in its files, but its config describes 46,976, among them model.layers.3.self_attn.q_proj.weight (32, 32)",
        ),
        (
            {"hidden_size": 10**6},
            "its config describes 984,000,000, among them model.embed_tokens.weight (257, 1000000)",
        ),  # memory for none
        ({"tie_word_embeddings": False}, "its config describes 39,712, among them lm_head.weight (257, 32)"),
        ({"vocab_size": 256}, "has model.embed_tokens.weight (257, 32), but its config describes (256, 32) (1 weight in all)"),
        (
            {"intermediate_size": 40},
            "has model.layers.0.mlp.down_proj.weight (32, 48), but its config describes (32, 40) (9 weights in all)",
        ),
    ],
)
def test_a_config_of_another_model_is_refused(folder, values, words):
    assert words in words_on(change_config(folder, **values))


def test_more_layers_than_can_be_made_are_refused_before_the_files_are_read(folder):
    with pytest.raises(
        LoadingError, match=r"has num_hidden_layers 1000000000, and models have 1,000 layers at most; copy the whole folder"
    ):
        loaded(change_config(folder, num_hidden_layers=10**9))


def test_a_missing_weight_is_refused(folder):
    assert f"holds 29,952 weights in its files, but its config describes 31,488, among them {UP} (48, 32)" in words_on(
        change_weights(folder, UP)
    )


def test_a_missing_weight_is_refused_where_others_fill_its_number(folder):
    """The heads of the files do not tell then."""
    change_weights(folder, UP, score__weight=torch.ones(100, 32))
    assert f"lacks {UP} (1 weight in all)" in words_on(folder)
    assert f"lacks {UP} (1 weight in all)" in words_on(folder, device_map=PARTLY_ON_DISK)


def test_a_missing_weight_of_other_files_than_safetensors_is_refused(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({key: tensor for key, tensor in weights.items() if key != UP}, folder / "pytorch_model.bin")
    assert f"lacks {UP} (1 weight in all)" in words_on(folder)
    torch.save(weights, folder / "pytorch_model.bin")
    assert torch.equal(logits(loaded(folder)), logits(tiny_llama()))


def test_a_missing_part_of_several_files_is_refused(folder):
    tiny_llama().save_pretrained(folder, max_shard_size="40KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    assert torch.equal(logits(loaded(folder)), logits(tiny_llama()))
    first, second = sorted(folder.glob("model-*.safetensors"))[:2]
    second.write_bytes(first.read_bytes())
    assert "weights in its files, but its config describes 31,488" in words_on(folder)


def test_a_bias_that_the_config_leaves_out_is_refused(folder):
    name = "model.layers.0.self_attn.q_proj.bias"
    assert f"no place for: {name} (1 weight in all)" in words_on(change_weights(folder, **{name.replace(".", "__"): torch.ones(32)}))


def test_layers_beyond_the_last_are_seen_under_shorter_names(folder):
    """The names of a model without a head begin at its layers."""
    change_weights(folder, rename=lambda key: key.removeprefix("model."))
    assert torch.equal(logits(loaded(folder)), logits(tiny_llama()))
    assert "no place for: layers.2.input_layernorm.weight (9 weights in all)" in words_on(change_config(folder, num_hidden_layers=2))


def test_what_is_left_out_rightly_is_loaded(folder):
    more = {
        "score.weight": (2, 32),
        "model.layers.0.self_attn.rotary_emb.inv_freq": (4,),
        "model.layers.0.self_attn.k_scale": (1,),
        "vision_tower.layers.0.q_proj.weight": (8, 8),
        "mtp.layers.0.q_proj.weight": (8, 8),
    }
    change_weights(folder, **{key.replace(".", "__"): torch.ones(shape) for key, shape in more.items()})
    assert torch.equal(logits(loaded(folder)), logits(tiny_llama()))


@pytest.mark.parametrize(
    ("config", "mask"),
    [
        (
            transformers.GPTNeoConfig(hidden_size=16, num_layers=2, num_heads=2, attention_types=[[["global"], 2]], vocab_size=50),
            "attn.attention",
        ),
        (transformers.GPTJConfig(n_embd=16, n_layer=2, n_head=2, rotary_dim=4, vocab_size=50), "attn"),
        (transformers.OpenAIGPTConfig(n_embd=16, n_layer=2, n_head=2, vocab_size=50), "attn"),
        (transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=50), "attn"),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_masks_that_older_checkpoints_call_bias_are_left_out(config, mask, tmp_path):
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    change_weights(tmp_path, **{f"transformer.h.{layer}.{mask}.bias": torch.ones(1, 1, 4, 4) for layer in (0, 1)})
    assert loaded(tmp_path).config.model_type == config.model_type


def test_biases_that_a_quantizer_writes_for_every_linear_are_left_out(folder):
    model = loaded(folder)
    info = {"missing_keys": set(), "unexpected_keys": {"model.layers.0.mlp.up_proj.bias"}}
    assert "no place for: model.layers.0.mlp.up_proj.bias" in misfit(model, info)
    model.config.quantization_config = {"quant_method": "gptq"}
    assert misfit(model, info) is None


def test_the_files_of_an_index_are_read_whatever_their_names(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    parts = {
        "embeddings.safetensors": [key for key in weights if "embed" in key],
        "rest.safetensors": [key for key in weights if "embed" not in key],
    }
    for name, keys in parts.items():
        save_file({key: weights[key] for key in keys}, folder / name, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: name for name, keys in parts.items() for key in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert loaded(folder) is not None
    save_file({key: weights[key] for key in parts["rest.safetensors"][1:]}, folder / "rest.safetensors", {"format": "pt"})
    assert parts["rest.safetensors"][0] in words_on(folder)


def test_layers_that_predict_further_tokens_are_left_out_by_their_number(folder):
    change_weights(folder, model__layers__3__mlp__up_proj__weight=torch.ones(48, 32))
    assert "no place for: model.layers.3" in words_on(folder)
    assert torch.equal(logits(loaded(change_config(folder, num_nextn_predict_layers=1))), logits(tiny_llama()))


@pytest.mark.parametrize("name", MODELS)
def test_every_family_loads_with_its_weights_and_not_without_one(name, tmp_path):
    model = tiny_model(name, dtype=torch.float32)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(loaded(tmp_path)), logits(model))
    key = next(
        key
        for key in load_file(tmp_path / "model.safetensors")
        if key.endswith("layers.2.self_attn.k_proj.weight") or "2.self_attn.qkv" in key
    )
    assert re.escape(key.removeprefix("model.")) and key in words_on(change_weights(tmp_path, key))


def test_a_pruned_folder_with_more_layers_is_refused(tmp_path):
    dense = tiny_model("llama", dtype=torch.float32)
    pruned = prune_model(dense, random_plan(ModelSpec.from_model(dense), 1, (0,), (2,)))
    pruned.save_pretrained(tmp_path)
    assert torch.equal(logits(loaded(tmp_path)), logits(pruned))
    change_weights(tmp_path, model__layers__4__mlp__up_proj__weight=torch.ones(48, 32))
    assert "no place for: model.layers.4.mlp.up_proj.weight" in words_on(tmp_path)


@pytest.mark.parametrize("kind", ["bitsandbytes-8bit", "bitsandbytes-nf4", "torchao"])
def test_quantized_folders_load_with_their_weights_and_not_without_one(kind, tmp_path):
    library, _, how = kind.partition("-")
    pytest.importorskip(library, reason=f"{library} is not installed (the extra 'quantize')")
    if library == "torchao":
        from torchao.quantization import Int8WeightOnlyConfig

        config = transformers.TorchAoConfig(Int8WeightOnlyConfig())
    else:
        config = transformers.BitsAndBytesConfig(load_in_8bit=how == "8bit", load_in_4bit=how == "nf4")
    # bitsandbytes packs 4-bit weights for a CPU by 128 features
    tiny_model("llama", dtype=torch.float32, hidden_size=128, intermediate_size=256).save_pretrained(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=config, dtype=torch.float32).eval()
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(loaded(tmp_path)), logits(model))
    norm = "model.layers.1.input_layernorm.weight"
    change_weights(tmp_path, norm)
    assert f"lacks {norm} (1 weight in all)" in words_on(tmp_path)
    change_config(tmp_path, num_hidden_layers=3)
    assert "no place for: model.layers.3.input_layernorm.weight" in words_on(
        change_weights(tmp_path, **{norm.replace(".", "__"): torch.ones(128)})
    )
    for name in [key for key in load_file(tmp_path / "model.safetensors") if "layers.1.mlp.up_proj" in key]:
        change_weights(tmp_path, name)
    with pytest.raises(LoadingError):
        loaded(tmp_path)


def test_buffers_are_computed_but_those_of_quantized_models_are_weights():
    model = tiny_llama()
    model.register_buffer("steps", torch.zeros(1))
    info = {"missing_keys": {"steps"}, "unexpected_keys": set(), "mismatched_keys": set()}
    assert misfit(model, info) is None
    model.config.quantization_config = {"quant_method": "gptq"}
    assert misfit(model, info).startswith("lacks steps (1 weight in all); ")


def test_layers_are_named_in_their_order():
    keys = {f"model.layers.{number}.mlp.up_proj.weight" for number in (10, 11, 9)}
    info = {"missing_keys": keys, "unexpected_keys": set(), "mismatched_keys": set()}
    assert misfit(tiny_llama(), info).startswith("lacks model.layers.9.mlp.up_proj.weight (3 weights in all); ")


def test_evaluate_refuses_what_gave_other_figures_each_time(folder, tmp_path):
    text = str(write_text(tmp_path / "text.txt"))
    assert math.isfinite(evaluate(str(folder), text=text, context_tokens=32).perplexity)
    for layers in (2, 4):
        with pytest.raises(LoadingError, match="or give it the config of its weights"):
            evaluate(str(change_config(folder, num_hidden_layers=layers)), text=text, context_tokens=32)
