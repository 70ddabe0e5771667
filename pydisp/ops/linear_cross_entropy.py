"""linear_cross_entropy: the loss of every token, a few rows of logits at a time.

    linear_cross_entropy(hidden, lm_head.weight, targets)        # (N, D), (V, D), (N,) -> (N,) nats

The logits of N tokens over V words are never there at once: forward and backward hold `chunk_tokens` rows and the backward makes them
again. The logits' matrix product runs in hidden's dtype, all that follows in float32 (float64 for float64).
"""

# N tokens, D hidden, V vocabulary, C tokens of one chunk

from collections.abc import Iterator

import torch
from torch import Tensor

from pydisp.ops.library import define, wide


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    *,
    softcap: float | None = None,
    ignore_index: int = -100,
    chunk_tokens: int = 1024,
) -> Tensor:
    """-log softmax(hidden @ weight.T + bias)[target], token by token, not reduced.

    Args:
        hidden: (N, D) floating; any strides.
        weight: (V, D) in hidden's dtype; bias: (V,) or None.
        targets: (N,) integers in [0, V), or ignore_index.
        softcap: logits become softcap * tanh(logits / softcap) (Gemma 2), or None.
        chunk_tokens: rows of logits held at a time; memory is about chunk_tokens * V * 4 bytes.
    Returns: (N,) float32 (float64 for float64), nats; 0 where the target is ignore_index. Gradients to hidden, weight and bias, once.
    Raises: ValueError for shapes that do not fit; RuntimeError or IndexError for a target outside [0, V).
    """
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1] or targets.shape != hidden.shape[:1]:
        raise ValueError(
            f"linear_cross_entropy: hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)} and targets {tuple(targets.shape)} "
            "must be (N, D), (V, D) and (N,); flatten batch and tokens first."
        )
    if chunk_tokens < 1:
        raise ValueError(f"linear_cross_entropy: chunk_tokens is {chunk_tokens}; it must be at least 1.")
    return _op(hidden, weight, targets, bias, softcap, ignore_index, chunk_tokens)


def reference(hidden, weight, targets, bias, softcap, ignore_index, chunk_tokens):
    """What linear_cross_entropy means, in plain torch; arguments as there."""
    nll = torch.zeros(hidden.shape[0], dtype=wide(hidden.dtype), device=hidden.device)
    for rows, target, counted in _chunks(targets, ignore_index, chunk_tokens):
        logits = _logits(hidden[rows], weight, bias, softcap)
        at_target = logits.gather(1, target[:, None]).squeeze(1)
        highest = logits.amax(1, keepdim=True)
        # in place: a second buffer of C x V would double the memory this op is there to save
        log_total = logits.sub_(highest).exp_().sum(1).log_() + highest.squeeze(1)
        nll[rows] = torch.where(counted, log_total - at_target, 0)
    return nll


def backward_reference(grad, hidden, weight, targets, bias, softcap, ignore_index, chunk_tokens, needs_hidden, needs_weight, needs_bias):
    """Gradients of linear_cross_entropy to hidden, weight and bias; one that is not needed has no elements."""
    grad_hidden = torch.zeros_like(hidden, memory_format=torch.contiguous_format) if needs_hidden else hidden.new_empty(0)
    accumulator = {"dtype": wide(hidden.dtype), "device": hidden.device}
    grad_weight = torch.zeros(weight.shape if needs_weight else 0, **accumulator)
    grad_bias = torch.zeros(weight.shape[0] if needs_bias else 0, **accumulator)
    for rows, target, counted in _chunks(targets, ignore_index, chunk_tokens):
        grad_logits = _logits(hidden[rows], weight, bias, softcap)
        slope = None if softcap is None else 1 - (grad_logits / softcap).square_()
        grad_logits = grad_logits.sub_(grad_logits.amax(1, keepdim=True)).exp_()
        grad_logits.div_(grad_logits.sum(1, keepdim=True))
        grad_logits.scatter_add_(1, target[:, None], grad_logits.new_full((target.shape[0], 1), -1.0))
        grad_logits.mul_(torch.where(counted, grad[rows], 0)[:, None])
        if slope is not None:
            grad_logits.mul_(slope)
        if needs_bias:
            grad_bias += grad_logits.sum(0)
        grad_logits = grad_logits.to(hidden.dtype)
        if needs_hidden:
            grad_hidden[rows] = grad_logits @ weight
        if needs_weight:
            grad_weight += grad_logits.t() @ hidden[rows]
    return grad_hidden, grad_weight.to(weight.dtype), grad_bias.to(weight.dtype if bias is None else bias.dtype)


def _chunks(targets: Tensor, ignore_index: int, chunk_tokens: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Row slice, int64 targets (0 where ignored) and which tokens count, chunk by chunk."""
    for start in range(0, targets.shape[0], chunk_tokens):
        rows = slice(start, start + chunk_tokens)
        counted = targets[rows] != ignore_index
        yield rows, torch.where(counted, targets[rows], 0).long(), counted


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None) -> Tensor:
    """(C, V) in the wide dtype, a fresh tensor."""
    logits = (hidden @ weight.t()).to(wide(hidden.dtype))
    if bias is not None:
        logits.add_(bias)
    if softcap is not None:
        logits.div_(softcap).tanh_().mul_(softcap)
    return logits


def _fake(hidden, weight, targets, bias, softcap, ignore_index, chunk_tokens):
    return hidden.new_empty(hidden.shape[0], dtype=wide(hidden.dtype))


def _backward_fake(grad, hidden, weight, targets, bias, softcap, ignore_index, chunk_tokens, needs_hidden, needs_weight, needs_bias):
    bias_dtype = weight.dtype if bias is None else bias.dtype
    return (
        hidden.new_empty(hidden.shape if needs_hidden else (0,)),
        weight.new_empty(weight.shape if needs_weight else (0,)),
        weight.new_empty(weight.shape[0] if needs_bias else 0, dtype=bias_dtype),
    )


def _setup_context(ctx, inputs, output):
    hidden, weight, targets, bias, *ctx.settings = inputs
    ctx.save_for_backward(hidden, weight, targets, bias)


def _backward(ctx, grad):
    hidden, weight, targets, bias = ctx.saved_tensors
    needs = (ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.needs_input_grad[3])
    found = _backward_op(grad, hidden, weight, targets, bias, *ctx.settings, *needs)
    grad_hidden, grad_weight, grad_bias = (one if needed else None for one, needed in zip(found, needs, strict=True))
    return grad_hidden, grad_weight, None, grad_bias, None, None, None


_ARGUMENTS = "Tensor hidden, Tensor weight, Tensor targets, Tensor? bias, float? softcap, int ignore_index, int chunk_tokens"
_op = define(
    f"linear_cross_entropy({_ARGUMENTS}) -> Tensor", reference=reference, fake=_fake, backward=_backward, setup_context=_setup_context
)
_backward_op = define(
    f"linear_cross_entropy_backward(Tensor grad, {_ARGUMENTS}, bool needs_hidden, bool needs_weight, bool needs_bias)"
    " -> (Tensor, Tensor, Tensor)",
    reference=backward_reference,
    fake=_backward_fake,
)
