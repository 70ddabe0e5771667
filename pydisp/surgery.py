"""Surgery: gate a stock model for the search, slice its weights by a plan, and put the slices back between zeros.

One equality tests all three: the pruned logits equal those of the dense model whose pruned weights are set to zero.
"""

import copy
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pydisp.evaluation import evaluating
from pydisp.gates import Gates
from pydisp.generation_config import keep_generation_config_
from pydisp.indices import IndexSet
from pydisp.modeling import classes_of
from pydisp.modeling.config import middle_size, pruned_config, stock_config
from pydisp.modeling.feature_index import INDEX_NAMES
from pydisp.modeling.linear import serve_linears_
from pydisp.placement import values
from pydisp.plan import AttentionPlan, LayerPlan, MLPPlan, PruningPlan
from pydisp.spec import Family, ModelSpec, decoder_layers, family_of


class _GateSlot:
    """Holds the gates of the current step, or None, for the hooks of a gated model."""

    gates: Gates | None = None


@contextmanager
def checkpointed(model: nn.Module, family: Family):
    """Inside the `with`, a backward computes the activations of each layer again, so that only the inputs of the layers are kept.

    The values and the gradients are the same. Unlike `gradient_checkpointing_enable` of transformers this works in evaluation mode, in
    which a search runs. Changes `model` only inside the context.
    """
    layers = list(decoder_layers(model, family))
    own = [vars(layer).get("forward") for layer in layers]  # one that a hook of accelerate has put there
    try:
        for layer in layers:
            # no early stop: what accelerate does after a module must run too
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False, early_stop=False)
        yield
    finally:
        for layer, forward in zip(layers, own, strict=True):
            vars(layer).pop("forward", None)
            if forward is not None:
                layer.forward = forward


@contextmanager
def frozen(model: nn.Module):
    """Inside the `with`, no parameter takes gradients; afterwards those do that did. By names, because accelerate replaces parameters."""
    needed = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for name in needed:
            model.get_parameter(name).requires_grad_(True)


@contextmanager
def gated(model: nn.Module, spec: ModelSpec, *, gradient_checkpointing: bool = False):
    """Multiply the inputs and outputs of the stock projections by gates, with frozen weights in evaluation mode, inside the `with`.

    Yields a function: before each forward, call it with Gates, or with None for the dense model. Changes `model` only inside the context:
    afterwards hooks, `requires_grad` and training mode are as before, even after an error.

    gradient_checkpointing: see `checkpointed`; a backward must then come before the next gates, because it draws on those of its forward.
    """
    slot = _GateSlot()
    handles = []

    def multiply(tensor: Tensor, number: int, name: str) -> Tensor:
        if slot.gates is None:
            return tensor
        return tensor * getattr(slot.gates.layers[number], name).to(tensor)

    def gate_input(number: int, name: str):
        def hook(_module, args, kwargs):
            if "hidden_states" in kwargs:
                return args, {**kwargs, "hidden_states": multiply(kwargs["hidden_states"], number, name)}
            return (multiply(args[0], number, name), *args[1:]), kwargs

        return hook

    def gate_output(number: int, name: str):
        return lambda _module, _args, output: multiply(output, number, name)

    family = spec.family
    try:
        for number, layer in enumerate(decoder_layers(model, family)):
            for module, name in (
                (family.attention, "attention_input"),
                (family.mlp_entry, "mlp_input"),
                (family.mlp_write, "mlp_middle"),
            ):
                hook = gate_input(number, name)
                handles.append(layer.get_submodule(module).register_forward_pre_hook(hook, with_kwargs=True))
            for module, name in ((family.attention_write, "attention_output"), (family.mlp_write, "mlp_output")):
                handles.append(layer.get_submodule(module).register_forward_hook(gate_output(number, name)))

        def use(gates: Gates | None) -> None:
            slot.gates = gates

        region = checkpointed(model, family) if gradient_checkpointing else nullcontext()
        with evaluating(model), frozen(model), region:
            yield use
    finally:
        for handle in handles:
            handle.remove()


