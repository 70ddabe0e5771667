"""The models that `prune` and `recover` take in memory, checked before anything long starts.

model = dense_model(model)     # or one sentence on what it is instead
"""

import copy

import torch
from torch import Tensor, nn

from pydisp.modeling import classes_of
from pydisp.placement import refuse_empty
from pydisp.spec import family_of

_REMEDY = "give the plain model: adapters merged, not quantized, no part of it compiled or wrapped."


def dense_model(model, name: str = "model") -> nn.Module:
    """The model to prune, or the teacher of a recovery: the argument itself, or what torch.compile made it of.

    Args:
        name: of the argument, for the message.
    Raises: TypeError for what is no model of transformers; ValueError for one of another family or kind, one with adapters or other
        parts of its own, a quantized one, and one without values.
    """
    import transformers

    model = _uncompiled(model, name)
    family = family_of(model.config)
    _check(model, getattr(transformers, family.class_names[2]), name)
    return model


def pruned_model(model) -> nn.Module:
    """The model to recover: the argument itself, or what torch.compile made it of.

    Raises: as `dense_model`; ValueError for a model that is not pruned.
    """
    model = _uncompiled(model, "model")
    if not getattr(model.config, "pydisp", None):
        raise ValueError(f"this model is a {model.config.model_type}, not a pruned model; prune it first.")
    _check(model, classes_of(model.config.model_type)[2], "model")
    return model


def _uncompiled(model, name: str) -> nn.Module:
    inner = getattr(model, "_orig_mod", model)  # torch.compile(model) is a module around the model, with the same weights
    if isinstance(inner, nn.Module) and type(inner).__module__.startswith("peft."):
        raise ValueError(f"{name} is a {type(inner).__name__}, a model with adapters; give what its merge_and_unload() returns.")
    if not isinstance(inner, nn.Module) or not hasattr(inner, "config") or not hasattr(inner, "get_output_embeddings"):
        wrapped = "; if it wraps a model, give that one (model.module)" if isinstance(inner, nn.Module) else ""
        raise TypeError(f"{name} is a {type(inner).__name__}; give a model in memory that AutoModelForCausalLM loads{wrapped}.")
    return inner


def _check(model: nn.Module, stock: type, name: str) -> None:
    """Refuse a model that is not just what `stock` makes of its config: what a plan does not know of would be lost, or would fail late."""
    if model.get_output_embeddings() is None:
        raise ValueError(f"{name} is a {type(model).__name__}, which gives no logits over words; load it with AutoModelForCausalLM.")
    for key, parameter in model.named_parameters():
        _check_weight(key, parameter, name)
    refuse_empty(model, name)
    with torch.device("meta"):
        wanted = {key: tensor.shape for key, tensor in stock(copy.deepcopy(model.config)).state_dict().items()}
    found = {key: getattr(value, "shape", None) for key, value in model.state_dict().items()}
    for key in [*found, *wanted]:
        if key not in wanted:
            raise ValueError(f"{name} has {key}, which is no part of a {stock.__name__}; {_REMEDY}")
        if key not in found:
            raise ValueError(f"{name} has no {key}, which is a part of each {stock.__name__}; {_REMEDY}")
        if found[key] != wanted[key]:
            raise ValueError(
                f"{name} has {key} of the shape {_shape(found[key])}, its config makes it {_shape(wanted[key])}; "
                "change the config with the weights, as resize_token_embeddings does."
            )


def _check_weight(key: str, parameter: Tensor, name: str) -> None:
    if type(parameter) not in (nn.Parameter, Tensor):  # torchao's quantized weights, DTensor of several processes, ...
        raise ValueError(f"{key} of {name} is a {type(parameter).__name__}, not a plain tensor; load the model whole and unquantized.")
    if parameter.is_inference():
        raise ValueError(f"{name} was made inside torch.inference_mode(), where weights take no gradients; load it outside of it.")


def _shape(shape) -> str:
    return "unknown" if shape is None else " x ".join(map(str, shape))
