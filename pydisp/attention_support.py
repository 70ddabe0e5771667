"""Support: whether the attention of a model can be recorded (`pydisp.attention_recording`), known before anything runs.

support(model)          # Support(is_supported=False, reason="... is a flash attention, which cannot be recorded; choose another ...")
"""

import sys
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AttentionMaskInterface, PreTrainedConfig
from transformers.masking_utils import flash_attention_mask

_RECORDED = ("full_attention", "sliding_attention", "linear_attention")  # of transformers' layer_types; the last has no probabilities
_OTHER = 'choose another, such as model.set_attn_implementation("sdpa").'


@dataclass(frozen=True)
class Support:
    """Whether a model's attention can be recorded; true or false itself.

    Args:
        is_supported: as far as the model's config and classes tell; masks that a caller gives are seen in the forward only.
        reason: if not, why and what to do, in one sentence.
    """

    is_supported: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.is_supported


class ImplementationName(str):
    """The name that a recording puts into the config in place of `implementation` while it runs.

    In a deep copy or a pickle it is `implementation` again: a copy of the model is not recorded, and it may outlive the recording.
    """

    def __new__(cls, name: str, implementation: str):
        made = super().__new__(cls, name)
        made.implementation = implementation
        return made

    def __reduce__(self):  # copies, deep ones too, and pickles
        return str, (self.implementation,)


def support(model: nn.Module) -> Support:
    """Whether `record_attention` can record this model, without running it.

    It is no for an encoder-decoder, attention that does not go through transformers' AttentionInterface (its own code, flash attention,
    an implementation without a mask function), softmax attention of another kind than full and sliding causal, gradient checkpointing in
    training mode, and a model that is being recorded.
    """
    try:
        for config in recordable_configs(model):
            _check_layers(model, config)
    except (TypeError, ValueError) as error:
        return Support(False, str(error).removeprefix("record_attention: "))
    return Support(True)


def support_of_config(config: PreTrainedConfig) -> Support:
    """The same for a causal language model that is not loaded: its modules are made without weights."""
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config).eval()
    except Exception:  # a model of its own code, or one that cannot be made without weights: it is asked when it is loaded
        return Support(True)
    return support(model)


def recordable_configs(model: nn.Module) -> list[PreTrainedConfig]:
    """The configs that name the attention implementation of a model's layers: its text config and the copies that parts of it hold.

    Raises: TypeError without a transformers config; ValueError where a recording could only fail or be wrong.
    """
    if not isinstance(getattr(model, "config", None), PreTrainedConfig):
        raise TypeError(f"record_attention: model is a {type(model).__name__} without a transformers config; give a transformers model.")
    config = model.config.get_text_config(decoder=True)
    _check_model(model, config)
    configs = {id(config): config}
    for module in model.modules():
        own = getattr(module, "config", None)
        if isinstance(own, PreTrainedConfig) and own.model_type == config.model_type:
            configs[id(own)] = own
    for own in configs.values():
        _check_implementation(own._attn_implementation)
    return list(configs.values())


def _check_model(model: nn.Module, config: PreTrainedConfig) -> None:
    if config.is_encoder_decoder:
        raise ValueError(f"record_attention: {type(model).__name__} is an encoder-decoder; only causal language models can be recorded.")
    if model.training and any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        raise ValueError("record_attention: gradient checkpointing runs each layer twice; call model.eval() or model.gradient_checkpointing_disable() first.")  # fmt: skip
    # GPT-2 computes this way only under the name "eager", which the recording's name replaces meanwhile
    if config._attn_implementation == "eager" and any(getattr(module, "reorder_and_upcast_attn", False) for module in model.modules()):
        raise ValueError(
            f"record_attention: {type(model).__name__} has reorder_and_upcast_attn, an eager attention of its own that cannot be recorded; {_OTHER}"
        )


def _check_implementation(name: str) -> None:
    if isinstance(name, ImplementationName):
        raise ValueError(
            "record_attention: this model is being recorded already, or shares its config with a model that is; leave that `with` first."
        )
    if name not in AttentionMaskInterface._global_mapping:
        raise ValueError(f"record_attention: the attention implementation {name!r} has no mask function to read; {_OTHER}")
    # transformers loads the kernels of flash attention by the name in the config, where the recording's name stands meanwhile
    if "flash" in name or AttentionMaskInterface._global_mapping[name] is flash_attention_mask:
        raise ValueError(
            f"record_attention: the attention implementation {name!r} is a flash attention, which cannot be recorded; {_OTHER}"
        )


def _check_layers(model: nn.Module, config: PreTrainedConfig) -> None:
    """What a recording would find out in its first forward."""
    name = type(model).__name__
    unknown = [kind for kind in getattr(config, "layer_types", None) or () if "attention" in kind and kind not in _RECORDED]
    if unknown:
        raise ValueError(f"{name} has layers of the kind {unknown[0]!r}; only full and sliding causal attention can be recorded: take another model.")  # fmt: skip
    attentions = _attentions(model, config)
    both_ways = getattr(config, "use_bidirectional_attention", False) or getattr(config, "is_causal", True) is False
    if both_ways or any(getattr(module, "is_causal", True) is False for module in attentions):
        raise ValueError(f"{name} attends in both directions; only causal language models can be recorded: take another model.")
    if not any("ALL_ATTENTION_FUNCTIONS" in vars(sys.modules[type(module).__module__]) for module in attentions):
        raise ValueError(f"{name} has no attention that goes through transformers' AttentionInterface, which is what can be recorded; take another model.")  # fmt: skip


def _attentions(model: nn.Module, config: PreTrainedConfig) -> list[nn.Module]:
    """The attention modules of the text's layers; a vision tower has a config of its own."""
    found = []
    for module in model.modules():
        own = getattr(module, "config", None)
        is_of_text = not isinstance(own, PreTrainedConfig) or own.model_type == config.model_type
        if "Attention" in type(module).__name__ and is_of_text:
            found.append(module)
    return found
