"""model_digest: one for a checkpoint in its two usual dtypes, another after any change of the model."""

import pytest
import torch
from families import random_plan, tiny_model
from tiny_text import PARTLY_ON_DISK, tiny_llama
from torch import nn

from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model
from pydisp.toolken.head import ToolkenHead
from pydisp.toolken.model_digest import SAMPLED_VALUES, model_digest

DIGEST = model_digest(tiny_llama())


def test_it_is_that_of_the_weights():
    assert DIGEST == model_digest(tiny_llama()) != model_digest(tiny_llama(seed=1))
    assert len(DIGEST) == 16


def test_float32_and_bfloat16_have_one_digest():
    assert model_digest(tiny_llama(dtype=torch.bfloat16)) == DIGEST == model_digest(tiny_llama(dtype=torch.float64))
    assert model_digest(tiny_llama(dtype=torch.bfloat16).float()) == DIGEST


def test_the_mode_and_a_toolken_head_do_not_count():
    model = tiny_llama().train()
    with ToolkenHead(model, torch.zeros(2, 32), 257):
        assert model_digest(model) == DIGEST


def test_a_pruned_and_an_adapted_model_are_others():
    model = tiny_model("llama")
    assert model_digest(prune_model(model, random_plan(ModelSpec.from_model(model)))) != model_digest(model)
    peft = pytest.importorskip("peft")
    assert model_digest(peft.get_peft_model(tiny_llama(), peft.LoraConfig(target_modules=["q_proj"]))) != DIGEST


def test_names_and_shapes_count():
    one, two = nn.Module(), nn.Module()
    one.a, two.b = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2, 3))
    three = nn.Module()
    three.a = nn.Parameter(torch.ones(3, 2))
    assert len({model_digest(one), model_digest(two), model_digest(three)}) == 3


def test_the_first_and_the_last_value_of_a_large_parameter_count():
    def digest(place: int) -> str:
        module = nn.Module()
        module.a = nn.Parameter(torch.zeros(3 * SAMPLED_VALUES + 5))
        module.a.data[place] = 1
        return model_digest(module)

    assert len({digest(0), digest(-1), digest(1)}) == 3
    assert digest(1) == digest(2)  # between two samples: only a sample is read


def test_packed_weights_and_empty_ones_count():
    def digest(values: torch.Tensor) -> str:
        module = nn.Module()
        module.a = nn.Parameter(values, requires_grad=False)
        return model_digest(module)

    numbers = torch.arange(5, dtype=torch.uint8)
    assert digest(numbers) == digest(numbers.clone()) != digest(numbers + 1)
    assert digest(torch.empty(0)) == digest(torch.empty(0))
    assert digest(torch.tensor(3.0)) != digest(torch.tensor(4.0))


def test_a_model_partly_on_disk_has_the_same(tmp_path):
    pytest.importorskip("accelerate")
    import transformers

    tiny_llama().save_pretrained(tmp_path / "model")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", device_map=PARTLY_ON_DISK, offload_folder=tmp_path / "disk", dtype=torch.float32
    )
    assert any(parameter.is_meta for parameter in model.parameters())
    assert model_digest(model) == DIGEST


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rope_parameters", {"rope_theta": 500.0, "rope_type": "default"}),
        ("num_attention_heads", 8),
        ("hidden_act", "gelu"),
        ("rms_norm_eps", 1e-3),
        ("sliding_window", 16),
        ("logit_scale", 0.5),
    ],
)
def test_what_the_config_computes_with_counts(name, value):
    model = tiny_llama()
    setattr(model.config, name, value)
    assert model_digest(model) != DIGEST


def test_what_else_stands_in_a_config_does_not_count():
    model = tiny_llama()
    model.config.rope_parameters = {"rope_theta": 10000, "rope_type": "default"}  # a whole number in some files
    model.config.use_cache = False
    model.config.max_position_embeddings = 64
    model.config._name_or_path = "elsewhere"
    assert model_digest(model) == DIGEST


def test_buffers_count_if_they_are_saved():
    def digest(values: torch.Tensor, is_saved: bool = True) -> str:
        module = nn.Module()
        module.part = nn.Module()
        module.part.register_buffer("qweight", values, persistent=is_saved)
        module.part.register_buffer("nothing", None)
        return model_digest(module)

    numbers = torch.arange(5, dtype=torch.int32)
    assert digest(numbers) == digest(numbers.clone()) != digest(numbers + 1)
    assert digest(numbers, False) == digest(numbers + 1, False) != digest(numbers)
    assert digest(numbers.to("meta")) not in (digest(numbers[:4].to("meta")), digest(numbers))
