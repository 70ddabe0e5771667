"""record_attention: collect attention mass from a transformers model, stock or pruned, without changing its outputs.

    with record_attention(model, groups, num_groups=4) as recording:
        model(input_ids=ids, attention_mask=mask)          # or model.generate(...)
    recording.layers[3].mass_sum                            # (B, H, 4): layer 3, summed over the queries

Inside the `with`, attention still runs through the model's own implementation (sdpa, eager, ...), so the outputs keep their bits; in
addition q and k go through ops.attention_mass. Both are registered with transformers' AttentionInterface and AttentionMaskInterface under
a name that belongs to the recording. Some models branch on the name of the implementation. The known ones are refused (flash attention,
GPT-2's reorder_and_upcast_attn, sparse attention by indices); any other gives the outputs that it gives for an unknown name.
"""

# B batch, H query heads, Tq queries of one forward, T positions, C groups

import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.masking_utils import causal_mask_function, flash_attention_mask, sdpa_mask

from pydisp.ops.attention_mass import MOST_GROUPS, attention_mass
from pydisp.ops.library import check_flags, check_number, check_tensors

_PREFIX = "pydisp_recording"
_ROWS = 1024  # rows of a mask that are compared at a time
_UNKNOWN_MASK = (
    "record_attention: an attention mask is none of causal, sliding window and padding (a mask given with four dimensions, "
    "sequences packed into one row, attention in both directions, or the model's own pattern), or the attention implementation makes no "
    "masks and its layers' windows differ; give a padding mask (B, T) or none, under the implementation sdpa or eager."
)


class _Name(str):
    """The name that a recording puts into the config in place of `implementation` while it runs.

    In a deep copy or a pickle it is `implementation` again: a copy of the model is not recorded, and it may outlive the recording.
    """

    def __new__(cls, name: str, implementation: str):
        made = super().__new__(cls, name)
        made.implementation = implementation
        return made

    def __reduce__(self):  # copies, deep ones too, and pickles
        return str, (self.implementation,)


@dataclass
class LayerAttention:
    """The attention of one layer in all forwards of a recording, on the layer's device, in float32 (float64 for a float64 model).

    mass_sum: (B, H, C) probability that the counted queries gave to each group, summed over these queries.
    entropy_sum: (B, H) sum of the entropies of the counted queries' probabilities, in nats.
    queries: (B,) int64, the number of counted queries.
    mass: (B, H, Q, C); entropy, lse, maximum: (B, H, Q); as in ops.AttentionMass, for all Q queries of all forwards in the order of the
        calls, counted or not; None unless per_query.
    """

    mass_sum: Tensor
    entropy_sum: Tensor
    queries: Tensor
    mass: Tensor | None = None
    entropy: Tensor | None = None
    lse: Tensor | None = None
    maximum: Tensor | None = None

    @property
    def mass_mean(self) -> Tensor:
        """(B, H, C): mean mass of a counted query; NaN if none was counted."""
        return self.mass_sum / self.queries[:, None, None]

    @property
    def entropy_mean(self) -> Tensor:
        """(B, H): mean entropy of a counted query, in nats; NaN if none was counted."""
        return self.entropy_sum / self.queries[:, None]

    def add_(self, other: "LayerAttention") -> None:
        """Add the sums of a later forward, and append its queries."""
        if other.mass_sum.shape != self.mass_sum.shape:
            raise ValueError(
                f"record_attention: a forward has batch size {len(other.mass_sum)}, an earlier one had {len(self.mass_sum)}; "
                "their sums belong to other sequences, so record each batch in a `with` of its own."
            )
        for name in ("mass_sum", "entropy_sum", "queries"):
            # Not in place: tensors made in inference mode must not be changed outside of it
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("mass", "entropy", "lse", "maximum"):
            if getattr(self, name) is not None:
                setattr(self, name, torch.cat([getattr(self, name), getattr(other, name)], 2))


