import pytest
import torch
from families import random_plan, tiny_model
from holobench_items import make_items
from tiny_text import tiny_tokenizer

from pydisp.holobench.answers.asked_items import ask
from pydisp.holobench.answers.shared_prefix import SharedPrefix
from pydisp.holobench.prompts import Prompts, Style
from pydisp.modeling.cached_model import CachedModel
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

TOKENIZER = tiny_tokenizer()
ITEMS, _ = make_items(TOKENIZER, 5)  # the last one is alone in its context
ASKED, _ = ask(ITEMS, Prompts(TOKENIZER, Style(room=8)), form="generate", positions=None)


class Counting(CachedModel):
    tokens = 0

    def read(self, past, ids, keep=1):
        self.tokens += ids.numel()
        return super().read(past, ids, keep)


def model_of(name, is_pruned, window=100):
    changes = {"sliding_window": window} if name != "llama" else {}
    model = tiny_model(name, vocab_size=257, max_position_embeddings=256, **changes)
    return prune_model(model, random_plan(ModelSpec.from_model(model), 1, (0, 3), (1,))) if is_pruned else model


@pytest.mark.parametrize("is_pruned", [False, True])
@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3_text"])
def test_a_shared_beginning_gives_the_logits_of_the_whole_prompt(name, is_pruned):
    model = model_of(name, is_pruned)
    reader = Counting(model)
    prefix = SharedPrefix(reader)
    for one in [*ASKED, ASKED[1]]:  # back to an earlier context at the end
        past = prefix.past(one)
        assert past.lengths == [one.read] == [len(one.prompt) - 1]
        logits = reader.read(past, one.prompt[None, -1:])[0, 0]
        with torch.no_grad():
            wanted = model(input_ids=one.prompt[None], use_cache=False).logits[0, -1]
        assert (logits - wanted).abs().max() < 1e-12


def test_the_facts_of_a_context_are_read_once():
    reader = Counting(model_of("llama", False))
    prefix = SharedPrefix(reader)
    for one in ASKED:
        prefix.past(one)
    contexts = {one.item.context_id: one.shared for one in ASKED}
    assert reader.tokens == sum(contexts.values()) + sum(one.read - one.shared for one in ASKED)
    assert min(one.shared for one in ASKED[:4]) > 60
