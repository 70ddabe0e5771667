"""A tiny Llama with a byte-level tokenizer in a folder, and a text: what tests of whole journeys prune in a second."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEXT = "\n\n".join(
    f"Chapter {n}. The {a} fox of {b} jumps over {n} lazy dogs, and then it {c} home to count them all again."
    for n, (a, b, c) in enumerate(
        (a, b, c) for a in ("quick", "slow", "brown") for b in ("Rome", "Oslo", "Lima") for c in ("walks", "runs", "swims")
    )
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and <|endoftext|> as token 0."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({"<|endoftext|>": 0, **{c: i + 1 for i, c in enumerate(alphabet)}}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end, pad_token=end)


def tiny_llama(seed: int = 0, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """Random weights; 257 tokens, hidden size 32, 3 layers."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=257, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=128, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(dtype).eval()


# A device map of `tiny_llama` with untied embeddings too: a part of it waits on disk.
PARTLY_ON_DISK = {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.norm": "cpu", "lm_head": "cpu", "model.layers.0": "cpu"}
PARTLY_ON_DISK |= {"model.layers.1": "disk", "model.layers.2": "disk"}


def write_model(folder: Path, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> Path:
    tiny_llama(seed, dtype).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def write_text(path: Path) -> Path:
    path.write_text(TEXT)
    return path
