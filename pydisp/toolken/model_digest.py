"""model_digest: which weights a model has, from a sample of them, so that 7 billion take a moment.

Toolkens read one model's hidden states and mean nothing to another's. The digest is of the names and shapes of all parameters and of all buffers
that are saved with them (quantized weights are buffers), of up to 4,096 values of each, evenly spread and rounded to bfloat16, and of what
the config says about how they are computed with. So one checkpoint in float32 and in bfloat16 has one digest (in float16 it has
another, because its values were rounded before); pruned, adapted, fine-tuned and quantized models have digests of their own.
(`pydisp.spec.model_digest` also tells a float32 checkpoint from its rounding: a plan is made for one of them, toolkens serve both.)
"""

import hashlib
import json

import torch
from torch import Tensor, nn

from pydisp.placement import values

SAMPLED_VALUES = 4096  # of each parameter; a changed model differs nearly everywhere

# Of a config, what changes the hidden states or the logits of the same weights. A list of its own, for the other values of a config (dtype, cache,
# version of the library) change nothing, and each version of transformers adds some.
COMPUTING = (
    "hidden_act", "hidden_activation", "activation_function", "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps",
    "num_attention_heads", "num_key_value_heads", "num_experts_per_tok", "norm_topk_prob", "rope_parameters", "partial_rotary_factor",
    "sliding_window", "use_sliding_window", "layer_types", "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping",
    "logit_scale", "logits_scaling", "lm_head_multiplier", "attention_multiplier", "embedding_multiplier", "residual_multiplier",
    "do_layer_norm_before", "use_parallel_residual", "scale_attn_weights", "scale_attn_by_inverse_layer_idx",
)  # fmt: skip


def model_digest(model: nn.Module) -> str:
    """16 hexadecimal digits; the same on every device, in training and evaluation mode, and with a ToolkenHead attached.

    Args:
        model: any module; parameters that wait on disk are read one after the other.
    """
    digest = hashlib.sha256()
    for name in sorted(name for name, _ in model.named_parameters()):  # a tied matrix counts once
        parameter = values(model, name)
        digest.update(f"{name} {tuple(parameter.shape)}\n".encode())
        digest.update(_sample(parameter).numpy().tobytes())
    for name, buffer in _saved_buffers(model):
        digest.update(f"{name} {tuple(buffer.shape)}\n".encode())
        if not buffer.is_meta:  # one that waits on disk counts by name and shape
            digest.update(_sample(buffer.detach()).numpy().tobytes())
    digest.update(json.dumps(_computing(model), sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def _saved_buffers(model: nn.Module) -> list[tuple[str, Tensor]]:
    found = [
        (f"{path}.{name}" if path else name, buffer)
        for path, module in model.named_modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and name not in module._non_persistent_buffers_set
    ]
    return sorted(found, key=lambda item: item[0])


def _computing(model: nn.Module) -> dict:
    config = getattr(model, "config", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    return {name: _plain(value) for name in COMPUTING if (value := getattr(config, name, None)) is not None}


def _plain(value):
    """The value with all its numbers as floats: 10000 and 10000.0 are one base."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _sample(parameter: Tensor) -> Tensor:
    """(up to SAMPLED_VALUES,) int16 or int64 on the CPU: bits of rounded floats, or whole numbers of packed weights as they are."""
    count = min(parameter.numel(), SAMPLED_VALUES)
    if not count:
        return torch.empty(0, dtype=torch.int64)
    places = torch.arange(count) * (parameter.numel() - 1) // max(count - 1, 1)
    sample = parameter.reshape(-1)[places.to(parameter.device)].cpu()
    return sample.to(torch.bfloat16).view(torch.int16) if sample.is_floating_point() else sample.to(torch.int64)
