"""The second pass: what the head reads after a prefix and the documentation of the best tools, h', for many prefixes; cached on disk.

    hidden = cached_second_states(model, prefixes, documentations, "work/second")      # (M, D)

What is read of a prefix is read once for all documentations that follow it, and a batch holds prefixes of unequal lengths.
"""

# M prefixes with documentation, D hidden, B of a batch

import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pydisp.modeling.cached_model import CachedModel, Past, can_join
from pydisp.progress import silence
from pydisp.toolken.head import HeadInput
from pydisp.toolken.model_digest import model_digest
from pydisp.toolken.training.array_cache import ArrayCache, batches_of_similar_length, digest_of
from pydisp.toolken.training.features import read_texts

Ids = Sequence[int]


def context_tokens(model: nn.Module) -> int:
    """The most tokens of a text, by the config; a very large number where it tells none."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30


def cached_second_states(
    model: nn.Module,
    prefixes: Sequence[Ids],
    documentations: Sequence[Ids],
    folder: str | os.PathLike,
    *,
    batch_tokens: int = 2048,
    say: Callable[[str], None] = silence,
    title: str = "documentation",
) -> Tensor:
    """(M, D) float32, memory-mapped: what the head reads at the last token of each documentation.

    Args:
        model: a causal language model in evaluation mode.
        prefixes, documentations: M of each, none empty. batch_tokens: the most tokens of a batch, padding counted.
    Raises: Interrupted after a stop request, ValueError for values that are not finite.
    """
    lengths = [len(prefix) + len(tail) for prefix, tail in zip(prefixes, documentations, strict=True)]
    identity = {
        "model": model_digest(model), "dtype": str(model.dtype), "batch_tokens": batch_tokens,
        "texts": digest_of([[list(prefix), list(tail)] for prefix, tail in zip(prefixes, documentations, strict=True)]),
    }  # fmt: skip
    if not lengths:
        return torch.empty(0, model.get_input_embeddings().weight.shape[1])
    read = reader_of(model)

    def states(items: Sequence[int]) -> dict[str, Tensor]:
        return {"second": read([prefixes[item] for item in items], [documentations[item] for item in items])}

    cache = ArrayCache(folder, identity, len(lengths))
    return cache.filled(batches_of_similar_length(lengths, batch_tokens), states, say=say, title=title)["second"]


def reader_of(model: nn.Module) -> Callable[[Sequence[Ids], Sequence[Ids]], Tensor]:
    """How a batch is read: with the prefixes in a cache, or, where the model's cache cannot be joined, each text as a whole.

    Raises: ValueError for a model that can be read neither way.
    """
    if can_join(model.config):
        reader = CachedModel(model)
        return lambda prefixes, tails: after_documentation(reader, _read_prefixes(reader, prefixes), tails)
    return lambda prefixes, tails: _read_whole(model, prefixes, tails)


def after_documentation(reader: CachedModel, past: Past, tails: Sequence[Ids]) -> Tensor:
    """(B, D) what the head reads at the last token of each documentation, in the model's dtype; `past` is used up.

    Args:
        past: of B prefixes; give a fork of one that is needed afterwards. tails: their documentations, of any lengths.
    """
    lengths = [len(tail) for tail in tails]
    longest = max(lengths)
    ids = torch.tensor([[*tail, *[tail[-1]] * (longest - len(tail))] for tail in tails])  # what stands behind is not seen from before
    with HeadInput(reader.model) as head:
        reader.read(past, ids, keep=longest - min(lengths) + 1)
        hidden = head.hidden
    columns = torch.tensor([hidden.shape[1] - 1 - (longest - length) for length in lengths], device=hidden.device)
    return hidden[torch.arange(len(tails), device=hidden.device), columns]


def _read_prefixes(reader: CachedModel, prefixes: Sequence[Ids]) -> Past:
    """The past of B prefixes, equal ones read once, those of one length together."""
    unique = sorted(dict.fromkeys(map(tuple, prefixes)), key=len)
    pasts = []
    for length in dict.fromkeys(map(len, unique)):
        group = [prefix for prefix in unique if len(prefix) == length]
        past = reader.start().repeated(1)
        past.lengths = [0] * len(group)  # nothing is read yet, so a batch of any size may begin
        reader.read(past, torch.tensor(group))
        pasts.append(past)
    joined = Past.joined(pasts)
    place = {prefix: number for number, prefix in enumerate(unique)}
    joined.keep_([place[tuple(prefix)] for prefix in prefixes], reader.device)
    return joined


def _read_whole(model: nn.Module, prefixes: Sequence[Ids], tails: Sequence[Ids]) -> Tensor:
    texts = [[*prefix, *tail] for prefix, tail in zip(prefixes, tails, strict=True)]
    places = torch.tensor([len(text) - 1 for text in texts])
    return read_texts(model, texts, torch.arange(len(texts)), places)[0]
