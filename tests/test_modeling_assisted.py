"""Assisted generation, prompt lookup and a cache rolled back: tokens and logits of plain greedy generation, whichever attention is removed."""

import pytest
import torch
import transformers
from families import random_plan, tiny_model
from packaging.version import Version
from transformers import DynamicCache

from pydisp.modeling.plain import plain_model
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

# mistral and phi3: every layer slides; qwen2, gemma2 and gemma3: every other one; llama: none
FAMILIES = ["mistral", "phi3", "qwen2", "gemma2", "gemma3_text", "llama"]
# Past the window the stock models of transformers 5.17 fail as well, with assistants; 5.23 does not.
WINDOW = 6 if Version(transformers.__version__) >= Version("5.23") else 64
REMOVED = {"first": (0,), "middle": (1,), "last": (3,), "sliding": (0, 2), "full": (1, 3), "all-but-one": (0, 1, 3)}
IDS = torch.arange(4, 9)[None].repeat(1, 3)  # repeated, so that a prompt lookup has something to look up
GREEDY = dict(max_new_tokens=10, do_sample=False, eos_token_id=-1)


def models(name, removed):
    dense = tiny_model(name, **({} if name == "llama" else {"sliding_window": WINDOW}))
    return dense, prune_model(dense, random_plan(ModelSpec.from_model(dense), 1, removed, (2,)))


@pytest.mark.parametrize("removed", REMOVED.values(), ids=REMOVED)
@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_are_those_of_plain_greedy_generation(name, removed):
    dense, pruned = models(name, removed)
    mask = torch.ones_like(IDS)
    wanted = pruned.generate(IDS, attention_mask=mask, **GREEDY)
    assert wanted.shape == (1, 25)
    assert torch.equal(pruned.generate(IDS, attention_mask=mask, prompt_lookup_num_tokens=3, **GREEDY), wanted)
    assert torch.equal(pruned.generate(IDS, attention_mask=mask, assistant_model=dense, **GREEDY), wanted)
    as_assistant = dense.generate(IDS, attention_mask=mask, assistant_model=pruned, **GREEDY)
    assert torch.equal(as_assistant, dense.generate(IDS, attention_mask=mask, **GREEDY))


@pytest.mark.parametrize("removed", REMOVED.values(), ids=REMOVED)
@pytest.mark.parametrize("name", FAMILIES)
def test_logits_after_a_crop_are_those_without_a_cache(name, removed):
    dense, pruned = models(name, removed)
    plain = plain_model(pruned, dense.config)
    for model in (pruned, plain):
        with torch.no_grad():
            wanted = model(input_ids=IDS.clone(), use_cache=False).logits
            cache = DynamicCache(config=model.config)
            if hasattr(cache, "activate_past_recording"):
                cache.activate_past_recording()
            # a wrong guess of three tokens, rolled back within the window, and the right ones
            model(input_ids=IDS[:, :2], past_key_values=cache)
            model(input_ids=IDS[:, 5:8], past_key_values=cache)
            cache.crop(-3)
            out = model(input_ids=IDS[:, 2:], past_key_values=cache).logits
        assert cache.get_seq_length() == 15
        assert (out - wanted[:, 2:]).abs().max() < 2e-5
