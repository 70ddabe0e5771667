"""add_norm_select: one junction between two pruned blocks; the first one's output goes in, the second one's input comes out.

Until it has a fused kernel it runs index_add and norm_select one after the other, each in its fastest implementation.
"""

# D hidden, A added dimensions, K kept dimensions

import torch
from torch import Tensor

from pydisp.ops import index_add as _index_add  # noqa: F401  both ops must be defined before this one runs them
from pydisp.ops import norm_select as _norm_select  # noqa: F401
from pydisp.ops.library import check_index, define, wide
from pydisp.ops.norm_select import gradients


def add_norm_select(
    residual: Tensor,
    update: Tensor,
    add_index: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    select_index: Tensor,
    eps: float,
    *,
    weight_offset: float = 0.0,
    center: bool = False,
) -> tuple[Tensor, Tensor]:
    """`residual.index_add(-1, add_index, update)`, then RMSNorm (LayerNorm with `center`) over D, then `index_select(-1, select_index)`.

    Args:
        residual: (..., D) float16, bfloat16, float32 or float64; any strides; not changed.
        update: (..., A), residual's dtype.
        add_index, select_index: (A,) and (K,) int32, sorted, unique, in [0, D), on residual's device; A and K may be 0.
        weight, bias, eps, weight_offset, center: the norm's, as in norm_select.
    Returns: the new residual (..., D) and the selected norm (..., K), residual's dtype; statistics in float32 (float64 for float64)
        of the new residual as it is stored.
    Raises: ValueError if an index is no int32 vector; RuntimeError or IndexError if lengths differ or an index leaves [0, D).
    Source: DISP-LLM, https://arxiv.org/abs/2410.11988, section 3 (the pruned block); gradients to residual, update, weight and bias.
    """
    check_index("add_norm_select", "add_index", add_index)
    check_index("add_norm_select", "select_index", select_index)
    return _op(residual, update, add_index, weight, bias, select_index, eps, weight_offset, center)


def reference(residual, update, add_index, weight, bias, select_index, eps, weight_offset=0.0, center=False):
    """What add_norm_select means: the two ops it is made of; arguments as there."""
    new_residual = torch.ops.pydisp.index_add(residual, update, add_index)
    return new_residual, torch.ops.pydisp.norm_select(new_residual, weight, bias, select_index, eps, weight_offset, center)


def _fake(residual, update, add_index, weight, bias, select_index, eps, weight_offset, center):
    return residual.new_empty(residual.shape), residual.new_empty((*residual.shape[:-1], select_index.shape[0]))


def _setup_context(ctx, inputs, output):
    _, _, add_index, weight, bias, select_index, ctx.eps, ctx.weight_offset, ctx.center = inputs
    ctx.save_for_backward(output[0], add_index, weight, bias, select_index)


def _backward(ctx, grad_residual, grad_selected):
    new_residual, add_index, weight, bias, select_index = ctx.saved_tensors
    needs_residual, needs_update, _, needs_weight, needs_bias = ctx.needs_input_grad[:5]
    needs = (needs_residual or needs_update, needs_weight, needs_bias)
    grad, grad_weight, grad_bias = gradients(
        grad_selected, new_residual, weight, bias, select_index, ctx.eps, ctx.weight_offset, ctx.center, needs
    )
    if grad is not None:
        grad = (grad_residual.to(wide(grad_residual.dtype)) + grad).to(new_residual.dtype)
    grad_update = grad.index_select(-1, add_index) if needs_update else None
    return grad, grad_update, None, grad_weight, grad_bias, None, None, None, None


_op = define(
    "add_norm_select(Tensor residual, Tensor update, Tensor add_index, Tensor? weight, Tensor? bias, Tensor select_index, float eps, "
    "float weight_offset, bool center) -> (Tensor, Tensor)",
    reference=reference,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
