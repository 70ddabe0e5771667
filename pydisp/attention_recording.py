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

import math
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import causal_mask_function, sdpa_mask

from pydisp.attention_support import ImplementationName, recordable_configs
from pydisp.ops.attention_mass import MOST_GROUPS, attention_key_mass, attention_mass
from pydisp.ops.library import check_flags, check_number, check_tensors

_PREFIX = "pydisp_recording"
_ROWS = 1024  # rows of a mask that are compared at a time
_UNKNOWN_MASK = (
    "record_attention: an attention mask is none of causal, sliding window and padding (a mask given with four dimensions, "
    "sequences packed into one row, attention in both directions, or the model's own pattern), or the attention implementation makes no "
    "masks and its layers' windows differ; give a padding mask (B, T) or none, under the implementation sdpa or eager."
)


@dataclass
class LayerAttention:
    """The attention of one layer in all forwards of a recording, on the layer's device, in float32 (float64 for a float64 model).

    mass_sum: (B, H, C) probability that the counted queries gave to each group, summed over these queries.
    entropy_sum: (B, H) sum of the entropies of the counted queries' probabilities, in nats.
    queries: (B,) int64, the number of counted queries.
    mass: (B, H, Q, C); entropy, lse, maximum: (B, H, Q); as in ops.AttentionMass, for all Q queries of all forwards in the order of the
        calls, counted or not; None unless per_query.
    key_mass: (B, H, T) probability that the counted queries gave to each position, summed over these queries; None unless per_key.
    self_mass: (B, H, T) the part of it that the position's own query gave; 0 where that query does not count. None unless per_key.
    key_heads: number of key heads; each serves H / key_heads query heads.
    window: the newest positions that a query sees, itself included; None: all. softcap: bound of the logits, or None.
    has_sinks: whether each row's softmax has a learned logit that belongs to no key.
    """

    mass_sum: Tensor
    entropy_sum: Tensor
    queries: Tensor
    key_heads: int
    window: int | None = None
    softcap: float | None = None
    has_sinks: bool = False
    mass: Tensor | None = None
    entropy: Tensor | None = None
    lse: Tensor | None = None
    maximum: Tensor | None = None
    key_mass: Tensor | None = None
    self_mass: Tensor | None = None

    @property
    def kind(self) -> str:
        """What its queries see: "full" or "sliding window"."""
        return "full" if self.window is None else "sliding window"

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
        for name in ("key_mass", "self_mass"):
            if getattr(self, name) is not None:
                setattr(self, name, _longest_sum(getattr(self, name), getattr(other, name)))


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
    per_key: bool
    _numbers: dict[nn.Module, int]
    _layers: dict[int, LayerAttention] = field(default_factory=dict)
    _modules: dict[int, nn.Module] = field(default_factory=dict)
    _sights: list[_Sight] = field(default_factory=list)
    _last: nn.Module | None = None  # that was measured
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
        self._last = None
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
        if self._last is module:  # no forward has begun since: its mask would have been made
            raise ValueError(f"record_attention: {type(module).__name__} attends twice in one forward; only models that attend once a layer can be recorded.")  # fmt: skip
        self._last = module
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
        query, key = query.detach(), key[:, :, :keys].detach()
        seen = dict(window=sight.window, scale=scaling, softcap=softcap, key_mask=real, query_mask=counted)
        groups = _rows(self.groups, batch, sight.first_key, behind, key.device)
        sinks = None if s_aux is None else s_aux.detach()
        measured = attention_mass(query, key, groups, self.num_groups, sinks=sinks, per_query=self.per_query, **seen)
        if counted is None:
            counted = key.new_ones((batch, queries), dtype=torch.bool)
        layer = LayerAttention(
            measured.mass_sum,
            measured.entropy.masked_fill(~counted[:, None], 0).sum(-1),
            counted.sum(-1),
            key_heads=key.shape[1],
            window=sight.window,
            softcap=softcap,
            has_sinks=sinks is not None,
        )
        if self.per_query:
            layer.mass, layer.entropy, layer.lse, layer.maximum = measured.mass, measured.entropy, measured.lse, measured.maximum
        if self.per_key:
            of_keys = attention_key_mass(query, key, measured.lse, **seen)
            of_own = _self_mass(query, key[:, :, keys - queries :], measured.lse, scaling, softcap).masked_fill(~counted[:, None], 0)
            layer.key_mass = nn.functional.pad(of_keys, (sight.first_key, 0))
            layer.self_mass = nn.functional.pad(of_own, (sight.first_query, 0))
        if number in self._layers:
            self._layers[number].add_(layer)
        else:
            self._layers[number] = layer


