"""plain_model: a dense model with the shapes of a pruned one, to measure the cost of the junctions between its blocks.

It uses the linears of the pruned model (the same modules) between plain slices: a block reads the first K features of the residual stream
through the stock norm of K features, and adds its output in place to the first A. Slices are views, so nothing is gathered, scattered or
copied: no dense model of these shapes does less work. Its outputs mean nothing; only its time and memory do. For inference only.
"""

import copy
from functools import cache

import torch
import transformers
from torch import Tensor, nn

from pydisp.modeling.feature_index import FeatureIndex
from pydisp.modeling.kv_cache import cache_in, keep_slot
from pydisp.spec import FAMILIES, ROWS, BlockNorms, Family, decoder_layers, family_of, stock_layer_class


def _add_(x: Tensor, update: Tensor) -> Tensor:
    x[..., : update.shape[-1]].add_(update)
    return x


class _Plain:
    """The blocks of the stock layer, under the names in `family`; a removed block is None."""

    family: Family
    attention_norms: BlockNorms
    mlp_norms: BlockNorms
    cache_slot: int

    def _attend(self, x: Tensor, **kwargs) -> Tensor:
        return self.self_attn(hidden_states=x, **kwargs)[0]

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation_fn(self.fc1(x))) if self.family.mlp is None else self.mlp(x)

    @property
    def _has_attention(self) -> bool:
        return self.self_attn is not None

    @property
    def _has_mlp(self) -> bool:
        return getattr(self, self.family.mlp_entry.partition(".")[0]) is not None


class _Parallel(_Plain):
    def forward(self, hidden_states: Tensor, **kwargs) -> Tensor:
        x = hidden_states
        if not self._has_attention:
            keep_slot(cache_in(kwargs), self.cache_slot, x)
        if not (self._has_attention or self._has_mlp):
            return x
        norm = getattr(self, self.attention_norms.before)
        normed = norm(x[..., : norm.weight.shape[0]])
        if self._has_attention:
            _add_(x, self._attend(self._part(normed, self.family.attention_reads), **kwargs))
        return _add_(x, self._feed_forward(self._part(normed, self.family.mlp_reads))) if self._has_mlp else x

    def _part(self, normed: Tensor, reads: tuple[str, ...]) -> Tensor:
        return normed[..., : self.get_submodule(reads[0]).in_features]


class _Serial(_Plain):
    def forward(self, hidden_states: Tensor, **kwargs) -> Tensor:
        x, norms = hidden_states, self.attention_norms
        if self._has_attention:
            _add_(x, self._after(self._attend(self._read(x, norms, self.family.attention_reads), **kwargs), norms))
        else:
            keep_slot(cache_in(kwargs), self.cache_slot, x)
        if norms.on_sum is not None:
            x = getattr(self, norms.on_sum)(x)
        norms = self.mlp_norms
        if self._has_mlp:
            _add_(x, self._after(self._feed_forward(self._read(x, norms, self.family.mlp_reads)), norms))
        return x if norms.on_sum is None else getattr(self, norms.on_sum)(x)

    def _read(self, x: Tensor, norms: BlockNorms, reads: tuple[str, ...]) -> Tensor:
        part = x[..., : self.get_submodule(reads[0]).in_features]
        return part if norms.before is None else getattr(self, norms.before)(part)

    def _after(self, update: Tensor, norms: BlockNorms) -> Tensor:
        return update if norms.after is None else getattr(self, norms.after)(update)


@cache
def layer_class(family: Family) -> type:
    """The decoder layer of a family's plain models."""
    attributes = {
        "__module__": __name__,
        "family": family,
        "attention_norms": family.norms("attention"),
        "mlp_norms": family.norms("mlp"),
    }
    forward = _Parallel if family.layout.is_parallel else _Serial
    return type(f"Plain{family.layer_name}", (forward, stock_layer_class(family)), attributes)


def __getattr__(name: str) -> type:
    """The layer classes by name, for unpickling a layer before its class has been made."""
    for family in ROWS:
        if name == f"Plain{family.layer_name}":
            return layer_class(family)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _norm_widths(layer: nn.Module, family: Family) -> dict[str, int]:
    """The width of each norm in the plain model's layer; norms of removed blocks are missing."""
    widths = {}
    for block, read, write in (
        ("attention", family.attention_reads[0], family.attention_write),
        ("mlp", family.mlp_reads[0], family.mlp_write),
    ):
        if getattr(layer, f"{block}_input") is not None:
            before, after, _ = family.norms(block)  # a norm on the sum acts on the whole residual stream
            if before is not None:  # in a parallel layout, one norm serves both blocks
                widths[before] = max(widths.get(before, 0), layer.get_submodule(read).in_features)
            if after is not None:
                widths[after] = layer.get_submodule(write).out_features
    return widths


def _narrower(norm: nn.Module, width: int) -> nn.Module:
    """A copy of a norm for the first `width` features."""
    made = copy.copy(norm)
    made._parameters = {
        name: None if p is None else nn.Parameter(p.detach()[:width].clone(), requires_grad=False) for name, p in norm._parameters.items()
    }
    if isinstance(norm, nn.LayerNorm):
        made.normalized_shape = (width,)
    return made


def plain_model(pruned: nn.Module, dense_config) -> nn.Module:
    """A stock language model with the linears, embeddings and head of `pruned` (shared, not copied), without any index.

    Args:
        pruned: a pruned causal language model, with its weights.
        dense_config: the stock config from which it was pruned.
    Returns: a model for inference in evaluation mode. It changes the output of its embeddings in place, but nothing of `pruned`.
    """
    config = copy.deepcopy(dense_config)
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = list(pruned.config.layer_types)  # decides the slots of the cache
    config._attn_implementation = pruned.config._attn_implementation
    family = family_of(config)
    with torch.device("meta"):
        plain = getattr(transformers, FAMILIES[config.model_type].class_names[2])(config)
    inside = f"{pruned.base_model_prefix}.{family.layers_path}."
    for name, module in pruned.named_modules():
        if name and not name.startswith(inside) and not any(True for _ in module.children()) and not isinstance(module, nn.ModuleList):
            plain.set_submodule(name, module)
    for target, source in zip(decoder_layers(plain, family), decoder_layers(pruned, family), strict=True):
        widths = _norm_widths(source, family)
        for name in dict(target.named_children()):
            if getattr(source, name, None) is None:
                setattr(target, name, None)
            elif name in widths:
                setattr(target, name, _narrower(getattr(source, name), widths[name]))
        for name, module in source.named_modules():
            is_leaf = name and not any(True for _ in module.children()) and not isinstance(module, FeatureIndex)
            if is_leaf and name not in widths:
                target.set_submodule(name, module)
        if target.self_attn is not None:
            target.self_attn.layer_idx = source.cache_slot
        target.cache_slot = source.cache_slot
        target.__class__ = layer_class(family)
    absent = [name for name, tensor in (*plain.named_parameters(), *plain.named_buffers()) if tensor.is_meta]
    assert not absent, absent
    return plain.eval()
