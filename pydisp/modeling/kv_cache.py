"""The places of a pruned model's attentions in the KV cache of transformers, which has one slot a layer."""

from collections.abc import Sequence

from torch import Tensor
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


def kept_layer_types(layer_types: Sequence[str] | None, has_attention: Sequence[bool]) -> list[str] | None:
    """Attention types for a pruned config: a removed attention takes the type of the first one kept.

    It has no mask, so its type is free; this one makes slot 0 of the cache, which transformers asks for the length, a slot that is in use.
    """
    if layer_types is None:
        return None
    first = layer_types[list(has_attention).index(True)]
    return [kind if has else first for kind, has in zip(layer_types, has_attention, strict=True)]


def cache_slots(layer_types: Sequence[str] | None, has_attention: Sequence[bool]) -> list[int]:
    """Each layer's slot of the KV cache: those with an attention take the first slots of their type, the others what is left of it.

    transformers makes one slot a layer, each of its layer's type (full or sliding), and reads lengths from the first slots: an
    attention that kept its own number behind a removed one would leave those empty and get wrong positions and masks.
    """
    types = list(layer_types) if layer_types is not None else ["all"] * len(has_attention)
    slots = [0] * len(types)
    for kind in set(types):
        places = [place for place, other in enumerate(types) if other == kind]
        for place, layer in zip(places, sorted(places, key=lambda number: not has_attention[number]), strict=True):
            slots[layer] = place
    return slots


def keep_slot(cache, slot: int, x: Tensor) -> None:
    """Count the tokens of x (B, T, D) in the slot of a removed attention, in place: keys and values of one head of one zero.

    A dynamic slot that was never updated can be neither cropped nor rolled back (a full one before transformers 5.23, a sliding one in
    any), and assisted generation does both. Other kinds of slots may be left unused.
    """
    slots = getattr(cache, "layers", ())
    if slot < len(slots) and type(slots[slot]) in (DynamicLayer, DynamicSlidingWindowLayer):
        nothing = x.new_zeros(x.shape[0], 1, x.shape[1], 1)
        slots[slot].update(nothing, nothing)