@contextmanager
def record_attention(
    model: nn.Module,
    groups: Tensor,
    num_groups: int,
    *,
    query_mask: Tensor | None = None,
    per_query: bool = False,
    per_key: bool = False,
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
        per_key: also keep the mass that each key received, from which the mass of any group is a sum.
    Returns: an AttentionRecording. Several forwards accumulate: sums are added and queries appended. So `generate`, which runs the prompt
        and then one token at a time, gives the same sums as one forward over the whole text. The batch size must stay the same.
        Another model that shares the config, and a deep copy of the model made inside the `with`, run as usual and are not recorded.
    Raises: ValueError for an encoder-decoder; for gradient checkpointing in training mode (it would count twice); for a model that is
        being recorded already or shares its config with one that is; for an attention implementation without a mask function, or whose
        code depends on its name (flash attention, eager with reorder_and_upcast_attn); for bad groups; and, during a forward, for masks
        other than causal, window and padding. TypeError for arguments of another type and for a model without a transformers config.
    """
    _check_arguments(groups, num_groups, query_mask, per_query, per_key)
    configs = recordable_configs(model)
    before = [(own, own._attn_implementation) for own in configs]
    modules = dict(model.named_modules())
    numbers = {module: next((int(part) for part in name.split(".") if part.isdigit()), 0) for name, module in modules.items()}
    recording = AttentionRecording(groups, num_groups, query_mask, per_query, per_key, numbers)
    # One name per implementation, because copies of a config may name different ones
    names = {
        implementation: ImplementationName(f"{_PREFIX}_{id(recording):x}_{implementation}", implementation) for _, implementation in before
    }
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


def _check_arguments(groups: Tensor, num_groups: int, query_mask: Tensor | None, per_query: bool, per_key: bool) -> None:
    check_tensors("record_attention", ("query_mask",), groups=groups, query_mask=query_mask)
    for name, given, dtype in (("groups", groups, torch.int64), ("query_mask", query_mask, torch.bool)):
        if given is None:
            continue
        if given.dtype != dtype or given.dim() != 2 or len(given) == 0:
            raise ValueError(f"record_attention: {name} has shape {tuple(given.shape)} and dtype {given.dtype}; it must be (B, T) of {dtype}.")  # fmt: skip
    check_number("record_attention", "num_groups", num_groups, is_whole=True)
    if not 1 <= num_groups <= MOST_GROUPS:
        raise ValueError(f"record_attention: num_groups is {num_groups}; it must be from 1 to {MOST_GROUPS}, the bits of an int64.")
    check_flags("record_attention", per_query=per_query, per_key=per_key)


def _self_mass(query: Tensor, key: Tensor, lse: Tensor, scale: float | None, softcap: float | None) -> Tensor:
    """(B, H, Tq): the probability that each query gives to its own position; the keys are those of the queries' positions."""
    batch, heads, queries, size = query.shape
    grouped = query.to(lse.dtype).unflatten(1, (key.shape[1], -1))  # (B, Hk, H / Hk, Tq, Dh)
    products = torch.einsum("bkgqd,bkqd->bkgq", grouped, key.to(lse.dtype))
    logits = products.reshape(batch, heads, queries) * (size**-0.5 if scale is None else scale)
    if softcap is not None:
        logits = softcap * (logits / softcap).tanh()
    return torch.where(lse == -math.inf, 0, (logits - lse).exp())


def _longest_sum(one: Tensor, other: Tensor) -> Tensor:
    """The sum of two (B, H, T), the shorter one continued with zeros."""
    length = max(one.shape[2], other.shape[2])
    return nn.functional.pad(one, (0, length - one.shape[2])) + nn.functional.pad(other, (0, length - other.shape[2]))


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
