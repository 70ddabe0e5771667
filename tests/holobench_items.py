"""Small benchmarks for tests: facts about boxes, questions on them, gold answers and choices, with the prompts' own SHA-256."""

import hashlib

import torch
from tiny_text import tiny_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import Lfm2Config, Lfm2ForCausalLM, PreTrainedTokenizerFast

from pydisp.draws import Draws
from pydisp.holobench.item_file import FORMAT, items_sha256
from pydisp.holobench.items import Gold, Item
from pydisp.holobench.prompts import Prompts, Style
from pydisp.subject import tokenizer_digest

COLORS = ("red", "green", "blue", "grey")


def make_items(
    tokenizer, count: int, *, questions: int = 2, facts: int = 3, style: Style | None = None, choices: bool = True, seed: int = 0
) -> tuple[list[Item], dict]:
    """Items with their manifest; the same arguments give the same.

    Args:
        questions: on each context. facts: sentences of a context, give or take one. choices: whether items have them.
    """
    style = style or Style(room=8)
    prompts = Prompts(tokenizer, style)
    items = []
    for number in range(count):
        context, place = divmod(number, questions)
        items.append(_item(prompts, Draws(seed, "boxes", context), context, place, facts, choices, seed))
    manifest = {
        "format": FORMAT, "database": "boxes", "tokenizer": {"name": "tiny", "digest": tokenizer_digest(tokenizer)},
        "style": style.as_dict(), "seed": seed, "lengths": [512], "items": count, "sha256": items_sha256(items),
    }  # fmt: skip
    return items, manifest


def _item(prompts: Prompts, draws: Draws, context: int, place: int, facts: int, choices: bool, seed: int) -> Item:
    sentences = [f"Box {number} is {draws.choice(COLORS)}." for number in range(1, facts + draws.below(3))]
    text = "\n".join(sentences)
    color = COLORS[place % len(COLORS)]
    question = f"How many boxes are {color}{', which may be none' * (place % 3)}?"
    count = sum(f" {color}." in one for one in sentences)
    offered = (str(count), str(count + 1), str(count + 2), "many") if choices else None
    draw = f"{context:04d}"
    prompt = prompts.text(text, question)
    return Item(
        id=f"512-{draw}-{place}", context_id=f"512-{draw}", draw=draw, question=question, sql=f"SELECT COUNT(*) FROM boxes WHERE color = '{color}'",
        kind="count", length=512, context=text, prompt_tokens=len(prompts.encode(prompt)), gold=Gold(("count",), ("integer",), ((count,),)),
        choices=offered, correct=0 if choices else None,
        offsets=({"table": "boxes", "row": 0, "characters": [0, len(sentences[0])], "tokens": [2, 9]},),
        placement="uniform", amount=40, density=0.5, asked=0.5, seed=seed, sha256=hashlib.sha256(prompt.encode()).hexdigest(),
    )  # fmt: skip


def model_with_states():
    """A tiny model in float64 whose cache has states of convolutions beside keys and values, so that it cannot be batched with padding."""
    torch.manual_seed(0)
    config = Lfm2Config(
        vocab_size=260, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        full_attn_idxs=[1], block_multiple_of=8, max_position_embeddings=256, bos_token_id=0, eos_token_id=0, pad_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    return Lfm2ForCausalLM(config).double().eval()


def chat_tokenizer():
    """A byte a token, with a chat template whose turns end with the special token 257."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<|turn|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    return tokenizer


def merging_tokenizer():
    """A byte a token, but a colon and a space are one, so that an answer changes the last token of the prompt before it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0, **{letter: number for number, letter in enumerate(alphabet, 1)}, ":Ġ": 257}
    tokenizer = Tokenizer(models.BPE(vocabulary, [(":", "Ġ")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
