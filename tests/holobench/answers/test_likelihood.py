import pytest
import torch
from families import random_plan, tiny_model
from holobench_items import make_items, merging_tokenizer
from tiny_text import tiny_tokenizer

from pydisp.holobench.answers.asked_items import ask
from pydisp.holobench.answers.likelihood import choice_log_likelihoods
from pydisp.holobench.answers.shared_prefix import SharedPrefix
from pydisp.holobench.prompts import Prompts, Style
from pydisp.modeling.cached_model import CachedModel
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model


def asked_of(tokenizer):
    prompts = Prompts(tokenizer, Style(room=8))
    return prompts, ask(make_items(tokenizer, 3)[0], prompts, form="both", positions=None)[0]


def plain(model, prompts, one, choice, scored):
    """The sum of log-probabilities of the last tokens, from one forward over prompt and choice."""
    text = prompts.with_answer(prompts.text(one.item.context, one.item.question), choice)
    ids = torch.tensor([prompts.encode(text)])
    with torch.no_grad():
        nats = model(input_ids=ids, use_cache=False).logits[0].to(torch.promote_types(model.dtype, torch.float32)).log_softmax(-1)
    return nats[:-1].gather(-1, ids[0, 1:, None])[-scored:].double().sum().item()


@pytest.mark.parametrize("most_choices", [1, 2, 8])
@pytest.mark.parametrize("make_tokenizer", [tiny_tokenizer, merging_tokenizer])
@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3_text", "opt-125m", "pruned"])
def test_sums_are_those_of_a_plain_forward(name, make_tokenizer, most_choices):
    dense = tiny_model("qwen2" if name == "pruned" else name, vocab_size=258, max_position_embeddings=256)
    model = prune_model(dense, random_plan(ModelSpec.from_model(dense), 1, (0, 3), (1,))) if name == "pruned" else dense
    prompts, asked = asked_of(make_tokenizer())
    reader = CachedModel(model)
    prefix = SharedPrefix(reader)
    for one in asked:
        sums = choice_log_likelihoods(reader, prefix.past(one), one, most_choices)
        wanted = [plain(model, prompts, one, choice, scored) for choice, scored in zip(one.item.choices, one.scored, strict=True)]
        assert sums == pytest.approx(wanted, abs=1e-11)
        assert len(set(sums)) == 4 and max(sums) < 0


def test_half_precision_is_summed_in_float32():
    model = tiny_model("llama", dtype=torch.bfloat16, vocab_size=257, max_position_embeddings=256)
    prompts, asked = asked_of(tiny_tokenizer())
    reader = CachedModel(model)
    sums = choice_log_likelihoods(reader, SharedPrefix(reader).past(asked[0]), asked[0], 8)
    wanted = [
        plain(model, prompts, asked[0], choice, scored) for choice, scored in zip(asked[0].item.choices, asked[0].scored, strict=True)
    ]
    assert sums == pytest.approx(wanted, abs=0.3)  # logits of bfloat16
    assert any(value != torch.tensor(value).bfloat16().item() for value in sums)


def test_broken_weights_are_said_with_the_item():
    model = tiny_model("llama", vocab_size=257, max_position_embeddings=256)
    with torch.no_grad():
        model.lm_head.weight[5] = float("nan")
    _, asked = asked_of(tiny_tokenizer())
    reader = CachedModel(model)
    with pytest.raises(ValueError, match=f"{asked[0].item.id}.*not finite.*float32"):
        choice_log_likelihoods(reader, SharedPrefix(reader).past(asked[0]), asked[0], 8)
