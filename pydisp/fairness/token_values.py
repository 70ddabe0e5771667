"""What a model says about each token of a text, in one pass: loss, rank, entropy, its own first choice and how sure it is of it.

    values = token_values(model, windows)            # (N, T) ids -> each field (N, T - 1)

No logits of a batch are in memory, if the model allows it (see `pydisp.token_nll`).
"""

# B windows, T tokens, D hidden, V words

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pydisp.evaluation import evaluating, windows_per_forward
from pydisp.ops import linear_cross_entropy
from pydisp.progress import Bar, silence
from pydisp.token_nll import before_the_head, is_scored_from_hidden, logits_of

_ROWS_PER_CHUNK = 256  # rows whose logits, or whose rows of the output matrix, are in memory at once


class TokenValues(NamedTuple):
    """Each (N, T - 1): window by window, for each token after the first."""

    nats: np.ndarray  # float32 (float64 for a float64 model): -log p(token)
    first_choice: np.ndarray  # int32: the most likely word
    rank: np.ndarray  # int32: words that are more likely than the token; 0 if it is the first choice
    entropy: np.ndarray  # float32, nats: of the whole distribution
    confidence: np.ndarray  # float32: probability of the first choice


def token_values(
    model: nn.Module, windows: Tensor, *, batch_size: int | None = None, say: Callable[[str], None] = silence, title: str = "score"
) -> TokenValues:
    """Score windows of token ids. The model is in eval mode meanwhile and as before afterwards.

    Args:
        model: any transformers causal language model; it runs on its own device, in its own dtype.
        windows: (N, T) int64.
        batch_size: windows per forward; by default as `pydisp.evaluation` chooses. It changes the result by rounding only.
        say, title: progress lines and the name of the bar.
    Raises: TypeError for a model without logits.
    """
    device = model.get_input_embeddings().weight.device
    parts: list[TokenValues] = []
    bar = Bar(len(windows), say, title=title, unit="window")
    with torch.no_grad(), evaluating(model), bar as show:
        from_hidden = is_scored_from_hidden(model, windows[:1].to(device))
        score = _from_hidden if from_hidden else _from_logits
        batch_size = batch_size or windows_per_forward(model, windows.shape[1], has_logits=not from_hidden)
        for start in range(0, len(windows), batch_size):
            parts.append(_as_arrays(score(model, windows[start : start + batch_size].to(device)), windows.shape[1] - 1))
            show(min(start + batch_size, len(windows)))
    return TokenValues(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _as_arrays(values: tuple[Tensor, ...], width: int) -> TokenValues:
    dtypes = (None, torch.int32, torch.int32, torch.float32, torch.float32)
    columns = (v if dtype is None else v.to(dtype) for v, dtype in zip(values, dtypes, strict=True))
    return TokenValues(*(column.view(-1, width).cpu().numpy() for column in columns))


def _from_hidden(model: nn.Module, input_ids: Tensor) -> tuple[Tensor, ...]:
    hidden, weight, bias, softcap = before_the_head(model, input_ids)
    hidden = hidden[:, :-1].flatten(0, 1)
    targets = input_ids[:, 1:].flatten().to(weight.device)
    loss, lse, entropy, rank, first = linear_cross_entropy(
        hidden, weight, targets, bias, softcap=softcap, return_lse=True, return_entropy=True, return_rank=True, return_argmax=True
    )
    first = first.clamp(max=len(weight) - 1)  # logits of NaN have no first choice
    chunks = zip(hidden.split(_ROWS_PER_CHUNK), first.split(_ROWS_PER_CHUNK), strict=True)
    highest = torch.cat([_logit(rows, weight, bias, softcap, words) for rows, words in chunks])
    # at most 1: the highest logit is summed in another order here than inside the op
    return loss, first, rank, entropy, (highest.to(lse) - lse).exp().clamp(max=1)


def _logit(hidden: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None, words: Tensor) -> Tensor:
    """(R,) the logit of one word for each row of hidden (R, D)."""
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    logit = (hidden.to(wide) * weight[words].to(wide)).sum(1)
    if bias is not None:
        logit = logit + bias[words].to(wide)
    return logit if softcap is None else softcap * torch.tanh(logit / softcap)


def _from_logits(model: nn.Module, input_ids: Tensor) -> tuple[Tensor, ...]:
    logits = logits_of(model, input_ids)[:, :-1].flatten(0, 1)
    targets = input_ids[:, 1:].flatten().to(logits.device)
    chunks = [
        _of_logits(rows if rows.dtype == torch.float64 else rows.float(), words)
        for rows, words in zip(logits.split(_ROWS_PER_CHUNK), targets.split(_ROWS_PER_CHUNK), strict=True)
    ]
    return tuple(torch.cat(column) for column in zip(*chunks, strict=True))


def _of_logits(logits: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    log_probabilities = logits.log_softmax(1)
    at_target = log_probabilities.gather(1, targets[:, None])
    entropy = -(log_probabilities.exp() * log_probabilities).nan_to_num(0.0).sum(1)
    confidence, first = log_probabilities.max(1)
    return -at_target.squeeze(1), first, (log_probabilities > at_target).sum(1), entropy, confidence.exp()