def _index_of(kept, copies: int = 1) -> Tensor:
    """(copies * K,) int64: the rows to keep of a matrix that holds `copies` spaces one after the other."""
    index = kept.indices.long()
    return torch.cat([index + copy * kept.size for copy in range(copies)])


def _slices(family: Family, layer: LayerPlan) -> dict[str, tuple[Tensor | None, Tensor | None]]:
    """Kept rows and columns (None: all) of each projection in the blocks that stay, by its name in the layer."""
    kept: dict[str, tuple[Tensor | None, Tensor | None]] = {}
    if layer.attention:
        kept |= {name: (None, _index_of(layer.attention.input)) for name in family.attention_reads}
        kept[family.attention_write] = (_index_of(layer.attention.output), None)
    if layer.mlp:
        middle = _index_of(layer.mlp.middle, family.middle_copies)
        kept |= {name: (middle, _index_of(layer.mlp.input)) for name in family.mlp_reads}
        kept[family.mlp_write] = (_index_of(layer.mlp.output), _index_of(layer.mlp.middle))
    return kept


def _layer_prefix(model: nn.Module, family: Family, number: int) -> str:
    return f"{model.base_model_prefix}.{family.layers_path}.{number}."


@torch.no_grad()
def prune_model(model: nn.Module, plan: PruningPlan, spec: ModelSpec | None = None) -> nn.Module:
    """A new pruned model in evaluation mode, with the slices of the dense model's weights that the plan keeps; `model` is not changed.

    The new model has the dtype and the devices of the dense one; what is offloaded there is in memory here. If that is more than one
    device, `pydisp.placement.placed_like` adds what moves the hidden states between them.

    Raises: ValueError if the plan was made for another model.
    """
    spec = spec or ModelSpec.from_model(model)
    spec.refuse_other(plan)
    family = spec.family
    config = pruned_config(model.config, plan, spec)
    with torch.device("meta"):
        pruned = classes_of(config.model_type)[2](config)
    source = model.state_dict()
    weights = dict(source)

    def tensor_of(key: str) -> Tensor:  # one at a time: what is offloaded may not fit into memory
        return values(model, key) if weights[key].is_meta else weights[key]

    for number, layer in enumerate(plan.layers):
        prefix = _layer_prefix(model, family, number)
        for name, (rows, columns) in _slices(family, layer).items():
            for kind in ("weight", "bias"):
                key = f"{prefix}{name}.{kind}"
                if key in weights:
                    tensor = tensor_of(key)
                    tensor = tensor if rows is None else tensor.index_select(0, rows.to(tensor.device))
                    if kind == "weight" and columns is not None:
                        tensor = tensor.index_select(1, columns.to(tensor.device))
                    weights[key] = tensor.contiguous()
        write = weights[f"{prefix}{family.attention_write}.weight"]  # of a removed block, still that of the dense model
        device = torch.device("cpu") if write.is_meta else write.device
        for name, kept in layer.sets().items():
            if name in INDEX_NAMES and kept is not None:
                weights[f"{prefix}{name}.index"] = kept.indices.clone().to(device)  # clone: equal sets may be the same tensor
    expected = pruned.state_dict().keys()
    # assign: the slices replace the meta tensors. Every parameter of the pruned model must get one; removed blocks have none.
    # Unsliced weights are cloned, because training one model must not change the other.
    whole = {name: tensor_of(name).clone() if weights[name] is source.get(name) else weights[name] for name in expected}
    pruned.load_state_dict(whole, strict=True, assign=True)
    for name, buffer in model.named_buffers():
        if name not in weights and _has_buffer(pruned, name):  # no state dict holds rotary frequencies and embedding scales
            parent, _, leaf = name.rpartition(".")
            pruned.get_submodule(parent)._buffers[leaf] = buffer.clone()
    pruned.tie_weights()
    serve_linears_(pruned)  # now the weights are on their device
    if model.can_generate():
        pruned.generation_config = copy.deepcopy(model.generation_config)
        keep_generation_config_(pruned)
    for parameter in pruned.parameters():
        parameter.requires_grad_(True)
    return pruned.eval()


