"""The loss of a model that learns from another: how far its distribution of the next word is from the teacher's, without logits in memory.

    loss = distillation_loss(hidden, head.weight, teacher_hidden, teacher_head.weight)        # (N, D), (V, D), (N, D'), (V, D') -> scalar
    loss.backward()

The logits of 4 windows of 1,024 tokens and 49,152 words are 768 MiB for each of the two models. Here they exist for a few tokens at a time,
and the gradient of these tokens is taken while they do: the backward only scales it. So one pass over the head serves both.
Knowledge distillation: Hinton, Vinyals, Dean, https://arxiv.org/abs/1503.02531, section 2, at temperature 1.
"""

# N tokens, D hidden of the student, E hidden of the teacher, V words, R tokens of one block

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pydisp.ops.library import FLOATS, wide

BLOCK_BYTES = 64 << 20  # for all that is as wide as the vocabulary, at a time
_WIDE_VALUES = 4  # for a token and a word: both logits, the teacher's probability, a product; with a softcap one more
_WIDENED_VALUES = 1 << 20  # so many 16-bit weights are made float32 at a time: 4 MiB


class Head(NamedTuple):
    """The matrix of a model that turns hidden states (N, D) into logits: weight (V, D), bias (V,), and the cap of the logits."""

    weight: Tensor
    bias: Tensor | None = None
    softcap: float | None = None


def distillation_loss(
    hidden: Tensor, head: Head, teacher_hidden: Tensor, teacher_head: Head, targets: Tensor | None = None, *, cross_entropy: float = 0.0
) -> Tensor:
    """Mean over the tokens of (1 - cross_entropy) * KL(teacher || student) + cross_entropy * (loss of the target under the student).

    Args:
        hidden: (N, D) last hidden states of the student, of any floating dtype; teacher_hidden: (N, E), without gradient.
        head, teacher_head: matrices (V, D) and (V, E), biases (V,) or None, softcaps or None, of any floating dtypes. Logits are
            softcap * tanh((hidden @ weight.T + bias) / softcap), computed and summed in float32 (float64 if hidden is float64). In an
            autocast region of bfloat16 the factors of a float32 product may be rounded (to bfloat16 on a CPU, to TF32 on a GPU).
        targets: (N,) int64, only for a cross_entropy above 0: the words that followed in the text.
        cross_entropy: share of the text itself in the loss, from 0 to 1.
    Returns: a scalar in nats, float32 (float64 for float64). Gradients flow to hidden and to the student's weight and bias where
        required; no gradient reaches the teacher. At most 64 MiB at a time are as wide as the vocabulary (one token's, if more).
    Raises: ValueError for shapes that do not fit, TypeError for dtypes.
    Source: https://arxiv.org/abs/1503.02531, section 2.
    """
    _check(hidden, head, teacher_hidden, teacher_head, targets, cross_entropy)
    device = hidden.device.type
    may_round = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
    with torch.autocast(device, enabled=False), _rounded_factors(device) if may_round else nullcontext():  # results stay float32
        return _Distillation.apply(
            hidden, head.weight, head.bias, head.softcap, teacher_hidden, Head(*teacher_head), targets, float(cross_entropy)
        )


@contextmanager
def _rounded_factors(device: str) -> Iterator[None]:
    """Lets float32 products round their factors, to bfloat16 on a CPU and to TF32 on a GPU; sums and results stay float32.

    On a CPU oneDNN then multiplies in place of MKL; on a Zen 5 it does not even round, and takes half the time.
    """
    backend, kind = (torch.backends.mkldnn, "bf16") if device == "cpu" else (torch.backends.cuda, "tf32")
    before = backend.matmul.fp32_precision
    backend.matmul.fp32_precision = kind
    try:
        yield
    finally:
        backend.matmul.fp32_precision = before


class _Distillation(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, softcap, teacher_hidden, teacher_head, targets, cross_entropy):
        dtype = wide(hidden.dtype)
        needs = ctx.needs_input_grad[:3]
        like = dict(dtype=dtype, device=hidden.device)
        grads = [torch.zeros(t.shape, **like) if needed else None for t, needed in zip((hidden, weight, bias), needs, strict=True)]
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        head, count = Head(weight, bias, softcap), len(hidden)
        for start in range(0, count, rows := block_rows(len(weight), dtype)):
            here = slice(start, start + rows)
            states = hidden[here].to(dtype)
            loss, grad = _block(
                states,
                head,
                teacher_hidden[here].to(dtype),
                teacher_head,
                None if targets is None else targets[here],
                cross_entropy,
                any(needs),
            )
            total += loss
            if grad is None:
                continue
            grad /= count
            if needs[0]:
                _add_product(grads[0][here], grad, weight)
            if needs[1]:
                grads[1].addmm_(grad.t(), states)
            if needs[2]:
                grads[2] += grad.sum(0)
        ctx.grads = [None if grad is None else grad.to(t.dtype) for grad, t in zip(grads, (hidden, weight, bias), strict=True)]
        return (total / count).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_loss):
        return *(None if grad is None else grad * grad_loss.to(grad.dtype) for grad in ctx.grads), None, None, None, None, None


