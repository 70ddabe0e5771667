"""How well a causal language model predicts a text: nats per token over windows that do not overlap.

    loss = evaluate_text(model, tokenize(text, tokenizer), context_tokens=256)
    print(loss.perplexity, loss.bits_per_byte)

`text.py` says how a text becomes windows. Perplexity depends on the tokenizer, on the length of the context and on the
beginning-of-text rule, so a figure is stated with its `context_tokens`; bits per byte can be compared between tokenizers.
"""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from pydisp.text import Tokens

_MOST_LOGITS = 2**26  # of one forward when no batch size is given: 256 MiB in float32
_ROWS_PER_CHUNK = 1024


@dataclass(frozen=True)
class TextLoss:
    """What a model loses on a text.

    Args:
        nats_per_token: mean negative log-likelihood of a target.
        standard_error: of nats_per_token, from the spread between windows; None for a single window.
        tokens: targets scored, context_tokens - 1 in each window.
        context_tokens: length of a window.
        bits_per_byte: nats_per_token x (tokens of the whole text without the beginning-of-text token / its bytes) / ln 2.
    """

    nats_per_token: float
    standard_error: float | None
    tokens: int
    context_tokens: int
    bits_per_byte: float

    @property
    def perplexity(self) -> float:
        """exp(nats_per_token); infinite where that is no float64."""
        return math.exp(self.nats_per_token) if self.nats_per_token < 709 else math.inf


def evaluate_text(
    model: nn.Module, tokens: Tokens, context_tokens: int, *, batch_size: int | None = None, progress: bool = False
) -> TextLoss:
    """Score all windows; the model is in eval mode meanwhile and afterwards as it was.

    Args:
        model: any transformers causal language model; it runs where it is, in its own dtype. The loss is taken in float32 (float64
            for a float64 model) and summed in float64.
        tokens: the text under the model's own tokenizer.
        context_tokens: tokens a window, at most the positions of the model.
        batch_size: windows a forward; without it, as many as give 2**26 logits. It changes the result by rounding only.
        progress: show a bar, if stderr is a terminal.
    Raises: ValueError for a text shorter than one window, a context longer than the model's, token ids outside the model's
        vocabulary, a batch size below 1, and a loss that is not finite (it names the window).
    """
    windows = tokens.windows(context_tokens)
    vocabulary = model.get_input_embeddings().num_embeddings
    _check(model, windows, vocabulary, batch_size)
    if batch_size is None:
        batch_size = max(1, _MOST_LOGITS // (context_tokens * vocabulary))
    shown = progress and sys.stderr.isatty()
    with evaluating(model), tqdm(total=len(windows), desc="evaluate", unit="window", disable=not shown, leave=False) as bar:
        means = torch.empty(len(windows), dtype=torch.float64)
        for start in range(0, len(windows), batch_size):
            batch = windows[start : start + batch_size]
            means[start : start + batch_size] = _window_nats(model, batch) / (context_tokens - 1)
            _check_finite(means[: start + len(batch)], tokens.name, len(windows))
            bar.update(len(batch))
    mean = means.mean().item()
    return TextLoss(
        nats_per_token=mean,
        standard_error=means.std().item() / math.sqrt(len(means)) if len(means) > 1 else None,
        tokens=len(means) * (context_tokens - 1),
        context_tokens=context_tokens,
        bits_per_byte=mean * tokens.tokens_per_byte / math.log(2),
    )


def _check(model: nn.Module, windows: Tensor, vocabulary: int, batch_size: int | None) -> None:
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be 1 or more.")
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and windows.shape[1] > positions:
        raise ValueError(f"a context of {windows.shape[1]} tokens was asked for, the model has {positions} positions; ask for fewer.")
    if windows.max() >= vocabulary:
        raise ValueError(
            f"token id {int(windows.max())} is outside the model's vocabulary of {vocabulary}; tokenize with the model's own tokenizer."
        )


def _check_finite(means: Tensor, name: str, count: int) -> None:
    if not means.isfinite().all():
        window = int((~means.isfinite()).nonzero()[0])
        raise ValueError(
            f"{name}: the loss of window {window + 1} of {count} is {means[window].item()}; "
            "check the weights, or run in float32 if the model runs in half precision."
        )


@torch.no_grad()
def _window_nats(model: nn.Module, batch: Tensor) -> Tensor:
    """(B,) float64 on the CPU: the summed negative log-likelihood of each window's targets."""
    batch = batch.to(model.get_input_embeddings().weight.device)
    logits = model(input_ids=batch, use_cache=False).logits[:, :-1].flatten(0, 1)
    targets = batch[:, 1:].flatten().to(logits.device)
    chunks = zip(logits.split(_ROWS_PER_CHUNK), targets.split(_ROWS_PER_CHUNK), strict=True)
    nats = torch.cat([_cross_entropy(rows, row_targets) for rows, row_targets in chunks])
    return nats.view(len(batch), -1).double().sum(1).cpu()


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    exact = logits if logits.dtype == torch.float64 else logits.float()
    return nn.functional.cross_entropy(exact, targets, reduction="none")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; every module gets its own mode back, whatever happens."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
