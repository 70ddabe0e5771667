"""A dense folder whose config.json has any content is the model of its weights, or one sentence: for eval and for compare."""

import json
import os
import shutil

import pytest
import torch
from families import tiny_model
from fuzzing import VALUES, changed_bytes, changed_json, fuzz
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_text import tiny_llama, tiny_tokenizer, write_text

from pydisp.comparison.side import read_side
from pydisp.evaluation import evaluate
from pydisp.loading import choose_dtype, load_config, load_model, stored_dtype
from pydisp.progress import silence

pytestmark = pytest.mark.usefixtures("quiet_transformers")

CPU = torch.device("cpu")
SIZES = ["num_hidden_layers", "hidden_size", "vocab_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
         "max_position_embeddings", "ffn_dim", "word_embed_proj_dim", "sliding_window", "pad_token_id"]  # fmt: skip
NAMED = ["model_type", "architectures", "dtype", "hidden_act", "layer_types", "rope_parameters", "rope_scaling", "tie_word_embeddings",
         "text_config", "quantization_config", "auto_map", "attn_implementation", "num_nextn_predict_layers", "transformers_weights",
         "pydisp"]  # fmt: skip


@st.composite
def changed_values(draw, values: dict) -> bytes:
    """One or two of the values by which a model is made replaced, by numbers of any size mostly."""
    large = st.sampled_from([0, 1000, 10**4, 10**6, 10**9, 2**31, 2**63, 10**30])
    number = st.integers(1, 6) | st.integers(1, 6) | st.integers(-2, 300) | large | st.booleans() | st.floats(-2, 100)
    for name in draw(st.lists(st.sampled_from([*SIZES, *SIZES[:1] * 4]), min_size=1, max_size=2)):
        values = values | {name: draw(number | number | number | VALUES)}
    if draw(st.integers(0, 3)) == 0:
        values = values | {draw(st.sampled_from(NAMED)): draw(VALUES | st.sampled_from(["llama", "gpt2", "float16", "bitsandbytes"]))}
    return json.dumps(values).encode()


def test_dense_configs(tmp_path):
    made = {"llama": tiny_llama(), **{name: tiny_model(name, dtype=torch.float32, vocab_size=257) for name in ("gemma2", "opt-350m")}}
    for name, model in made.items():
        model.save_pretrained(tmp_path / name)
        tiny_tokenizer().save_pretrained(tmp_path / name)
    text = str(write_text(tmp_path / "text.txt"))
    data = {name: (tmp_path / name / "config.json").read_bytes() for name in made}
    weights = {name: load_file(tmp_path / name / "model.safetensors") for name in made}
    parameters = {name: sum(p.numel() for p in model.parameters()) for name, model in made.items()}
    alone = {name: shutil.copytree(tmp_path / name, tmp_path / f"{name}-alone", ignore=lambda *_: ["model.safetensors"]) for name in made}

    def write(folder, content):
        (folder / "config.json").unlink(missing_ok=True)
        os.mkfifo(folder / "config.json") if content == "pipe" else (folder / "config.json").write_bytes(content)
        return str(folder)

    def outcome_of_eval(case):
        name, content = case
        given = write(tmp_path / name, content)
        evaluate(given, text=text, context_tokens=64, say=silence)
        config = load_config(given)
        model = load_model(given, device=CPU, dtype=choose_dtype("float32", CPU, stored_dtype(config)))
        held = model.state_dict()
        assert all(torch.equal(held[key], tensor) for key, tensor in weights[name].items()), "a weight was left out or drawn anew"
        assert sum(parameter.numel() for parameter in model.parameters()) == parameters[name], "there is a weight that the files lack"

    def outcome_of_compare(case):
        name, content = case
        size = read_side(write(alone[name], content), "a").size
        assert size["parameters"] > 0 and (content != data[name] or size["parameters"] == parameters[name])

    def cases(change) -> st.SearchStrategy:
        return st.sampled_from(sorted(made)).flatmap(lambda name: change(name).map(lambda content: (name, content)))

    values = cases(lambda name: changed_values(json.loads(data[name])))
    anything = cases(lambda name: changed_json(json.loads(data[name]))), cases(lambda name: changed_bytes(data[name]))
    every = st.one_of(values, values, *anything, st.sampled_from(sorted(data.items())), st.just(("llama", "pipe")))
    fuzz("dense config.json, eval", every, outcome_of_eval, share=0.5)
    fuzz("dense config.json, compare", every, outcome_of_compare, share=0.5)
