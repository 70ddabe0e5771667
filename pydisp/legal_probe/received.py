"""Received: the attention that each token of a text received in each head, exactly and in memory linear in the tokens.

    for number, received in receive(model, [ids_1, ids_2]):
        received.mass[:, 3:7].sum(1)          # (G,): what the tokens 3 to 6 received in each of the G heads

Any set of tokens is a sum of columns, so a thousand spans cost one forward.
"""

# G heads of all layers, T tokens, B texts of a batch

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pydisp.attention_recording import LayerAttention, record_attention
from pydisp.evaluation import evaluating

BATCH_TOKENS = 4096  # padding included


@dataclass(frozen=True)
class LayerFacts:
    """A layer of the model that has attention.

    Args:
        layer, heads, key_heads: its number, and how many query and key heads it has.
        kind: "full" or "sliding window". window: its length in tokens; None: none.
    """

    layer: int
    heads: int
    key_heads: int
    kind: str
    window: int | None


@dataclass(frozen=True, eq=False)
class Received:
    """What the tokens of one text received.

    Args:
        mass: (G, T) float32, of all queries; the heads of the first layer come first. own: (G, T) float32, the part that is of the token's
            own query.
        entropy: (G,) float64, mean entropy of a query's probabilities, in nats.
        layers: of the G heads.
    """

    mass: np.ndarray
    own: np.ndarray
    entropy: np.ndarray
    layers: tuple[LayerFacts, ...]

    @property
    def sink(self) -> np.ndarray:
        """(G,): the share of all attention that the first token received."""
        total = self.mass.sum(1, dtype=np.float64)
        return np.divide(self.mass[:, 0], total, out=np.zeros(len(total)), where=total > 0)


def receive(
    model: nn.Module, texts: Sequence[np.ndarray], *, padding_id: int = 0, batch_tokens: int = BATCH_TOKENS, name: str = "the model"
) -> Iterator[tuple[int, Received]]:
    """Run a causal language model on texts, short ones first and some at a time, and yield the number of each text with what it received.

    Args:
        texts: token ids, (T,) integers each, of any lengths of 1 or more.
        padding_id: stands behind shorter texts of a batch and is never attended to.
        batch_tokens: most tokens of a forward; a longer text runs alone. name: of the model, for messages.
    Raises: ValueError as `record_attention` does, if the model cannot be recorded, or if a probability is NaN.
    """
    for numbers in _batches([len(one) for one in texts], batch_tokens):
        layers = _recorded(model, [texts[number] for number in numbers], padding_id)
        facts = tuple(LayerFacts(number, one.key_mass.shape[1], one.key_heads, one.kind, one.window) for number, one in layers.items())
        for row, number in enumerate(numbers):
            length = len(texts[number])
            mass, own = (
                torch.cat([getattr(layer, name)[row, :, :length] for layer in layers.values()]).float().cpu().numpy()
                for name in ("key_mass", "self_mass")
            )
            entropy = torch.cat([layer.entropy_mean[row] for layer in layers.values()]).double().cpu().numpy()
            if not np.isfinite(mass).all():
                raise ValueError(f"the attention of {name} is NaN on a passage; its weights are damaged or its dtype is too small.")
            yield number, Received(mass, own, entropy, facts)


def _recorded(model: nn.Module, texts: Sequence[np.ndarray], padding_id: int) -> dict[int, LayerAttention]:
    """The attention of each layer in one forward of a batch, padded on the right."""
    device = model.get_input_embeddings().weight.device
    decoder = model.base_model if hasattr(model, "base_model") else model  # without the logits, which nothing here reads
    lengths = torch.tensor([len(one) for one in texts])
    ids = torch.full((len(texts), int(lengths.max())), padding_id, dtype=torch.int64)
    for row, one in enumerate(texts):
        ids[row, : len(one)] = torch.as_tensor(one, dtype=torch.int64)
    is_real = torch.arange(ids.shape[1]) < lengths[:, None]
    padded = {} if bool(is_real.all()) else {"attention_mask": is_real.long().to(device)}
    no_groups = torch.zeros(1, ids.shape[1], dtype=torch.int64)
    with evaluating(model), torch.no_grad(), record_attention(model, no_groups, 1, per_key=True) as recording:
        decoder(input_ids=ids.to(device), use_cache=False, **padded)
    return recording.layers


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Numbers of texts that run together: of similar lengths, at most so many tokens with their padding."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: (lengths[number], number)):
        if batch and (len(batch) + 1) * lengths[number] > batch_tokens:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
