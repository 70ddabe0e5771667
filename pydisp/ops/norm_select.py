"""norm_select: the norm of the whole residual stream, then only the dimensions a block reads.

    norm_select(x, norm.weight, None, attention_input.indices, 1e-6)    # (B, T, D) -> (B, T, K)

The order is the one of the masks' training: norm at full width, then select (Algorithm 1 of https://arxiv.org/abs/2410.11988 prints
select first, which is another function). CPU: csrc/norm_select.h, CUDA: kernels/norm_select.py, else the reference here.
"""

# B batch, T tokens, D hidden, K kept dimensions

import importlib.util

import torch
from torch import Tensor

from pydisp.ops.library import LIBRARY, check_index, define, wide


def norm_select(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, index: Tensor, eps: float, *, weight_offset: float = 0.0, center: bool = False
) -> Tensor:
    """RMSNorm (LayerNorm with `center`) over D, then `index_select(-1, index)`.

    Args:
        x: (..., D) float16, bfloat16, float32 or float64; any strides; not changed.
        weight: (D,) the norm's gain, or None for 1; `weight_offset` is added to it (Gemma stores gain - 1).
        bias: (D,) or None.
        index: (K,) int32, sorted, unique, in [0, D), on x's device; K may be 0.
        eps: added to the mean square (the variance with `center`).
    Returns: (..., K) in x's dtype, contiguous; statistics and products in float32 (float64 for float64), rounded once.
    Raises: ValueError if index is no int32 vector; RuntimeError or IndexError if it leaves [0, D).
    Source: DISP-LLM, https://arxiv.org/abs/2410.11988, section 3 (the pruned block); gradients to x, weight and bias.
    """
    check_index("norm_select", "index", index)
    return _op(x, weight, bias, index, eps, weight_offset, center)


def reference(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, index: Tensor, eps: float, weight_offset: float = 0.0, center: bool = False
) -> Tensor:
    """What norm_select means, in plain torch; arguments as there."""
    normed, _ = normalized(x, eps, center)
    selected = normed.index_select(-1, index)
    if weight is not None:
        selected = selected * (weight.to(selected.dtype) + weight_offset).index_select(0, index)
    if bias is not None:
        selected = selected + bias.to(selected.dtype).index_select(0, index)
    return selected.to(x.dtype).contiguous()


def normalized(x: Tensor, eps: float, center: bool) -> tuple[Tensor, Tensor]:
    """The norm of x before gain and bias (..., D), and 1 / its standard deviation (..., 1), both in the wide dtype."""
    value = x.to(wide(x.dtype))
    if center:
        value = value - value.mean(-1, keepdim=True)
    rstd = torch.rsqrt(value.square().mean(-1, keepdim=True) + eps)
    return value * rstd, rstd


def gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    index: Tensor,
    eps: float,
    weight_offset: float,
    center: bool,
    needs: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of norm_select to x (wide dtype), weight and bias (their own), each only if `needs` asks for it."""
    normed, rstd = normalized(x, eps, center)
    width = x.shape[-1]
    grad = grad.to(normed.dtype)
    selected = normed.index_select(-1, index)
    grad_x = grad_weight = grad_bias = None
    if needs[0]:
        gain = None if weight is None else (weight.to(normed.dtype) + weight_offset).index_select(0, index)
        grad_normed = grad if gain is None else grad * gain
        # Through the mean square every dimension of x feels every kept one; through the mean (LayerNorm) likewise.
        grad_x = normed * (-(grad_normed * selected).sum(-1, keepdim=True) / width)
        if center:
            grad_x = grad_x - grad_normed.sum(-1, keepdim=True) / width
        grad_x = grad_x.index_add(-1, index, grad_normed) * rstd
    if needs[1] and weight is not None:
        grad_weight = _scattered_rows_sum(grad * selected, index, weight)
    if needs[2] and bias is not None:
        grad_bias = _scattered_rows_sum(grad, index, bias)
    return grad_x, grad_weight, grad_bias


def _scattered_rows_sum(values: Tensor, index: Tensor, like: Tensor) -> Tensor:
    total = values.unsqueeze(0).flatten(0, -2).sum(0)  # reshape(-1, K) is ambiguous for K = 0
    return torch.zeros_like(like, dtype=total.dtype).index_add(0, index, total).to(like.dtype)


def _fake(x, weight, bias, index, eps, weight_offset, center):
    return x.new_empty((*x.shape[:-1], index.shape[0]))


def _setup_context(ctx, inputs, output):
    x, weight, bias, index, ctx.eps, ctx.weight_offset, ctx.center = inputs
    ctx.save_for_backward(x, weight, bias, index)


def _backward(ctx, grad):
    x, weight, bias, index = ctx.saved_tensors
    needs = ctx.needs_input_grad[:3]
    grad_x, grad_weight, grad_bias = gradients(grad, x, weight, bias, index, ctx.eps, ctx.weight_offset, ctx.center, needs)
    return None if grad_x is None else grad_x.to(x.dtype), grad_weight, grad_bias, None, None, None, None


_op = define(
    "norm_select(Tensor x, Tensor? weight, Tensor? bias, Tensor index, float eps, float weight_offset, bool center) -> Tensor",
    reference=reference,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)


def _cuda(x, weight, bias, index, eps, weight_offset, center):
    from pydisp.kernels.norm_select import norm_select as kernel  # triton is slow to import, so not before it is used

    if x.dtype == torch.float64:
        return reference(x, weight, bias, index, eps, weight_offset, center)
    return kernel(x, weight, bias, index, eps, weight_offset, center)


if importlib.util.find_spec("triton") is not None:
    LIBRARY.impl("norm_select", _cuda, "CUDA")
