"""A tiny Llama as a GGUF file with a small BPE tokenizer, written as llama.cpp's converter writes one."""

from pathlib import Path

import gguf
import torch
from tokenizers import pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

END, TEMPLATE = "<|endoftext|>", "{% for message in messages %}{{ message['content'] }}{% endfor %}"
MERGES = ["t h", "th e", "Ġ the", "o g"]
TOKENS = [END, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def gguf_llama(seed: int = 0) -> LlamaForCausalLM:
    """Random weights; 261 tokens, hidden size 32, 2 layers, an output matrix of its own."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(TOKENS), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=128, tie_word_embeddings=False, bos_token_id=0, eos_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def tensors_of(model: LlamaForCausalLM) -> dict[str, torch.Tensor]:
    """Weights under llama.cpp's names, queries and keys in its order of rotary pairs."""
    weights, config = model.state_dict(), model.config
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    for n in range(config.num_hidden_layers):
        names |= {f"blk.{n}.{theirs}": f"model.layers.{n}.{ours}" for theirs, ours in _LAYER.items()}
    tensors = {f"{theirs}.weight": weights[f"{ours}.weight"] for theirs, ours in names.items()}
    for name, heads in (("attn_q", config.num_attention_heads), ("attn_k", config.num_key_value_heads)):
        for n in range(config.num_hidden_layers):
            weight = tensors[f"blk.{n}.{name}.weight"]
            halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, weight.shape[1])
            tensors[f"blk.{n}.{name}.weight"] = halves.swapaxes(1, 2).reshape(weight.shape)
    return tensors


def write_gguf(
    path: Path,
    model: LlamaForCausalLM | None = None,
    *,
    kind: str = "F32",
    architecture: str = "llama",
    without: str = "",
    fields=None,
    **extra,
) -> Path:
    """Args: kind: type of the matrices, such as F16 or Q8_0; without: a tensor to leave out; fields: adds some to the writer; extra: tensors to add."""
    model = model or gguf_llama()
    config, writer = model.config, gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    if fields:
        fields(writer)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.CONTROL, *[gguf.TokenType.NORMAL] * (len(TOKENS) - 1)])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(0)
    writer.add_chat_template(TEMPLATE)
    for name, weight in (tensors_of(model) | extra).items():
        if name != without:
            wanted = gguf.GGMLQuantizationType[kind if weight.dim() == 2 else "F32"]
            writer.add_tensor(name, gguf.quants.quantize(weight.float().numpy(), wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
