"""plain_model: the dense model of a pruned one's shapes, what its junctions are measured against.

The same linears (the very modules) stand between plain slices: a block reads the first K features of the residual stream through the
stock norm of K features, and adds its output in place to the first A. Slices are views, so nothing is gathered, scattered or copied: no
dense model of these shapes does less. It computes something else, of course; only its time and memory mean anything. Inference only.
"""

import copy
from functools import cache

import torch
import transformers
from torch import Tensor, nn

from pydisp.modeling.layers import FeatureIndex
from pydisp.spec import FAMILIES, Family, decoder_layers, family_of


def _add_(x: Tensor, update: Tensor) -> Tensor:
    x[..., : update.shape[-1]].add_(update)
    return x


class _Plain:
    """The stock layer's blocks, by the names that `family` has for them; a removed block is None."""

    family: Family

    def _attend(self, x: Tensor, norm: nn.Module | None, **kwargs) -> Tensor:
        part = x[..., : self.get_submodule(self.family.attention_reads[0]).in_features]
        return self.self_attn(hidden_states=part if norm is None else norm(part), **kwargs)[0]

    def _feed_forward(self, x: Tensor, norm: nn.Module | None) -> Tensor:
        part = x[..., : self.get_submodule(self.family.mlp_reads[0]).in_features]
        part = part if norm is None else norm(part)
        return self.fc2(self.activation_fn(self.fc1(part))) if self.family.mlp is None else self.mlp(part)

    def _norms(self, names: tuple[str, ...]) -> list[nn.Module]:
        return [getattr(self, name) for name in names]

    @property
    def _has_attention(self) -> bool:
        return self.self_attn is not None

    @property
    def _has_mlp(self) -> bool:
        return getattr(self, self.family.mlp_entry.partition(".")[0]) is not None


class _Sequential(_Plain):
    def forward(self, hidden_states: Tensor, **kwargs) -> Tensor:
        x = hidden_states
        if self._has_attention:
            _add_(x, self._attend(x, *self._norms(self.family.attention_norms), **kwargs))
        return _add_(x, self._feed_forward(x, *self._norms(self.family.mlp_norms))) if self._has_mlp else x


class _Parallel(_Plain):
    def forward(self, hidden_states: Tensor, **kwargs) -> Tensor:
        x = hidden_states
        if not (self._has_attention or self._has_mlp):
            return x
        normed = self.input_layernorm(x[..., : self.input_layernorm.weight.shape[0]])
        if self._has_attention:
            _add_(x, self._attend(normed, None, **kwargs))
        return _add_(x, self._feed_forward(normed, None)) if self._has_mlp else x


class _Sandwich(_Plain):
    def forward(self, hidden_states: Tensor, **kwargs) -> Tensor:
        x = hidden_states
        if self._has_attention:
            before, after = self._norms(self.family.attention_norms)
            _add_(x, after(self._attend(x, before, **kwargs)))
        if self._has_mlp:
            before, after = self._norms(self.family.mlp_norms)
            _add_(x, after(self._feed_forward(x, before)))
        return x


class _OutputNorm(_Plain):
    def forward(self, hidden_states: Tensor, **kwargs) -> Tensor:
        x = hidden_states
        if self._has_attention:
            (after,) = self._norms(self.family.attention_norms)
            _add_(x, after(self._attend(x, None, **kwargs)))
        if self._has_mlp:
            (after,) = self._norms(self.family.mlp_norms)
            _add_(x, after(self._feed_forward(x, None)))
        return x


class _PostNorm(_Plain):
    def forward(self, hidden_states: Tensor, **kwargs) -> Tensor:
        x = hidden_states
        if self._has_attention:
            _add_(x, self._attend(x, None, **kwargs))
        x = self.self_attn_layer_norm(x)
        if self._has_mlp:
            _add_(x, self._feed_forward(x, None))
        return self.final_layer_norm(x)


_LAYOUTS = {"sequential": _Sequential, "parallel": _Parallel, "sandwich": _Sandwich, "output_norm": _OutputNorm, "post_norm": _PostNorm}


@cache
def _layer_class(family: Family, stock: type) -> type:
    return type(f"Plain{stock.__name__}", (_LAYOUTS[family.layout], stock), {"__module__": __name__, "family": family})


def _norm_widths(layer: nn.Module, family: Family) -> dict[str, int]:
    """Features that each norm of a pruned layer sees in the plain one; norms of removed blocks are not there."""
    reads, writes = {}, {}
    for block, read, write in (
        ("attention", family.attention_reads[0], family.attention_write),
        ("mlp", family.mlp_reads[0], family.mlp_write),
    ):
        if getattr(layer, f"{block}_input") is not None:
            reads[block] = layer.get_submodule(read).in_features
            writes[block] = layer.get_submodule(write).out_features
    if family.layout == "parallel":
        return {family.attention_norms[0]: max(reads.values())} if reads else {}
    if family.layout == "post_norm":
        return {}  # they act on the residual stream itself
    names = {"attention": family.attention_norms, "mlp": family.mlp_norms}
    found = {}
    for block in reads:
        before, after = {"sequential": (0, None), "sandwich": (0, 1), "output_norm": (None, 0)}[family.layout]
        if before is not None:
            found[names[block][before]] = reads[block]
        if after is not None:
            found[names[block][after]] = writes[block]
    return found


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
    """A stock language model with the linears, embeddings and head of `pruned` (shared, not copied) and no index anywhere.

    Args:
        pruned: a pruned causal language model, with its weights.
        dense_config: the stock config it came from.
    Returns: a model for inference in evaluation mode. It changes its embeddings' output in place, nothing of `pruned`.
    """
    config = copy.deepcopy(dense_config)
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = list(pruned.config.layer_types)  # the slots of the cache go by it
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
            target.self_attn.layer_idx = source.self_attn.layer_idx
        target.__class__ = _layer_class(family, type(target))
    absent = [name for name, tensor in (*plain.named_parameters(), *plain.named_buffers()) if tensor.is_meta]
    assert not absent, absent
    return plain.eval()
