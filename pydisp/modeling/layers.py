"""The decoder layers of the pruned classes: their forwards, and the function that narrows one stock layer.

Each block selects its input features of the residual stream and index-adds its output (DISP-LLM,
https://arxiv.org/abs/2410.11988, Algorithm 1 with the norm before the selection).
"""

from functools import cache

import torch
from torch import Tensor, nn

from pydisp import ops
from pydisp.modeling.feature_index import FeatureIndex
from pydisp.modeling.kv_cache import cache_in, keep_slot
from pydisp.spec import ROWS, SEQUENTIAL, BlockNorms, Family, stock_layer_class


def _as(x: Tensor, update: Tensor) -> Tensor:
    """A block's output in x's dtype: under torch.autocast the block computes in another dtype than the residual stream has."""
    return update if update.dtype is x.dtype else update.to(x.dtype)  # Tensor.to takes 2 us even if there is nothing to do


def _add(x: Tensor, update: Tensor, index: FeatureIndex) -> Tensor:
    """index_add of a block's output into the residual stream."""
    return ops.index_add(x, _as(x, update), index.features)


def _add_to_own(x: Tensor, update: Tensor, index: FeatureIndex) -> Tensor:
    """_add to a tensor that only this layer holds, because it made it: in place if no gradient is needed."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return _add(x, update, index)
    return ops.index_add_(x, _as(x, update), index.features)


def _norm_arguments(norm: nn.Module) -> tuple[Tensor | None, Tensor | None, float, bool] | None:
    """Weight, bias, eps and whether the mean is subtracted; None if the norm has to be called as a module.

    That is so if another module wraps the norm (PEFT's `modules_to_save`, torch.compile), or if its weights are elsewhere until it is
    called (offloading puts them on meta).
    """
    values = vars(norm)
    eps = values["eps"] if "eps" in values else values.get("variance_epsilon")
    if eps is None:
        return None
    weight, is_centered = norm.weight, isinstance(norm, nn.LayerNorm)  # an RMSNorm has no bias
    if weight is not None and weight.is_meta:
        return None
    return weight, norm.bias if is_centered else None, eps, is_centered


class _Layer:
    """The common parts of the layer forwards. D hidden; a removed block is None."""

    norm_offset: float
    family: Family
    attention_norms: BlockNorms
    mlp_norms: BlockNorms
    cache_slot: int  # slot of this layer's attention in the KV cache, also if the attention is removed

    def _norm_select(self, norm: nn.Module, x: Tensor, index: FeatureIndex) -> Tensor:
        arguments = _norm_arguments(norm)
        if arguments is None:
            return ops.index_select(norm(x), index.features)
        weight, bias, eps, center = arguments
        return ops.norm_select(x, weight, bias, index.features, eps, weight_offset=self.norm_offset, center=center)

    def _add_norm_select(
        self, x: Tensor, update: Tensor, add: FeatureIndex, norm: nn.Module, select: FeatureIndex
    ) -> tuple[Tensor, Tensor]:
        arguments = _norm_arguments(norm)
        if arguments is None:
            x = _add(x, update, add)
            # a copy: a hook on the norm may keep x, which the caller may overwrite
            return x, ops.index_select(norm(x.clone()), select.features)
        weight, bias, eps, center = arguments
        offset, update = self.norm_offset, _as(x, update)
        return ops.add_norm_select(x, update, add.features, weight, bias, select.features, eps, weight_offset=offset, center=center)

    def _attend(self, selected: Tensor, **kwargs) -> Tensor:
        update, _ = self.self_attn(hidden_states=selected, **kwargs)
        return self._dropped(update, "resid_attn_dropout", "resid_dropout")

    def _feed_forward(self, selected: Tensor) -> Tensor:
        if self.family.mlp is None:
            return self._dropped(self.fc2(self.activation_fn(self.fc1(selected))))
        return self._dropped(self.mlp(selected), "resid_mlp_dropout", "resid_dropout")

    def _dropped(self, update: Tensor, *modules: str) -> Tensor:
        if not self.training:
            return update
        for name in modules:
            if hasattr(self, name):
                return getattr(self, name)(update)
        # In OPT the layer has the dropout rate; families without residual dropout have none.
        return nn.functional.dropout(update, p=getattr(self, "dropout", 0.0))

    @property
    def _has_attention(self) -> bool:
        return self.self_attn is not None

    @property
    def _has_mlp(self) -> bool:
        return self.mlp_input is not None


class _Sequential(_Layer):
    """A norm before each block and no other: everything between the two blocks (the junction) is one op."""

    def forward(self, hidden_states: Tensor, **kwargs) -> Tensor:
        attention_norm, mlp_norm = getattr(self, self.attention_norms.before), getattr(self, self.mlp_norms.before)
        x = hidden_states
        if self._has_attention:
            selected = self._norm_select(attention_norm, x, self.attention_input)
            update = self._attend(selected, **kwargs)
            if not self._has_mlp:
                return _add(x, update, self.attention_output)
            x, selected = self._add_norm_select(x, update, self.attention_output, mlp_norm, self.mlp_input)
            return _add_to_own(x, self._feed_forward(selected), self.mlp_output)
        keep_slot(cache_in(kwargs), self.cache_slot, x)
        if not self._has_mlp:
            return x
        selected = self._norm_select(mlp_norm, x, self.mlp_input)
        return _add(x, self._feed_forward(selected), self.mlp_output)


class _Parallel(_Layer):
    """Attention and MLP side by side, with one norm: it is taken once at full width, and each block selects from it."""

    def forward(self, hidden_states: Tensor, **kwargs) -> Tensor:
        x = hidden_states
        if not self._has_attention:
            keep_slot(cache_in(kwargs), self.cache_slot, x)
        if not (self._has_attention or self._has_mlp):
            return x
        normed = getattr(self, self.attention_norms.before)(x)
        if self._has_attention:
            update = self._attend(ops.index_select(normed, self.attention_input.features), **kwargs)
            x = _add(x, update, self.attention_output)
            if self._has_mlp:
                x = _add_to_own(x, self._feed_forward(ops.index_select(normed, self.mlp_input.features)), self.mlp_output)
            return x
        return _add(x, self._feed_forward(ops.index_select(normed, self.mlp_input.features)), self.mlp_output)


def _scattered(update: Tensor, index: FeatureIndex, like: Tensor) -> Tensor:
    return _add_to_own(torch.zeros_like(like), update, index)


class _Serial(_Layer):
    """One block after the other, with norms where the flags of the layout say; a norm after a removed block is skipped: it would give 0."""

    def forward(self, hidden_states: Tensor, **kwargs) -> Tensor:
        x, norms = hidden_states, self.attention_norms
        if self._has_attention:
            x = self._joined(x, self._attend(self._read(x, norms, self.attention_input), **kwargs), norms, self.attention_output)
        else:
            keep_slot(cache_in(kwargs), self.cache_slot, x)
        if norms.on_sum is not None:
            x = getattr(self, norms.on_sum)(x)
        norms = self.mlp_norms
        if self._has_mlp:
            x = self._joined(x, self._feed_forward(self._read(x, norms, self.mlp_input)), norms, self.mlp_output)
        return x if norms.on_sum is None else getattr(self, norms.on_sum)(x)

    def _read(self, x: Tensor, norms: BlockNorms, index: FeatureIndex) -> Tensor:
        if norms.before is None:
            return ops.index_select(x, index.features)
        return self._norm_select(getattr(self, norms.before), x, index)

    def _joined(self, x: Tensor, update: Tensor, norms: BlockNorms, index: FeatureIndex) -> Tensor:
        if norms.after is None:
            return _add(x, update, index)
        return x + getattr(self, norms.after)(_scattered(update, index, x))  # this norm has the full width


def _forward_of(family: Family) -> type:
    if family.layout == SEQUENTIAL:
        return _Sequential
    return _Parallel if family.layout.is_parallel else _Serial


@cache
def layer_class(family: Family) -> type:
    """The decoder layer of a family's pruned classes."""
    stock = stock_layer_class(family)
    attributes = {
        "__module__": __name__,
        "__doc__": stock.__doc__,
        "family": family,
        "norm_offset": family.norm_offset,
        "attention_norms": family.norms("attention"),
        "mlp_norms": family.norms("mlp"),
    }
    return type(f"Pydisp{family.layer_name}", (_forward_of(family), stock), attributes)


def __getattr__(name: str) -> type:
    """The layer classes by name, for unpickling a layer before its class has been made."""
    for family in ROWS:
        if name == f"Pydisp{family.layer_name}":
            return layer_class(family)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _replace_linear(layer: nn.Module, name: str, columns: int | None = None, rows: int | None = None) -> None:
    old = layer.get_submodule(name)
    new = nn.Linear(
        columns or old.in_features, rows or old.out_features, bias=old.bias is not None, device=old.weight.device, dtype=old.weight.dtype
    )
    layer.set_submodule(name, new)


def narrow_(layer: nn.Module, family: Family, widths: dict) -> None:
    """Narrow one stock decoder layer, in place, to the widths of `config.pydisp["layers"]`; changes shapes and the class, not values."""
    attention, mlp = widths["attention"], widths["mlp"]
    size = layer.get_submodule(family.attention_reads[0]).in_features
    layer.attention_input = layer.attention_output = layer.mlp_input = layer.mlp_output = None
    if attention:
        for name in family.attention_reads:
            _replace_linear(layer, name, columns=attention["input"])
        _replace_linear(layer, family.attention_write, rows=attention["output"])
        layer.attention_input = FeatureIndex(attention["input"], size)
        layer.attention_output = FeatureIndex(attention["output"], size)
    else:
        for name in (family.attention, *(family.attention_norms if family.layout.norms_leave else ())):
            setattr(layer, name, None)
    if mlp:
        for name in family.mlp_reads:
            _replace_linear(layer, name, columns=mlp["input"], rows=mlp["middle"] * family.middle_copies)
        _replace_linear(layer, family.mlp_write, columns=mlp["middle"], rows=mlp["output"])
        layer.mlp_input = FeatureIndex(mlp["input"], size)
        layer.mlp_output = FeatureIndex(mlp["output"], size)
    else:
        blocks = (family.mlp,) if family.mlp else (*family.mlp_reads, family.mlp_write)
        for name in (*blocks, *(family.mlp_norms if family.layout.norms_leave else ())):
            setattr(layer, name, None)
    if family.layout.is_parallel and not attention and not mlp:
        for name in family.attention_norms:
            setattr(layer, name, None)
    layer.__class__ = layer_class(family)
