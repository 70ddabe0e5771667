"""A model that reads on: what it has read stays in a key-value cache, for one text or for a batch of texts of unequal lengths.

    reader = CachedModel(model)
    past = reader.start()
    logits = reader.read(past, prompt[None])                     # (1, 1, V): of the token after the prompt
    both = Past.joined([past, other])                            # a batch; shorter texts are padded at their beginning

A batch is padded before its texts only, never inside one, and padding is never fed to the model, but behind ends of texts (`read_ends`),
where nothing is read on. So every distance between two tokens is that of the text alone, which sliding windows need, and a text in a batch
gives the logits of the text alone but for rounding.
"""

# B texts of a batch, T tokens read at once, V vocabulary

import copy
import inspect
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from pydisp.modeling.kv_cache import cache_argument

_KNOWN = (DynamicLayer, DynamicSlidingWindowLayer)  # keys and values by token; others hold states that padding would change


class Past:
    """What was read of B texts.

    Args:
        cache: of transformers. lengths: tokens of each text.
        slots: of the cache; by default as many as the longest text has tokens. What a text does not need of them is padding before it.
    """

    def __init__(self, cache, lengths: Sequence[int], config, slots: int | None = None):
        self.cache, self.lengths, self.config = cache, list(lengths), config
        self.slots = max(lengths) if slots is None else slots

    def forked(self) -> "Past":
        """The same, to read on without changing this one."""
        if all(type(layer) in _KNOWN for layer in self.cache.layers):
            cache = copy.copy(self.cache)  # these layers make new tensors as they grow, so old ones can be shared
            cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        else:
            cache = copy.deepcopy(self.cache)
        return Past(cache, self.lengths, self.config, self.slots)

    def repeated(self, count: int) -> "Past":
        """A batch of `count` times each text, to read on without changing this one."""
        past = self.forked()
        if count > 1:
            past.cache.batch_repeat_interleave(count)
            past.lengths = [length for length in self.lengths for _ in range(count)]
        return past

    def keep_(self, places: Sequence[int], device: torch.device) -> None:
        """Change the batch to some of its texts."""
        self.cache.batch_select_indices(torch.tensor(places, device=device))
        self.lengths = [self.lengths[place] for place in places]

    @classmethod
    def joined(cls, pasts: Sequence["Past"]) -> "Past":
        """One batch of several pasts, with as many slots as the longest text has tokens; these are used up."""
        config, slots = pasts[0].config, max(length for past in pasts for length in past.lengths)
        if len(pasts) == 1 and pasts[0].slots == slots:
            return pasts[0]
        cache = DynamicCache(config=config)
        for number, layers in enumerate(zip(*(past.cache.layers for past in pasts), strict=True)):
            if layers[0].is_initialized:
                keys, values = (_stacked([getattr(layer, what) for layer in layers], slots) for what in ("keys", "values"))
                cache.update(keys, values, number)  # a sliding layer keeps the last slots of these only, but counts them all
                for layer in layers:
                    layer.keys = layer.values = None  # else all layers would be in memory twice
        return cls(cache, [length for past in pasts for length in past.lengths], config)


def _stacked(tensors: Sequence[Tensor], slots: int) -> Tensor:
    """(B, heads, slots, width), with zeros before the slots that each has, or without the first of them."""
    return torch.cat([pad(one, (0, 0, slots - one.shape[-2], 0)) for one in tensors])  # a negative number of zeros cuts


def can_join(config) -> bool:
    """Whether texts of unequal lengths can be a batch of a model of this config: its cache has nothing but keys and values by token."""
    try:
        return all(type(layer) in _KNOWN for layer in DynamicCache(config=config).layers)
    except (KeyError, TypeError, AttributeError):  # a kind of layer that transformers keeps elsewhere
        return False


class CachedModel:
    """A transformers causal language model in evaluation mode.

    Raises: ValueError if it takes no key-value cache.
    """

    def __init__(self, model: nn.Module):
        self.model, self.cache_name = model, cache_argument(model)
        taken = inspect.signature(model.forward).parameters
        if self.cache_name not in taken:
            raise ValueError(f"{type(model).__name__} takes no key-value cache, so it cannot answer item after item; give another model.")
        self._takes_positions = "position_ids" in taken
        self._takes_keep = "logits_to_keep" in taken
        self.device = model.get_input_embeddings().weight.device

    def start(self) -> Past:
        """Nothing read yet of one text."""
        return Past(DynamicCache(config=self.model.config), [0], self.model.config)

    @torch.inference_mode()
    def read(self, past: Past, ids: Tensor, keep: int = 1) -> Tensor:
        """Read on; `past` is changed.

        Args:
            ids: (B, T) int64, the next tokens of each text.
        Returns: logits (B, keep, V) after each of the last tokens, in the model's dtype.
        """
        tokens = ids.shape[1]
        logits = self._forward(past, ids, keep)
        past.lengths = [length + tokens for length in past.lengths]
        past.slots += tokens
        return logits[:, -keep:]

    @torch.inference_mode()
    def read_ends(self, past: Past, texts: Sequence[Sequence[int]]) -> tuple[Tensor, list[int]]:
        """Read texts of unequal lengths after a past, only for what follows them; `past` is used up.

        The shorter ones are padded behind, where no token of theirs looks, at the position of their last token: a further one might be
        beyond those that the model has.

        Args:
            texts: B texts of one token or more.
        Returns: logits (B, E, V) after the places at which texts end (E different ones), in the model's dtype, and for each text which of
            these is its own.
        """
        longest = max(map(len, texts))
        ids = torch.tensor([[*text, *[text[-1]] * (longest - len(text))] for text in texts])
        ends = sorted({len(text) - 1 for text in texts})
        last = torch.tensor([len(text) - 1 for text in texts], device=self.device)
        logits = self._forward(past, ids, torch.tensor(ends, device=self.device), last)
        if logits.shape[1] != len(ends):  # a model that keeps no choice of logits
            logits = logits[:, ends]
        return logits, [ends.index(len(text) - 1) for text in texts]

    def _forward(self, past: Past, ids: Tensor, keep: int | Tensor, last: Tensor | None = None) -> Tensor:
        """The model's logits; keep: how many at the end, or places, if the model takes a choice; last: (B,) places of the last tokens."""
        lengths = torch.tensor(past.lengths, device=self.device)
        tokens = ids.shape[1]
        arguments = {self.cache_name: past.cache, "use_cache": True}
        if self._takes_positions:
            places = torch.arange(tokens, device=self.device)
            arguments["position_ids"] = lengths[:, None] + (places if last is None else torch.minimum(places, last[:, None]))
        if self._takes_keep:
            arguments["logits_to_keep"] = keep
        if min(past.lengths) < past.slots:
            slots = torch.arange(past.slots + tokens, device=self.device)
            arguments["attention_mask"] = (slots >= past.slots - lengths[:, None]).long()
        return self.model(input_ids=ids.to(self.device), **arguments).logits
