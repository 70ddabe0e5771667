"""The slots of a pruned model's attentions in the KV cache of transformers, which has one slot per layer."""

import inspect
from collections.abc import Sequence

from torch import Tensor, nn
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


def kept_layer_types(layer_types: Sequence[str] | None, has_attention: Sequence[bool]) -> list[str] | None:
    """Attention types for a pruned config: a removed attention takes the type of the first one kept.

    A removed attention has no mask, so its type could be any. With this one, slot 0 of the cache is in use, and transformers reads the
    length of the cache from slot 0.
    """
    if layer_types is None:
        return None
    first = layer_types[list(has_attention).index(True)]
    return [kind if has else first for kind, has in zip(layer_types, has_attention, strict=True)]


def cache_slots(layer_types: Sequence[str] | None, has_attention: Sequence[bool]) -> list[int]:
    """Each layer's slot of the KV cache: layers with an attention take the first slots of their type, the other layers the rest.

    transformers makes one slot per layer, of the layer's type (full or sliding), and reads lengths from the first slots. If an attention
    behind a removed one used the slot of its own number, the first slots would be empty, and positions and masks wrong.
    """
    types = list(layer_types) if layer_types is not None else ["all"] * len(has_attention)
    slots = [0] * len(types)
    for kind in set(types):
        places = [place for place, other in enumerate(types) if other == kind]
        for place, layer in zip(places, sorted(places, key=lambda number: not has_attention[number]), strict=True):
            slots[layer] = place
    return slots


def keep_slot(cache, slot: int, x: Tensor) -> None:
    """Count the tokens of x (B, T, D) in the slot of a removed attention, in place, with keys and values of one head of one zero.

    A dynamic slot that was never updated cannot be cropped or rolled back (a full one before transformers 5.23, a sliding one in any
    version), but assisted generation does both. Slots of other kinds may stay unused.
    """
    slots = getattr(cache, "layers", ())
    if slot < len(slots) and type(slots[slot]) in (DynamicLayer, DynamicSlidingWindowLayer):
        nothing = x.new_zeros(x.shape[0], 1, x.shape[1], 1)
        slots[slot].update(nothing, nothing)


def cache_in(arguments: dict):
    """The KV cache among the keyword arguments of a layer, or None: transformers calls it `cache` from 5.24 on, `past_key_values` before."""
    return arguments.get("cache", arguments.get("past_key_values"))


def cache_argument(model: nn.Module) -> str:
    """The name of the KV cache among the arguments and in the output of a language model."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
