"""add_norm_select: one junction between two pruned blocks: add the first block's output, take the norm, select the second block's input.

    x, selected = add_norm_select(x, attended, attention_output, norm.weight, None, mlp_input, 1e-6)

CPU: csrc/add_norm_select.h, CUDA: kernels/add_norm_select.py; each makes one pass over the rows. Else index_add runs, then norm_select.
"""

# D hidden, A added dimensions, K kept dimensions

import torch
from torch import Tensor

from pydisp.ops.cuda import on_cuda
from pydisp.ops.features import Features, forms
from pydisp.ops.index_add import check_in_place, check_update
from pydisp.ops.index_add import reference as index_add_reference
from pydisp.ops.library import call, define, is_left_to_compiler, is_transformed, no_second_derivative, refusal, wide
from pydisp.ops.norm_select import check_norm, gradients, or_empty
from pydisp.ops.norm_select import reference as norm_select_reference


def add_norm_select(
    residual: Tensor,
    update: Tensor,
    add_index: Tensor | Features,
    weight: Tensor | None,
    bias: Tensor | None,
    select_index: Tensor | Features,
    eps: float,
    *,
    weight_offset: float = 0.0,
    center: bool = False,
) -> tuple[Tensor, Tensor]:
    """`residual.index_add(-1, add_index, update)`, then RMSNorm (LayerNorm with `center`) over D, then `index_select(-1, select_index)`.

    Args:
        residual: (..., D) float16, bfloat16, float32 or float64; any strides; not changed.
        update: (..., A), residual's dtype.
        add_index, select_index: (A,) and (K,) int32, sorted, unique, in [0, D), on residual's device, or Features of them; A and K may
            be 0.
        weight, bias, eps, weight_offset, center: settings of the norm, as in norm_select.
    Returns: the new residual (..., D) and the selected norm (..., K), both in residual's dtype. The norm's statistics are those of the new
        residual as it is stored, in float32 (float64 for float64). Gradients flow to residual, update, weight and bias, once.
    Raises: ValueError or TypeError for shapes, dtypes and devices that do not fit, and for an index that is unsorted, repeated or
        outside [0, D). A bare index is checked on every call, which waits for a GPU. NotImplementedError for a second derivative.
    Source: DISP-LLM, https://arxiv.org/abs/2410.11988, section 3 (the pruned block).
    """
    added, kept = _checked("add_norm_select", residual, update, add_index, weight, bias, select_index, eps, weight_offset, center)
    arguments = (residual, update, *added, weight, bias, *kept, eps, weight_offset, center)
    if is_left_to_compiler(residual, added[1], kept[1]):
        return _plain(*arguments)
    return call(_op, (residual, update, weight, bias), *arguments)


def add_norm_select_(
    residual: Tensor,
    update: Tensor,
    add_index: Tensor | Features,
    weight: Tensor | None,
    bias: Tensor | None,
    select_index: Tensor | Features,
    eps: float,
    *,
    weight_offset: float = 0.0,
    center: bool = False,
) -> Tensor:
    """add_norm_select in place, for inference: writes the new residual into `residual` and returns the selected norm (..., K).

    Args and errors: as add_norm_select; also RuntimeError if a gradient would have to flow, ValueError if residual is expanded.
    """
    added, kept = _checked("add_norm_select_", residual, update, add_index, weight, bias, select_index, eps, weight_offset, center)
    check_in_place("add_norm_select_", residual, update, weight, bias)
    op = _plain_ if is_transformed() else _op_
    try:
        return op(residual, update, *added, weight, bias, *kept, eps, weight_offset, center)
    except RuntimeError as error:
        raise refusal(error) from None


def _checked(op, residual, update, add_index, weight, bias, select_index, eps, weight_offset, center):
    added = forms(op, "add_index", add_index, "residual", residual)
    kept = forms(op, "select_index", select_index, "residual", residual)
    check_update(op, residual, update, added[0])
    check_norm(op, "residual", residual, weight, bias, eps, weight_offset, center)
    return added, kept


def reference(residual, update, add_index, weight, bias, select_index, eps, weight_offset=0.0, center=False):
    """What add_norm_select means: the two ops that it is made of, with the same arguments."""
    new_residual = index_add_reference(residual, update, add_index)
    return new_residual, norm_select_reference(new_residual, weight, bias, select_index, eps, weight_offset, center)


def _plain(
    residual, update, add_index, add_inverse, add_mask, weight, bias, select_index, select_inverse, select_mask, eps, weight_offset, center
):
    return reference(residual, update, add_index, weight, bias, select_index, eps, weight_offset, center)


