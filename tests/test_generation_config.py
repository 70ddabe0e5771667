"""generation_config.json is written as it was published, also where transformers finds fault with it."""

import json

import pytest
import torch
from families import random_plan
from tiny_text import write_model
from transformers import GenerationConfig

from pydisp.loading import load_model
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

# Llama-2-chat and Vicuna: sampling values without do_sample.
PUBLISHED = {"temperature": 0.9, "top_p": 0.6, "bos_token_id": 0, "eos_token_id": 0}


@pytest.fixture
def published(tmp_path):
    folder = write_model(tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps(PUBLISHED))
    return load_model(str(folder), device=torch.device("cpu"), dtype=torch.float32)


def test_a_pruned_model_has_the_published_values(published, tmp_path):
    published.generation_config._original_object_hash = None  # transformers 5.23 lets what it loaded unchanged pass; older ones do not
    pruned = prune_model(published, random_plan(ModelSpec.from_model(published), 1))
    pruned.save_pretrained(tmp_path / "pruned")
    written = json.loads((tmp_path / "pruned" / "generation_config.json").read_text())
    assert PUBLISHED.items() <= written.items() and "do_sample" not in written
    again = load_model(str(tmp_path / "pruned"), device=torch.device("cpu"), dtype=torch.float32)
    assert again.generation_config.temperature == 0.9 and not again.generation_config.do_sample


def test_it_generates_as_before(published):
    ids = torch.tensor([[5, 6, 7]])
    first = published.generate(ids, max_new_tokens=4)
    assert torch.equal(published.generate(ids, max_new_tokens=4), first)  # greedy: no do_sample


def test_a_valid_one_is_left_alone(tmp_path):
    model = load_model(str(write_model(tmp_path / "model")), device=torch.device("cpu"), dtype=torch.float32)
    assert type(model.generation_config) is GenerationConfig
