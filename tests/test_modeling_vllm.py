"""Pruned models in an engine that does what vLLM's Transformers backend does, without vLLM.

It makes the base model with parameters on meta and buffers elsewhere, puts its own linears and RMSNorms in the places of the model's, gives
the parameters that are left memory, loads a checkpoint by names, module by module, and attends by objects of its own, one a layer.
"""

import contextlib
from collections.abc import Iterable, Iterator

import pytest
import torch
from families import MODELS, random_plan, tiny_model
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AutoModel

from pydisp.modeling.feature_index import check_loaded_indices, indices_of
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

IDS = torch.randint(3, 97, (1, 14), generator=torch.Generator().manual_seed(0))


class EngineLinear(nn.Module):
    """No nn.Linear, and its weight appears with its own loader only."""

    def __init__(self, of: nn.Linear):
        super().__init__()
        self.weight = nn.Parameter(torch.full(of.weight.shape, torch.nan), requires_grad=False)
        self.bias = None if of.bias is None else nn.Parameter(torch.full(of.bias.shape, torch.nan), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class EngineRMSNorm(nn.Module):
    def __init__(self, of: nn.Module, offset: float):
        super().__init__()
        self.weight = nn.Parameter(torch.full(of.weight.shape, torch.nan), requires_grad=False)
        self.variance_epsilon, self.offset = vars(of).get("variance_epsilon", vars(of).get("eps")), offset

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.weight + self.offset, self.variance_epsilon)


class EngineAttention:
    """Causal attention of one layer; the engine, not the model, knows its window."""

    def __init__(self, window: int | None):
        self.window, self.calls = window, 0

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, scaling: float, softcap: float | None) -> Tensor:
        self.calls += 1
        key, value = (t.repeat_interleave(query.shape[1] // key.shape[1], 1) for t in (key, value))
        logits = query @ key.transpose(-1, -2) * scaling
        logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
        distance = torch.arange(query.shape[2])[:, None] - torch.arange(query.shape[2])
        hidden = (distance < 0) | (False if self.window is None else distance >= self.window)
        return (logits.masked_fill(hidden, -torch.inf).softmax(-1) @ value).transpose(1, 2)


def attend(module, query, key, value, mask, scaling=None, softcap=None, attention_instances=None, **_) -> tuple[Tensor, None]:
    assert mask is None  # the engine makes its own
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attention_instances[module.layer_idx](query, key, value, scaling, softcap), None


@contextlib.contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Modules made inside put their parameters on meta at once; their buffers stay where they are made."""
    register = nn.Module.register_parameter

    def on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(module, name, parameter)
        if parameter is not None:
            module._parameters[name] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "register_parameter", on_meta)
        yield


def replace_modules(module: nn.Module, offset: float) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, EngineLinear(child))
        elif type(child).__name__.endswith("RMSNorm"):
            setattr(module, name, EngineRMSNorm(child, offset))
        else:
            replace_modules(child, offset)


def load_by_names(module: nn.Module, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
    """Hand each child its weights, without its name; a module with load_weights takes them so, else parameters are written in place."""
    if hasattr(module, "load_weights"):
        return module.load_weights(weights)
    groups, loaded = {}, set()
    for name, tensor in weights:
        child, _, rest = name.partition(".")
        groups.setdefault(child, []).append((rest, tensor))
    parameters, children = dict(module.named_parameters(recurse=False)), dict(module.named_children())
    for child, inner in groups.items():
        if child in children:
            loaded |= {f"{child}.{name}" for name in load_by_names(children[child], inner)}
        else:
            parameters[child].data.copy_(inner[0][1])  # a KeyError: the engine knows no buffers
            loaded.add(child)
    return loaded


def windows(config) -> list[int | None]:
    """What an engine reads in the config: the window of each layer."""
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    window = getattr(config, "sliding_window", None)
    return [window if kind == "sliding_attention" else None for kind in kinds]


@pytest.mark.parametrize("name", MODELS)
def test_the_hidden_states_are_those_of_the_model(name):
    dense = tiny_model(name, dtype=torch.float32)
    spec = ModelSpec.from_model(dense)
    source = prune_model(dense, random_plan(spec, 1, (0,), (2,))).base_model
    checkpoint = source.state_dict()
    AttentionInterface.register("engine_of_a_test", attend)
    config = type(source.config).from_dict(source.config.to_dict())
    config._attn_implementation = "engine_of_a_test"
    with parameters_on_meta():
        model = AutoModel.from_config(config).eval()
    assert type(model) is type(source) and all(p.is_meta for p in model.parameters())
    assert not any(module.index.is_meta for module in indices_of(model).values())
    replace_modules(model, spec.family.norm_offset)
    for module in model.modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            if parameter.is_meta:
                setattr(module, leaf, nn.Parameter(torch.full(parameter.shape, torch.nan), requires_grad=False))
    assert load_by_names(model, checkpoint.items()) == checkpoint.keys()
    check_loaded_indices(model)
    instances = [EngineAttention(window) for window in windows(config)]
    with torch.no_grad():
        states = model(
            input_ids=IDS, position_ids=torch.arange(14)[None], use_cache=False, attention_instances=instances, return_dict=False
        )
        torch.testing.assert_close(states[0], source(input_ids=IDS, use_cache=False).last_hidden_state, atol=1e-4, rtol=1e-4)
    assert sorted(attention.calls for attention in instances) == [0, 1, 1, 1]  # one is removed, each other has an object of its own