def _plain_(residual, *arguments):
    new_residual, selected = _plain(residual, *arguments)
    residual.copy_(new_residual)
    return selected


def _fake(residual, *arguments):
    return residual.new_empty(residual.shape), _fake_(residual, *arguments)


def _fake_(
    residual, update, add_index, add_inverse, add_mask, weight, bias, select_index, select_inverse, select_mask, eps, weight_offset, center
):
    return residual.new_empty((*residual.shape[:-1], select_index.shape[0]))


def _setup_context(ctx, inputs, output):
    _, _, *tensors, ctx.eps, ctx.weight_offset, ctx.center = inputs
    ctx.save_for_backward(output[0], *tensors)
    ctx.set_materialize_grads(False)  # zero gradients through the norm of a row that is not finite would become NaN


def _backward(ctx, grad_residual, grad_selected):
    residual, update, _, _, _, weight, bias = ctx.needs_input_grad[:7]
    if grad_selected is None:  # the norm was not used: the gradient is that of index_add
        grad_update = None
        if update and grad_residual is not None:
            grad_update = torch.ops.pydisp.index_select(grad_residual, *ctx.saved_tensors[1:4])
        return grad_residual, grad_update, *[None] * 11
    if grad_residual is None:
        grad_residual = torch.zeros_like(ctx.saved_tensors[0])
    needs = (residual, update, weight, bias)
    settings = (ctx.eps, ctx.weight_offset, ctx.center)
    grads = _backward_op(grad_residual, grad_selected, *ctx.saved_tensors, *settings, *needs)
    grads = [gradient if needed else None for gradient, needed in zip(grads, needs, strict=True)]
    return *grads[:2], None, None, None, *grads[2:], None, None, None, None, None, None


def _plain_backward(
    grad_residual, grad_selected, new_residual, add_index, add_inverse, add_mask, weight, bias, select_index, select_inverse, select_mask,
    eps, weight_offset, center, needs_residual, needs_update, needs_weight, needs_bias,
):  # fmt: skip
    needs = (needs_residual or needs_update, needs_weight, needs_bias)
    grad, grad_weight, grad_bias = gradients(grad_selected, new_residual, weight, bias, select_index, eps, weight_offset, center, needs)
    if grad is not None:
        grad = (grad_residual.to(wide(grad_residual.dtype)) + grad).to(new_residual.dtype)
    grad_update = grad.index_select(-1, add_index) if needs_update else None
    return (
        or_empty(grad if needs_residual else None, new_residual),
        or_empty(grad_update, new_residual),
        or_empty(grad_weight, new_residual if weight is None else weight),
        or_empty(grad_bias, new_residual if bias is None else bias),
    )


def _fake_backward(
    grad_residual, grad_selected, new_residual, add_index, add_inverse, add_mask, weight, bias, select_index, select_inverse, select_mask,
    eps, weight_offset, center, needs_residual, needs_update, needs_weight, needs_bias,
):  # fmt: skip
    update = (*new_residual.shape[:-1], add_index.shape[0])
    vectors = ((weight, needs_weight), (bias, needs_bias))
    return (
        new_residual.new_empty(new_residual.shape if needs_residual else 0),
        new_residual.new_empty(update if needs_update else 0),
        *(new_residual.new_empty(0) if v is None else v.new_empty(v.shape if needed else 0) for v, needed in vectors),
    )


_INDICES = "Tensor add_index, Tensor? add_inverse, Tensor? add_mask, Tensor? weight, Tensor? bias, Tensor select_index, "
_INDICES += "Tensor? select_inverse, Tensor? select_mask, float eps, float weight_offset, bool center"
_op = define(
    f"add_norm_select(Tensor residual, Tensor update, {_INDICES}) -> (Tensor, Tensor)",
    reference=_plain,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
_op_ = define(f"add_norm_select_(Tensor(a!) residual, Tensor update, {_INDICES}) -> Tensor", reference=_plain_, fake=_fake_)
_backward_op = define(
    f"add_norm_select_backward(Tensor grad_residual, Tensor grad_selected, Tensor new_residual, {_INDICES}, bool needs_residual, "
    "bool needs_update, bool needs_weight, bool needs_bias) -> (Tensor, Tensor, Tensor, Tensor)",
    reference=_plain_backward,
    fake=_fake_backward,
    backward=no_second_derivative("add_norm_select", "the reference in pydisp.ops.add_norm_select"),
)
on_cuda("add_norm_select", "add_norm_select", _plain)
on_cuda("add_norm_select", "add_norm_select_", _plain_)
on_cuda("add_norm_select", "add_norm_select_backward", _plain_backward)
