"""Uncached: the plain definition of what rows learn, hidden states anew each time; what cached training is compared with.

losses = uncached_losses(model, labelled, positions, rows, vocabulary)            # (N,)
loss = uncached_epoch(model, labelled, positions, rows, vocabulary, optimizer)    # rows require a gradient
"""

# N positions, V words, T tools

import contextlib
import inspect
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pydisp.toolken.head import ToolkenHead
from pydisp.toolken.problems.labels import Labelled
from pydisp.toolken.training.array_cache import batches_of_similar_length
from pydisp.toolken.training.positions import Positions


def uncached_losses(
    model: nn.Module, labelled: Sequence[Labelled], positions: Positions, rows: Tensor, vocabulary: int, batch_tokens: int = 2048
) -> Tensor:
    """(N,) nats: cross-entropy over V words and T tools from the model's own logits, of the positions in their order; without gradients.

    A position without a known word counts any word.
    """
    losses = torch.empty(len(positions))
    with torch.no_grad():
        for batch in _batches(labelled, positions, batch_tokens):
            where, values = _batch_losses(model, labelled, positions, rows, vocabulary, batch, torch.float64)
            losses[where] = values.float()
    return losses


def uncached_epoch(
    model: nn.Module,
    labelled: Sequence[Labelled],
    positions: Positions,
    rows: Tensor,
    vocabulary: int,
    optimizer: torch.optim.Optimizer,
    *,
    batch_tokens: int = 2048,
) -> float:
    """One epoch as ToolkenGPT trains: a forward of model and rows, a backward to the rows, a step for each batch of texts; changes rows.

    Args:
        rows: (T, D) float32, a leaf that requires a gradient. optimizer: of it. The other arguments as for `cached_features`.
    Returns: the mean loss of the positions, each before its step.
    """
    total = 0.0
    with _frozen(model):
        for batch in _batches(labelled, positions, batch_tokens):
            optimizer.zero_grad(set_to_none=True)
            _, losses = _batch_losses(model, labelled, positions, rows, vocabulary, batch, torch.float32)
            losses.mean().backward()
            optimizer.step()
            total += losses.sum().item()
    return total / len(positions)


def _batches(labelled: Sequence[Labelled], positions: Positions, batch_tokens: int) -> list[list[int]]:
    """Numbers of problems."""
    numbers = positions.problem.unique().tolist()
    batches = batches_of_similar_length([len(labelled[number].ids) for number in numbers], batch_tokens)
    return [[numbers[item] for item in batch] for batch in batches]


def _batch_losses(model, labelled, positions: Positions, rows: Tensor, vocabulary: int, numbers: list[int], dtype) -> tuple[Tensor, Tensor]:
    """Which positions are those of some problems, and their losses; differentiable in the rows."""
    where = torch.isin(positions.problem, torch.tensor(numbers)).nonzero()[:, 0]
    text = torch.tensor([numbers.index(problem) for problem in positions.problem[where].tolist()])
    longest = max(len(labelled[number].ids) for number in numbers)
    ids = torch.tensor([[*labelled[n].ids, *[labelled[n].ids[-1]] * (longest - len(labelled[n].ids))] for n in numbers])
    kept, columns = (positions.place[where] - 1).unique(return_inverse=True)
    device, arguments = model.get_input_embeddings().weight.device, {"use_cache": False}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        arguments["logits_to_keep"] = kept.to(device)
    else:
        columns = kept[columns]
    with ToolkenHead(model, rows, vocabulary):
        logits = model(input_ids=ids.to(device), **arguments).logits
    logits = logits[text.to(logits.device), columns.to(logits.device), : vocabulary + len(rows)]  # without the padding of the head
    logits = logits.to(dtype)
    target, word = (values[where].to(logits.device) for values in (positions.target, positions.word))
    chosen = torch.where(target >= 0, vocabulary + target, word)
    known = cross_entropy(logits, chosen.clamp(min=0), reduction="none")
    any_word = logits.logsumexp(-1) - logits[:, :vocabulary].logsumexp(-1)
    return where, torch.where(chosen >= 0, known, any_word).to(rows.device)


@contextlib.contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """A region in which no weight of the model gets a gradient."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
