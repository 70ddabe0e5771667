from types import SimpleNamespace

import pytest
import torch
from families import random_plan, tiny_model
from holobench_items import chat_tokenizer, make_items
from tiny_text import tiny_tokenizer
from torch import nn
from transformers import GenerationConfig, LlamaConfig

from pydisp.holobench.answers.asked_items import ask
from pydisp.holobench.answers.decoding import Ending, greedy
from pydisp.holobench.answers.shared_prefix import SharedPrefix
from pydisp.holobench.prompts import Prompts, Style
from pydisp.modeling.cached_model import CachedModel
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

TOKENIZER = tiny_tokenizer()
PLAIN = Style(room=8)


class Speaker(nn.Module):
    """Says one text after a prompt of so many tokens, whatever the prompt is."""

    def __init__(self, text: str, prompt_tokens: int, end: int = 0):
        super().__init__()
        self.config = LlamaConfig(vocab_size=300, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, eos_token_id=0)
        self.embedding, self.steps = nn.Embedding(300, 8), 0
        self.said = [*TOKENIZER(text)["input_ids"], end]
        self.prompt_tokens = prompt_tokens

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, input_ids, past_key_values=None, position_ids=None, use_cache=None):
        self.steps += 1
        from types import SimpleNamespace

        places = position_ids[0] + 1 - self.prompt_tokens
        logits = torch.zeros(*input_ids.shape, 300)
        for place in range(len(places)):
            logits[:, place, self.said[min(max(int(places[place]), 0), len(self.said) - 1)]] = 1
        return SimpleNamespace(logits=logits)


def spoken(text, room=40, end=0, style=PLAIN, tokenizer=TOKENIZER):
    """The answer, whether it has ended, and the forwards that it took after the prompt."""
    model = Speaker(text, 5, end)
    reader = CachedModel(model)
    past = reader.start()
    reader.read(past, torch.tensor([[1, 2, 3, 4]]))
    model.steps = 0
    ((answer, has_ended),) = greedy(reader, [past], [5], room, Ending.of(model, tokenizer, style), ["x"])
    return answer, has_ended, model.steps


def test_an_end_of_text_ends_an_answer():
    assert spoken(" 7, Rome") == (" 7, Rome", True, 9)
    assert spoken("") == ("", True, 1)


def test_the_room_for_an_answer_is_kept():
    assert spoken("123456", room=6) == ("123456", False, 6)
    assert spoken("12345", room=6) == ("12345", True, 6)
    assert spoken("1234567", room=6) == ("123456", False, 6)


@pytest.mark.parametrize("stop", ["\nQuestion:", "\nFacts:"])
def test_a_next_example_is_cut_off_where_it_begins(stop):
    answer, has_ended, steps = spoken(f" 7\n8{stop} How many?")
    assert (answer, has_ended, steps) == (" 7\n8", True, 4 + len(stop))
    assert spoken(stop)[:2] == ("", True)
    assert spoken(f" 7{stop}", room=2 + len(stop))[:2] == (" 7", True)
    assert spoken(f" 7{stop[:-1]}")[0] == f" 7{stop[:-1]}"
    assert spoken(" Question: Facts:")[0] == " Question: Facts:"


def test_ends_come_from_model_and_tokenizer():
    model = tiny_model("llama", vocab_size=257)
    model.generation_config = GenerationConfig(eos_token_id=[5, 6])
    assert Ending.of(model, TOKENIZER, PLAIN).ids == {0, 2, 5, 6}
    model.generation_config.eos_token_id, model.config.eos_token_id = 7, None
    assert Ending.of(model, TOKENIZER, PLAIN).ids == {0, 7}


def test_a_turn_of_a_chat_ends_with_the_template_s_token():
    tokenizer, chat = chat_tokenizer(), Style("chat", room=8)
    turn = tokenizer.convert_tokens_to_ids("<|turn|>")
    model = Speaker("", 5)
    assert Ending.of(model, tokenizer, chat).ids == {0, turn} and Ending.of(model, tokenizer, PLAIN).ids == {0}
    assert spoken("7", end=turn, style=chat, tokenizer=tokenizer) == ("7", True, 2)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %} and on"  # no token ends its turns
    assert Ending.of(model, tokenizer, chat).ids == {0}
    tokenizer.chat_template = "{{ raise_exception('no answers') }}"
    assert Ending.of(model, tokenizer, chat).ids == {0}


def test_logits_that_are_not_numbers_name_their_item():
    model = tiny_model("llama", vocab_size=257)
    with torch.no_grad():
        model.model.embed_tokens.weight[9] = float("nan")
    reader, pasts = CachedModel(model), []
    for token in (8, 8):
        pasts.append(reader.start())
        reader.read(pasts[-1], torch.tensor([[token]]))
    with pytest.raises(ValueError, match="item 'second'.*float32"):
        greedy(reader, pasts, [8, 9], 3, Ending.of(model, TOKENIZER, PLAIN), ["first", "second"])


def plain_greedy(model, prompt, room, ends):
    """Token by token from the whole text, without a cache."""
    ids = prompt.tolist()
    while len(ids) < len(prompt) + room:
        with torch.no_grad():
            token = int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token in ends:
            return ids[len(prompt) :], True
        ids.append(token)
    return ids[len(prompt) :], False


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gemma3_text", "opt-125m", "pruned"])
def test_a_batch_answers_as_each_prompt_alone(name):
    changes = {} if name in ("llama", "opt-125m") else {"sliding_window": 20}
    dense = tiny_model("qwen2" if name == "pruned" else name, vocab_size=257, max_position_embeddings=256, **changes)
    model = prune_model(dense, random_plan(ModelSpec.from_model(dense), 1, (0, 3), (1,))) if name == "pruned" else dense
    asked, _ = ask(make_items(TOKENIZER, 5, questions=3)[0], Prompts(TOKENIZER, PLAIN), form="generate", positions=None)
    free = [plain_greedy(model, one.prompt, 8, ())[0] for one in asked]
    ends = frozenset({free[0][2], free[1][5], free[2][0]})  # some answers end early, at different steps
    ending = Ending(TOKENIZER, ends)
    reader = CachedModel(model)
    prefix = SharedPrefix(reader)
    last, ids = [int(one.prompt[-1]) for one in asked], [one.item.id for one in asked]
    found = greedy(reader, [prefix.past(one) for one in asked], last, 8, ending, ids)
    wanted = [plain_greedy(model, one.prompt, 8, ends) for one in asked]
    assert found == [(ending.text(tokens), has_ended) for tokens, has_ended in wanted]
    assert {has_ended for _, has_ended in found} >= {True}


def test_who_reasons_may_list_facts_and_questions():
    tokenizer = tiny_tokenizer()
    model = SimpleNamespace(config=SimpleNamespace(eos_token_id=0), generation_config=None)
    text = "Let me list them.\nFacts:\n- one\n\nAnswer: 1"
    assert Ending.of(model, tokenizer, Style("plain", "reason")).cut(text) is None
    assert Ending.of(model, tokenizer, Style("plain", "direct")).cut(text) == "Let me list them."