@dataclass(frozen=True)
class _Sight:
    """Which keys the queries of a forward see, as the mask function was told."""

    queries: int
    keys: int
    first_query: int  # positions in the sequence
    first_key: int
    window: int | None
    padding: Tensor | None  # (B, positions) bool, True for real tokens
    is_plain: bool  # False: the mask is none of causal, window and padding
    mask: weakref.ref | None  # what the implementation got; None: no mask was needed

    @property
    def reach(self) -> int:
        """How many keys a query sees at most; windows beyond all keys, and none, are the same."""
        return self.keys if self.window is None else min(self.window, self.keys)


@dataclass
class AttentionRecording:
    """The value that record_attention gives to its `with`; see there."""

    groups: Tensor
    num_groups: int
    query_mask: Tensor | None
    per_query: bool
    _numbers: dict[nn.Module, int]
    _layers: dict[int, LayerAttention] = field(default_factory=dict)
    _modules: dict[int, nn.Module] = field(default_factory=dict)
    _sights: list[_Sight] = field(default_factory=list)
    _held: list[Tensor] = field(default_factory=list)  # the newest forward's masks: generate may hand on a copy and drop what was made

    @property
    def layers(self) -> dict[int, LayerAttention]:
        """A LayerAttention for each decoder layer, by its number; layers whose attention was pruned have none.

        Raises: RuntimeError if nothing was recorded.
        """
        if not self._layers:
            raise RuntimeError(
                "record_attention recorded nothing: run the model inside the `with`; if it did run, its attention does not go through "
                "transformers' AttentionInterface and cannot be recorded."
            )
        return dict(sorted(self._layers.items()))

    def _masked_by(self, implementation: str) -> Callable:
        """The mask function of `implementation`, extended so that it also notes the meaning of its masks."""
        function = AttentionMaskInterface._global_mapping[implementation]

        def mask(**arguments):
            made = function(**arguments)
            self._note(made, **arguments)
            return made

        return mask

    def _note(
        self,
        made,
        *,
        q_length: int,
        kv_length: int,
        q_offset: int | Tensor = 0,
        kv_offset: int | Tensor = 0,
        mask_function: Callable = causal_mask_function,
        attention_mask: Tensor | None = None,
        local_size: int | None = None,
        use_vmap: bool = False,
        batch_size: int = 1,
        device: torch.device | str = "cpu",
        **_others,
    ) -> None:
        first_query, first_key = int(q_offset), int(kv_offset)
        is_plain = local_size is None and mask_function is causal_mask_function
        if not is_plain and not use_vmap:  # use_vmap: the mask function comes from the model or its user
            is_plain = _is_causal_window(mask_function, batch_size, q_length, kv_length, first_query, first_key, local_size, device)
        sight = _Sight(
            q_length,
            kv_length,
            first_query,
            first_key,
            local_size,
            attention_mask,
            is_plain,
            weakref.ref(made) if isinstance(made, Tensor) else None,
        )
        if self._sights and (self._sights[-1].queries, self._sights[-1].first_query) != (q_length, first_query):
            self._held.clear()  # the masks of an earlier forward; within one forward, layers may differ in their keys
        if isinstance(made, Tensor):
            self._held.append(made)
        # Keep the sights whose masks still exist and, where no mask was needed, the newest of each size
        same = (made is None, q_length, kv_length)
        kept = [old for old in self._sights if old.mask is None or old.mask() is not None]
        replaced = [old for old in kept if old.mask is None and (True, old.queries, old.keys) == same]
        if any(old.reach != sight.reach for old in replaced):  # a layer without a mask does not say which of the two applies
            sight = replace(sight, is_plain=False)
        self._sights = [old for old in kept if all(old is not one for one in replaced)] + [sight]

    def _sight(self, mask: Tensor | None, queries: int, keys: int) -> _Sight:
        if mask is None:
            matching = [sight for sight in self._sights if sight.mask is None and (sight.queries, sight.keys) == (queries, keys)]
        else:
            noted = [(sight, sight.mask()) for sight in self._sights if sight.mask is not None]
            matching = [sight for sight, known in noted if known is mask]
            if not matching:  # a copy: offloading copies masks for each layer, generate with a static cache makes them contiguous
                alike = [(sight, known) for sight, known in noted if known is not None and known.shape == mask.shape]
                matching = [sight for sight, known in alike if torch.equal(known, mask.to(known.device))]
        if not matching or not matching[-1].is_plain:
            raise ValueError(_UNKNOWN_MASK)
        return matching[-1]

    def _attended_by(self, implementation: str) -> Callable:
        """The attention function that runs `implementation` and also measures."""

        def attention(module, query, key, value, attention_mask, *args, **kwargs):
            output = _function(module, implementation)(module, query, key, value, attention_mask, *args, **kwargs)
            self._measure(module, query, key, attention_mask, **kwargs)
            return output

        return attention

    def _measure(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None,
        *,
        scaling: float | None = None,
        softcap: float | None = None,
        s_aux: Tensor | None = None,
        position_bias: Tensor | None = None,
        is_causal: bool | None = None,
        cache=None,
        indices: Tensor | None = None,
        block_indices: Tensor | None = None,
        **_others,
    ) -> None:
        number = self._numbers.get(module)
        if number is None:  # another model that shares the config
            return
        # indices: sparse attention makes a mask of them under the names sdpa and eager only
        for name, unknown in (("position_bias", position_bias), ("cache", cache), ("indices", indices), ("block_indices", block_indices)):
            if unknown is not None:
                raise ValueError(f"record_attention: {type(module).__name__} passes {name}, which changes what attention sees and is not recorded; use another model or cache.")  # fmt: skip
        if self._modules.setdefault(number, module) is not module:
            raise ValueError(f"record_attention: layer {number} has two attention modules; only models with one a layer can be recorded.")
        batch, queries = query.shape[0], query.shape[2]
        if is_causal is None:
            is_causal = getattr(module, "is_causal", True)  # transformers decides by this if it made no mask
        if mask is None and queries > 1 and not is_causal:
            raise ValueError(_UNKNOWN_MASK)
        sight = self._sight(mask, queries, key.shape[2])
        keys = sight.first_query + queries - sight.first_key  # a static cache has unused room behind these keys
        behind = sight.first_key + keys
        real = _rows(sight.padding, batch, sight.first_key, behind, key.device)
        counted = _rows(self.query_mask, batch, sight.first_query, behind, key.device)
        if real is not None:
            counted = real[:, -queries:] if counted is None else counted & real[:, -queries:]
        measured = attention_mass(
            query.detach(),
            key[:, :, :keys].detach(),
            _rows(self.groups, batch, sight.first_key, behind, key.device),
            self.num_groups,
            window=sight.window,
            scale=scaling,
            softcap=softcap,
            sinks=None if s_aux is None else s_aux.detach(),
            key_mask=real,
            query_mask=counted,
            per_query=self.per_query,
        )
        if counted is None:
            counted = key.new_ones((batch, queries), dtype=torch.bool)
        layer = LayerAttention(measured.mass_sum, measured.entropy.masked_fill(~counted[:, None], 0).sum(-1), counted.sum(-1))
        if self.per_query:
            layer.mass, layer.entropy, layer.lse, layer.maximum = measured.mass, measured.entropy, measured.lse, measured.maximum
        if number in self._layers:
            self._layers[number].add_(layer)
        else:
            self._layers[number] = layer


