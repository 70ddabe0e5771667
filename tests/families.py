"""Tiny random models of every family, with random biases and norm gains, and random plans; shared by the tests of surgery."""

import torch
import transformers

from pydisp.indices import IndexSet
from pydisp.plan import AttentionPlan, LayerPlan, MLPPlan, PruningPlan
from pydisp.spec import ModelSpec

_COMMON = dict(
    vocab_size=97,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
_WINDOWED = dict(sliding_window=6, layer_types=["sliding_attention", "full_attention"] * 2)
_OPT = dict(
    vocab_size=97,
    hidden_size=48,
    ffn_dim=80,
    num_hidden_layers=4,
    num_attention_heads=4,
    max_position_embeddings=128,
    dropout=0.1,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
# name -> prefix of the classes and the values that differ; every switch that changes a layer's modules appears at least once.
MODELS = {
    "llama": ("Llama", dict(_COMMON, attention_bias=True, mlp_bias=True)),
    "llama-tied": ("Llama", dict(_COMMON, tie_word_embeddings=True)),
    "mistral": ("Mistral", dict(_COMMON, sliding_window=6)),
    "qwen2": ("Qwen2", dict(_COMMON, use_sliding_window=True, **_WINDOWED)),
    "qwen3": ("Qwen3", dict(_COMMON, head_dim=20, attention_bias=True)),
    "gemma": ("Gemma", dict(_COMMON, head_dim=20)),
    "gemma2": ("Gemma2", dict(_COMMON, head_dim=20, **_WINDOWED)),
    "gemma3_text": ("Gemma3", dict(_COMMON, head_dim=20, **_WINDOWED)),
    "olmo2": ("Olmo2", dict(_COMMON)),
    "phi": ("Phi", dict(_COMMON, qk_layernorm=True, resid_pdrop=0.1)),
    "phi3": ("Phi3", dict(_COMMON, resid_pdrop=0.1)),
    "opt-125m": ("OPT", dict(_OPT)),
    "opt-350m": ("OPT", dict(_OPT, do_layer_norm_before=False, word_embed_proj_dim=32)),
}


def tiny_model(name: str, seed: int = 0, dtype: torch.dtype = torch.float64, **changes):
    """A random model of MODELS in evaluation mode."""
    prefix, values = MODELS[name]
    config_name = "Gemma3TextConfig" if prefix == "Gemma3" else f"{prefix}Config"
    torch.manual_seed(seed)
    config = getattr(transformers, config_name)(**{**values, **changes})
    model = getattr(transformers, f"{prefix}ForCausalLM")(config)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            spread = 0.15 if parameter.ndim == 2 else 0.3
            noise = torch.randn(parameter.shape, generator=generator) * spread
            parameter.copy_(noise if parameter.ndim == 2 else parameter + noise)
    return model.to(dtype).eval()


def random_plan(spec: ModelSpec, seed: int = 0, no_attention: tuple[int, ...] = (), no_mlp: tuple[int, ...] = ()) -> PruningPlan:
    """All five widths different and random in each layer; the blocks named are removed."""
    generator = torch.Generator().manual_seed(seed)

    def pick(size: int, width: int) -> IndexSet:
        return IndexSet(torch.randperm(size, generator=generator)[:width].sort().values.to(torch.int32), size)

    layers = []
    for number in range(len(spec.costs)):
        widths = (torch.randperm(spec.hidden_size // 2, generator=generator)[:4] + spec.hidden_size // 4).tolist()
        middle = int(torch.randint(1, spec.middle_size, (), generator=generator))
        a_in, a_out, m_in, m_out = (pick(spec.hidden_size, w) for w in widths)
        attention = None if number in no_attention else AttentionPlan(a_in, a_out)
        mlp = None if number in no_mlp else MLPPlan(m_in, pick(spec.middle_size, middle), m_out)
        layers.append(LayerPlan(attention, mlp))
    return PruningPlan(spec.family.model_type, spec.hidden_size, spec.middle_size, tuple(layers), spec.digest)
