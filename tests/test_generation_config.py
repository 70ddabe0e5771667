"""generation_config.json is written as it was published, also where transformers finds fault with it."""

import copy
import json
import subprocess
import sys

import pytest
import torch
from families import random_plan
from tiny_text import write_model
from transformers import AutoModelForCausalLM, GenerationConfig

from pydisp.loading import load_model
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model, to_dense

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


def test_a_model_in_memory_is_saved_too(published, tmp_path):
    """A user's own call of from_pretrained leaves transformers' class; what pydisp makes of the model can be saved all the same."""
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    model.generation_config._original_object_hash = None
    pruned = prune_model(model, random_plan(ModelSpec.from_model(model), 1))
    assert type(model.generation_config) is GenerationConfig
    for made, name in ((pruned, "pruned"), (to_dense(pruned), "dense")):
        made.save_pretrained(tmp_path / name)
        assert PUBLISHED.items() <= json.loads((tmp_path / name / "generation_config.json").read_text()).items()


def test_it_is_pickled_and_copied(published, tmp_path):
    torch.save(published, tmp_path / "model.pt")
    code = (
        "import sys, torch\nmodel = torch.load(sys.argv[1], weights_only=False)\n"
        "model.save_pretrained(sys.argv[2])\nprint(model.generation_config.temperature, model.generation_config.do_sample)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.pt"), str(tmp_path / "again")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ["0.9", str(published.generation_config.do_sample)], done.stderr
    assert PUBLISHED.items() <= json.loads((tmp_path / "again" / "generation_config.json").read_text()).items()
    copied = copy.deepcopy(published.generation_config)
    assert copied == published.generation_config and type(copied) is type(published.generation_config)
    copied.temperature = 0.5
    assert published.generation_config.temperature == 0.9