@contextmanager
def record_attention(
    model: nn.Module, groups: Tensor, num_groups: int, *, query_mask: Tensor | None = None, per_query: bool = False
) -> Iterator[AttentionRecording]:
    """Record the attention of every forward of `model` inside the `with`; afterwards the model is as before, even after an error.

    Args:
        model: a transformers causal language model, stock or pruned, or the part of it that holds the layers; it runs eagerly. The
            recorded probabilities are those before dropout, with the model's own sliding windows, softcaps, sinks, grouped heads and
            padding. A padded position (in the attention_mask (B, T) of the model, on any side) is neither a key nor a counted query.
        groups: (B, T) int64; bit c is set if the position is in group c. Positions count from the start of the sequence, including padding
            and tokens in the KV cache. Positions from T on (generated tokens) are in no group; positions not reached yet count later.
            One row serves every sequence; B rows serve a batch of n B sequences (beams, several answers) n times each, in their order.
        num_groups: C, from 1 to 64.
        query_mask: (B, T) bool, rows as in groups: only positions that are True count as queries, none from T on. By default all count.
        per_query: also keep each query's mass, entropy, lse and maximum.
    Returns: an AttentionRecording. Several forwards accumulate: sums are added and queries appended. So `generate`, which runs the prompt
        and then one token at a time, gives the same sums as one forward over the whole text. The batch size must stay the same.
        Another model that shares the config, and a deep copy of the model made inside the `with`, run as usual and are not recorded.
    Raises: ValueError for an encoder-decoder; for gradient checkpointing in training mode (it would count twice); for a model that is
        being recorded already or shares its config with one that is; for an attention implementation without a mask function, or whose
        code depends on its name (flash attention, eager with reorder_and_upcast_attn); for bad groups; and, during a forward, for masks
        other than causal, window and padding. TypeError for arguments of another type and for a model without a transformers config.
    """
    if not isinstance(getattr(model, "config", None), PreTrainedConfig):
        raise TypeError(f"record_attention: model is a {type(model).__name__} without a transformers config; give a transformers model.")
    config = model.config.get_text_config(decoder=True)
    _check_arguments(groups, num_groups, query_mask, per_query)
    _check_model(model, config)
    modules = dict(model.named_modules())
    numbers = {module: next((int(part) for part in name.split(".") if part.isdigit()), 0) for name, module in modules.items()}
    configs = {id(config): config}  # parts of a model may hold copies
    for module in modules.values():
        own = getattr(module, "config", None)
        if isinstance(own, PreTrainedConfig) and own.model_type == config.model_type:
            configs[id(own)] = own
    before = [(own, own._attn_implementation) for own in configs.values()]
    for _, implementation in before:
        if isinstance(implementation, _Name):
            raise ValueError(
                "record_attention: this model is being recorded already, or shares its config with a model that is; leave that `with` first."
            )
        if implementation not in AttentionMaskInterface._global_mapping:
            raise ValueError(
                f"record_attention: the attention implementation {implementation!r} has no mask function to read; "
                'choose another, such as model.set_attn_implementation("sdpa").'
            )
        # transformers loads the kernels of flash attention by the name in the config, where the recording's name stands meanwhile
        if "flash" in implementation or AttentionMaskInterface._global_mapping[implementation] is flash_attention_mask:
            raise ValueError(
                f"record_attention: the attention implementation {implementation!r} is a flash attention, which cannot be recorded; "
                'choose another, such as model.set_attn_implementation("sdpa").'
            )
    recording = AttentionRecording(groups, num_groups, query_mask, per_query, numbers)
    # One name per implementation, because copies of a config may name different ones
    names = {implementation: _Name(f"{_PREFIX}_{id(recording):x}_{implementation}", implementation) for _, implementation in before}
    try:
        for implementation, name in names.items():
            AttentionInterface.register(name, recording._attended_by(implementation))
            AttentionMaskInterface.register(name, recording._masked_by(implementation))
        for own, implementation in before:
            own._attn_implementation_internal = names[implementation]
        yield recording
    finally:
        for own, implementation in before:
            own._attn_implementation_internal = implementation
        for name in names.values():
            AttentionInterface._global_mapping.pop(name, None)
            AttentionMaskInterface._global_mapping.pop(name, None)
        recording._sights.clear()
        recording._held.clear()


