"""norm_select: take the norm of the whole residual stream, then keep only the dimensions that a block reads.

    norm_select(x, norm.weight, None, attention_input, 1e-6)    # (B, T, D) -> (B, T, K)

The norm comes first, at full width, as in the training of the masks. (Algorithm 1 of https://arxiv.org/abs/2410.11988 prints the selection
first, which is another function.) CPU: csrc/add_norm_select.h, CUDA: kernels/norm_select.py, else the reference here.
"""

# B batch, T tokens, D hidden, K kept dimensions

import torch
from torch import Tensor, strided

from pydisp.ops.cuda import on_cuda
from pydisp.ops.features import Features, forms
from pydisp.ops.library import (
    FLOATS,
    call,
    check_flags,
    check_number,
    check_tensors,
    define,
    is_left_to_compiler,
    no_second_derivative,
    wide,
)


def norm_select(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    index: Tensor | Features,
    eps: float,
    *,
    weight_offset: float = 0.0,
    center: bool = False,
) -> Tensor:
    """RMSNorm (LayerNorm with `center`) over D, then `index_select(-1, index)`.

    Args:
        x: (..., D) float16, bfloat16, float32 or float64; any strides; not changed.
        weight: (D,) the norm's gain in any of those dtypes, or None for 1; `weight_offset` is added to it (Gemma stores gain - 1).
        bias: (D,) or None.
        index: (K,) int32, sorted, unique, in [0, D), on x's device, or Features of it; K may be 0.
        eps: added to the mean square (the variance with `center`).
    Returns: (..., K) in x's dtype, contiguous; statistics and products are float32 (float64 for float64) and rounded once. Gradients flow
        to x, weight and bias, once.
    Raises: ValueError or TypeError for shapes, dtypes and devices that do not fit, and for an index that is unsorted, repeated or
        outside [0, D). A bare index is checked on every call, which waits for a GPU. NotImplementedError for a second derivative.
    Source: DISP-LLM, https://arxiv.org/abs/2410.11988, section 3 (the pruned block).
    """
    index, inverse, mask = forms("norm_select", "index", index, "x", x)
    check_norm("norm_select", "x", x, weight, bias, eps, weight_offset, center)
    if is_left_to_compiler(x, inverse):
        return _plain(x, weight, bias, index, inverse, mask, eps, weight_offset, center)
    return call(_op, (x, weight, bias), x, weight, bias, index, inverse, mask, eps, weight_offset, center)


def check_norm(
    op: str, name: str, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, weight_offset: float, center: bool
) -> None:
    """Refuse an x that is no float tensor, a weight or bias that is not as long as x's last dimension, and settings of a wrong type."""
    if type(eps) is not float or type(weight_offset) is not float or type(center) is not bool:
        check_number(op, "eps", eps)
        check_number(op, "weight_offset", weight_offset)
        check_flags(op, center=center)
    dtype, shape, device = x.dtype, x.shape[-1:], x.device
    if dtype not in FLOATS:
        raise TypeError(f"{op}: {name} is {dtype}, it must be float16, bfloat16, float32 or float64.")
    for what, vector in (("weight", weight), ("bias", bias)):
        if vector is None:
            continue
        try:
            is_right = vector.shape == shape and vector.device == device and (vector.dtype is dtype or vector.dtype in FLOATS)
            is_right = is_right and vector.layout is strided
        except (AttributeError, RuntimeError):  # a nested tensor has no shape
            check_tensors(op, **{what: vector})
            raise
        if not is_right:
            _refuse_vector(op, what, vector, name, x)


def _refuse_vector(op: str, what: str, vector: Tensor, name: str, x: Tensor) -> None:
    check_tensors(op, **{what: vector})
    if vector.dtype not in FLOATS:
        raise TypeError(f"{op}: {what} is {vector.dtype}, it must be float16, bfloat16, float32 or float64.")
    if vector.device != x.device:
        raise ValueError(f"{op}: {what} is on {vector.device}, {name} on {x.device}; move one of them.")
    raise ValueError(f"{op}: {what} has shape {tuple(vector.shape)}, it must be ({x.shape[-1]},), one value a dimension of {name}.")


def reference(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, index: Tensor, eps: float, weight_offset: float = 0.0, center: bool = False
) -> Tensor:
    """What norm_select means, in plain torch, with the same arguments."""
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
        # Every dimension of x enters the mean square (and for LayerNorm the mean), so each gets a gradient from every kept dimension.
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


def or_empty(gradient: Tensor | None, like: Tensor) -> Tensor:
    """The gradient, or a tensor without elements if it is not needed, because an op can return only tensors."""
    return like.new_empty(0) if gradient is None else gradient


def _plain(x, weight, bias, index, inverse, mask, eps, weight_offset, center):
    return reference(x, weight, bias, index, eps, weight_offset, center)


def _fake(x, weight, bias, index, inverse, mask, eps, weight_offset, center):
    return x.new_empty((*x.shape[:-1], index.shape[0]))


def _setup_context(ctx, inputs, output):
    x, weight, bias, index, inverse, mask, ctx.eps, ctx.weight_offset, ctx.center = inputs
    ctx.save_for_backward(x, weight, bias, index, inverse, mask)


def _backward(ctx, grad):
    needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
    needs = (needs_x, needs_weight, needs_bias)
    grads = _backward_op(grad, *ctx.saved_tensors, ctx.eps, ctx.weight_offset, ctx.center, *needs)
    return *(gradient if needed else None for gradient, needed in zip(grads, needs, strict=True)), None, None, None, None, None, None


def _plain_backward(grad, x, weight, bias, index, inverse, mask, eps, weight_offset, center, needs_x, needs_weight, needs_bias):
    needs = (needs_x, needs_weight, needs_bias)
    grad_x, grad_weight, grad_bias = gradients(grad, x, weight, bias, index, eps, weight_offset, center, needs)
    grad_x = None if grad_x is None else grad_x.to(x.dtype)
    return or_empty(grad_x, x), or_empty(grad_weight, x if weight is None else weight), or_empty(grad_bias, x if bias is None else bias)


def _fake_backward(grad, x, weight, bias, index, inverse, mask, eps, weight_offset, center, needs_x, needs_weight, needs_bias):
    return tuple(
        x.new_empty(0) if like is None else like.new_empty(like.shape if needed else 0)
        for like, needed in ((x, needs_x), (weight, needs_weight), (bias, needs_bias))
    )


_op = define(
    "norm_select(Tensor x, Tensor? weight, Tensor? bias, Tensor index, Tensor? inverse, Tensor? mask, float eps, float weight_offset, "
    "bool center) -> Tensor",
    reference=_plain,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
_backward_op = define(
    "norm_select_backward(Tensor grad, Tensor x, Tensor? weight, Tensor? bias, Tensor index, Tensor? inverse, Tensor? mask, float eps, "
    "float weight_offset, bool center, bool needs_x, bool needs_weight, bool needs_bias) -> (Tensor, Tensor, Tensor)",
    reference=_plain_backward,
    fake=_fake_backward,
    backward=no_second_derivative("norm_select", "the reference in pydisp.ops.norm_select"),
)
on_cuda("norm_select", "norm_select", _plain)
on_cuda("norm_select", "norm_select_backward", _plain_backward)