def _has_buffer(model: nn.Module, name: str) -> bool:
    try:
        model.get_buffer(name)
    except AttributeError:
        return False
    return True


@torch.no_grad()
def mask_dense_(model: nn.Module, plan: PruningPlan) -> nn.Module:
    """Set to zero, in place, every weight and bias of a dense model that the plan prunes. The pruned model must equal the result."""
    family = family_of(model.config)
    for layer, planned in zip(decoder_layers(model, family), plan.layers, strict=True):
        kept = _slices(family, planned)
        for name in (*family.attention_reads, family.attention_write, *family.mlp_reads, family.mlp_write):
            linear = layer.get_submodule(name)
            rows, columns = kept.get(name, (torch.tensor([], dtype=torch.long), None))
            keep = torch.ones_like(linear.weight, dtype=torch.bool)
            if rows is not None:
                keep &= torch.zeros(keep.shape[0], 1, dtype=torch.bool).index_fill_(0, rows, True).to(keep.device)
            if columns is not None:
                keep &= torch.zeros(1, keep.shape[1], dtype=torch.bool).index_fill_(1, columns, True).to(keep.device)
            linear.weight.masked_fill_(~keep, 0)
            if linear.bias is not None and rows is not None:
                linear.bias.masked_fill_(
                    ~torch.zeros_like(linear.bias, dtype=torch.bool).index_fill_(0, rows.to(linear.bias.device), True), 0
                )
    return model


@torch.no_grad()
def to_dense(model: nn.Module) -> nn.Module:
    """The stock model that computes the same function as a pruned model: removed weights are zeros, so there is no speed-up.

    Norms of removed blocks get their initial values; they do not matter, because they then act on zeros.

    Raises: ValueError if `model` is not a pruned model.
    """
    import transformers

    config = stock_config(model.config)
    family = family_of(config)
    dense = transformers.AutoModelForCausalLM.from_config(config, dtype=model.dtype).to(model.device).eval()
    source, target = model.state_dict(), dense.state_dict()
    for number, layer in enumerate(decoder_layers(model, family)):
        prefix = _layer_prefix(model, family, number)
        for name in (*family.attention_reads, family.attention_write, *family.mlp_reads, family.mlp_write):
            for kind in ("weight", "bias"):
                if f"{prefix}{name}.{kind}" in target:
                    target[f"{prefix}{name}.{kind}"].zero_()
        for name, (rows, columns) in _slices(family, _plan_of(layer, family, dense.config)).items():
            for kind in ("weight", "bias"):
                if f"{prefix}{name}.{kind}" in source:
                    part, full = source.pop(f"{prefix}{name}.{kind}"), target[f"{prefix}{name}.{kind}"]
                    r = torch.arange(full.shape[0]) if rows is None else rows
                    c = torch.arange(full.shape[-1]) if columns is None else columns
                    where = (r[:, None], c) if kind == "weight" else (r,)
                    full[tuple(i.to(full.device) for i in where)] = part
    for name, tensor in source.items():
        if name in target:
            target[name].copy_(tensor)
    dense.generation_config = copy.deepcopy(model.generation_config)
    keep_generation_config_(dense)
    return dense


def _plan_of(layer: nn.Module, family: Family, dense_config) -> LayerPlan:
    """The plan of a pruned layer. Its middle features get the first places: their old places are not stored, and not needed."""

    def index_set(name: str) -> IndexSet:
        return IndexSet(getattr(layer, name).index, dense_config.hidden_size)

    attention = AttentionPlan(index_set("attention_input"), index_set("attention_output")) if layer.attention_input is not None else None
    if layer.mlp_input is None:
        return LayerPlan(attention, None)
    width = layer.get_submodule(family.mlp_write).in_features
    middle = IndexSet(torch.arange(width, dtype=torch.int32), middle_size(dense_config))
    return LayerPlan(attention, MLPPlan(index_set("mlp_input"), middle, index_set("mlp_output")))