def _check_arguments(groups: Tensor, num_groups: int, query_mask: Tensor | None, per_query: bool) -> None:
    check_tensors("record_attention", ("query_mask",), groups=groups, query_mask=query_mask)
    for name, given, dtype in (("groups", groups, torch.int64), ("query_mask", query_mask, torch.bool)):
        if given is None:
            continue
        if given.dtype != dtype or given.dim() != 2 or len(given) == 0:
            raise ValueError(f"record_attention: {name} has shape {tuple(given.shape)} and dtype {given.dtype}; it must be (B, T) of {dtype}.")  # fmt: skip
    check_number("record_attention", "num_groups", num_groups, is_whole=True)
    if not 1 <= num_groups <= MOST_GROUPS:
        raise ValueError(f"record_attention: num_groups is {num_groups}; it must be from 1 to {MOST_GROUPS}, the bits of an int64.")
    check_flags("record_attention", per_query=per_query)


def _check_model(model: nn.Module, config: PreTrainedConfig) -> None:
    if config.is_encoder_decoder:
        raise ValueError(f"record_attention: {type(model).__name__} is an encoder-decoder; only causal language models can be recorded.")
    if model.training and any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        raise ValueError("record_attention: gradient checkpointing runs each layer twice; call model.eval() or model.gradient_checkpointing_disable() first.")  # fmt: skip
    # GPT-2 computes this way only under the name "eager", which the recording's name replaces meanwhile
    if config._attn_implementation == "eager" and any(getattr(module, "reorder_and_upcast_attn", False) for module in model.modules()):
        raise ValueError(
            f"record_attention: {type(model).__name__} has reorder_and_upcast_attn, an eager attention of its own that cannot be recorded; "
            'choose another implementation, such as model.set_attn_implementation("sdpa").'
        )


