"""Features: what the frozen model says at the labelled positions, computed once; training then needs the model no more.

    features = cached_features(model, labelled, positions, "work/train", vocabulary=V)
    features.hidden, features.lse          # (N, D), (N,)

The model is frozen, so its hidden states and its logits of words do not change while rows learn.
"""

# N positions, D hidden, V words, B texts of a batch, L tokens of the longest

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pydisp.progress import silence
from pydisp.toolken.head import HeadInput
from pydisp.toolken.model_digest import model_digest
from pydisp.toolken.problems.labels import Labelled
from pydisp.toolken.training.array_cache import ArrayCache, batches_of_similar_length, digest_of
from pydisp.toolken.training.positions import Positions

_ROWS_PER_CHUNK = 64  # in float64 a row of 262,144 words takes 2 MiB


@dataclass(frozen=True, eq=False)
class Features:
    """What the model says at N positions; float32 tensors, memory-mapped.

    Args:
        positions: in the order of the rows.
        hidden: (N, D) what the head reads.
        lse: (N,) log-sum-exp of the logits of the V words, after the model's own scale and softcap.
        word_logit: (N,) logit of the position's word; equal to lse where it has none, so that lse - word_logit is 0.
        best_logit: (N,) the largest logit of a word.
    """

    positions: Positions
    hidden: Tensor
    lse: Tensor
    word_logit: Tensor
    best_logit: Tensor

    def __len__(self) -> int:
        return len(self.lse)


def cached_features(
    model: nn.Module,
    labelled: Sequence[Labelled],
    positions: Positions,
    folder: str | os.PathLike,
    *,
    vocabulary: int,
    batch_tokens: int = 2048,
    say: Callable[[str], None] = silence,
    title: str = "hidden states",
) -> Features:
    """One pass over the model; what an earlier pass with the same model, problems and positions left in the folder is used.

    Args:
        model: a causal language model in evaluation mode, without a ToolkenHead.
        vocabulary: V. batch_tokens: the most tokens of a batch, padding counted.
    Raises: Interrupted after a stop request, ValueError for values that are not finite.
    """
    texts, of_text = positions.problem.unique(return_inverse=True)
    lengths = [int(positions.place[of_text == number].max()) for number in range(len(texts))]  # what follows the last position is not read
    members: list[list[int]] = [[] for _ in texts]
    for position, number in enumerate(of_text.tolist()):
        members[number].append(position)
    text_batches = batches_of_similar_length(lengths, batch_tokens)
    batches = [[position for number in batch for position in members[number]] for batch in text_batches]
    ids = [list(labelled[int(problem)].ids[:length]) for problem, length in zip(texts, lengths, strict=True)]
    identity = {
        "model": model_digest(model), "dtype": str(model.dtype), "vocabulary": vocabulary, "batch_tokens": batch_tokens,
        "texts": digest_of(ids), "positions": digest_of(positions.problem, positions.place, positions.word),
    }  # fmt: skip

    def read(items: Sequence[int]) -> dict[str, Tensor]:
        index = torch.tensor(items)
        numbers, rows = of_text[index].unique(return_inverse=True)
        hidden, logits = read_texts(model, [ids[number] for number in numbers.tolist()], rows, positions.place[index] - 1)
        return {"hidden": hidden, **_word_values(logits[:, :vocabulary], positions.word[index])}

    arrays = ArrayCache(folder, identity, len(positions)).filled(batches, read, say=say, title=title)
    return Features(positions, **arrays)


def _word_values(logits: Tensor, word: Tensor) -> dict[str, Tensor]:
    """From (N, V) logits and (N,) words, -1 for none; float64: by float32 sums the mean loss on SmolLM2 was 1e-5 off."""
    lse, word = torch.cat([rows.double().logsumexp(-1) for rows in logits.split(_ROWS_PER_CHUNK)]), word.to(logits.device)
    own = logits.gather(1, word.clamp(min=0)[:, None])[:, 0]
    return {"lse": lse, "word_logit": torch.where(word < 0, lse, own.double()), "best_logit": logits.amax(-1)}


@torch.no_grad()
def read_texts(model: nn.Module, ids: Sequence[Sequence[int]], rows: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """What the head reads, and the logits that the model makes of it, at some tokens of a batch of texts.

    Args:
        ids: of B texts; shorter ones are padded at their end, which a causal model never sees from before.
        rows, places: (N,) the text and the token in it.
    Returns: (N, D) and (N, head's rows), in the model's dtype, on its device.
    """
    longest = max(map(len, ids))
    batch = torch.tensor([[*text, *[text[-1]] * (longest - len(text))] for text in ids])
    kept, columns = places.unique(return_inverse=True)
    arguments = {"use_cache": False}
    if has_keep := "logits_to_keep" in inspect.signature(model.forward).parameters:
        arguments["logits_to_keep"] = kept.to(model.get_input_embeddings().weight.device)
    with HeadInput(model) as head:
        logits = model(input_ids=batch.to(model.get_input_embeddings().weight.device), **arguments).logits
        columns = columns if has_keep else places
        return tuple(values[rows.to(values.device), columns.to(values.device)] for values in (head.hidden, logits))