def block_rows(words: int, dtype: torch.dtype) -> int:
    """How many tokens' logits are in memory at a time."""
    return max(1, BLOCK_BYTES // ((_WIDE_VALUES + 1) * dtype.itemsize * words))


def _block(
    states: Tensor, head: Head, teacher_states: Tensor, teacher_head: Head, targets: Tensor | None, cross_entropy: float, needs_grad: bool
) -> tuple[Tensor, Tensor | None]:
    """The sum of the block's losses in float64, and its gradient to the student's products (R, V) before bias and softcap."""
    log_p = _logits(teacher_states, teacher_head)
    log_p -= log_p.logsumexp(1, keepdim=True)
    p = log_p.exp()
    log_q = _logits(states, head)
    slope = None if head.softcap is None or not needs_grad else 1 - (log_q / head.softcap).square_()
    log_q -= log_q.logsumexp(1, keepdim=True)
    # p log p first: the difference of the two sums would lose the digits of a small divergence
    loss = (1 - cross_entropy) * log_p.sub_(log_q).mul_(p).sum(1).double().sum()
    if cross_entropy:
        loss = loss - cross_entropy * log_q.gather(1, targets[:, None]).double().sum()
    if not needs_grad:
        return loss, None
    grad = log_q.exp_()
    grad -= p.mul_(1 - cross_entropy)
    if cross_entropy:
        grad.scatter_add_(1, targets[:, None], grad.new_full((len(grad), 1), -cross_entropy))
    return loss, grad if slope is None else grad.mul_(slope)


def _logits(states: Tensor, head: Head) -> Tensor:
    """(R, V) in the dtype of the states, a fresh tensor."""
    logits = states.new_empty(len(states), len(head.weight))
    for words in _parts(head.weight, states.dtype):
        torch.mm(states, head.weight[words].detach().to(states.dtype).t(), out=logits[:, words])
    if head.bias is not None:
        logits += head.bias.detach()
    return logits if head.softcap is None else logits.div_(head.softcap).tanh_().mul_(head.softcap)


def _add_product(into: Tensor, grad: Tensor, weight: Tensor) -> None:
    """Add grad (R, V) @ weight (V, D) to `into` (R, D), in place."""
    for words in _parts(weight, grad.dtype):
        into.addmm_(grad[:, words], weight[words].detach().to(grad.dtype))


def _parts(weight: Tensor, dtype: torch.dtype) -> list[slice]:
    """The words in parts whose weights may be converted to the dtype; one part if nothing is to be converted."""
    words = len(weight)
    count = words if weight.dtype is dtype else max(1, _WIDENED_VALUES // max(1, weight.shape[1]))
    return [slice(start, min(start + count, words)) for start in range(0, words, count)]


def _check(hidden, head: Head, teacher_hidden, teacher_head: Head, targets, cross_entropy) -> None:
    for name, tensor in {
        "hidden": hidden, "teacher_hidden": teacher_hidden, "the head's weight": head.weight, "the teacher's weight": teacher_head.weight,
    }.items():  # fmt: skip
        if tensor.dtype not in FLOATS:
            raise TypeError(f"distillation_loss: {name} is {tensor.dtype}; it must be float16, bfloat16, float32 or float64.")
        if tensor.dim() != 2:
            raise ValueError(f"distillation_loss: {name} has the shape {tuple(tensor.shape)}; two dimensions are needed.")
    if len(hidden) == 0 or len(hidden) != len(teacher_hidden):
        raise ValueError(
            f"distillation_loss: there are {len(hidden)} tokens of the student and {len(teacher_hidden)} of the teacher; give as many."
        )
    if len(head.weight) != len(teacher_head.weight):
        raise ValueError(
            f"distillation_loss: the student has {len(head.weight)} words, the teacher {len(teacher_head.weight)}; both must have one vocabulary."
        )
    for name, states, part in (("head", hidden, head), ("teacher's head", teacher_hidden, teacher_head)):
        if states.shape[1] != part.weight.shape[1]:
            raise ValueError(
                f"distillation_loss: the {name} takes {part.weight.shape[1]} features, the hidden states have {states.shape[1]}."
            )
    if not 0 <= cross_entropy <= 1:
        raise ValueError(f"distillation_loss: cross_entropy is {cross_entropy}; it must lie between 0 and 1.")
    if cross_entropy and (targets is None or targets.shape != hidden.shape[:1]):
        raise ValueError("distillation_loss: a cross_entropy above 0 needs one target for each token; give targets of shape (N,).")