def _rows(given: Tensor | None, batch: int, start: int, stop: int, device: torch.device) -> Tensor | None:
    """Columns start to stop of (B, T) values as (batch, stop - start): 0 from T on, rows repeated to fill the batch."""
    if given is None:
        return None
    if batch % len(given):
        raise ValueError(f"record_attention: groups or query_mask has {len(given)} rows for a batch of {batch}; give one row, or one for each sequence.")  # fmt: skip
    part = given[:, start:stop].to(device)
    part = nn.functional.pad(part, (0, stop - start - part.shape[1]))
    return part.repeat_interleave(batch // len(given), 0)


def _is_causal_window(
    mask_function: Callable,
    batch: int,
    queries: int,
    keys: int,
    first_query: int,
    first_key: int,
    window: int | None,
    device: torch.device | str,
) -> bool:
    """Whether a mask function is causal with this window and nothing else, for these positions.

    device: the one on which transformers calls the function; tensors that the function holds are there.
    """
    key = torch.arange(first_key, first_key + keys, device=device)
    for start in range(0, queries, _ROWS):
        count = min(_ROWS, queries - start)
        query = torch.arange(first_query + start, first_query + start + count, device=device)[:, None]
        expected = key <= query if window is None else (key <= query) & (key > query - window)
        seen = sdpa_mask(batch, count, keys, first_query + start, first_key, mask_function, allow_is_causal_skip=False, device=device)
        if not bool((seen == expected).all()):
            return False
    return True


def _function(module: nn.Module, implementation: str) -> Callable:
    """The function that transformers would call for `implementation`; each model's own file defines its eager attention."""
    for kind in type(module).__mro__:
        source = sys.modules.get(kind.__module__)
        eager = getattr(source, "eager_attention_forward", None)
        if eager is not None:
            return getattr(source, "ALL_ATTENTION_FUNCTIONS", AttentionInterface()).get_interface(implementation, eager)
    if implementation == "eager":
        raise ValueError(f'record_attention: the eager attention of {type(module).__name__} was not found; use model.set_attn_implementation("sdpa").')  # fmt: skip
    return AttentionInterface._global_mapping[implementation]
