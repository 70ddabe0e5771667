"""index_add: a pruned block adds its A outputs to A of the D dimensions of the residual stream.

    index_add(x, mlp(selected), mlp_output)     # (B, T, D), (B, T, A) -> (B, T, D)

CPU: csrc/add_norm_select.h, CUDA: kernels/index_add.py, else the reference here.
"""

# D hidden, A added dimensions

import torch
from torch import Tensor, strided

from pydisp.ops import index_select as _index_select  # noqa: F401  the gradient to the update is a selection
from pydisp.ops.cuda import on_cuda
from pydisp.ops.features import Features, forms
from pydisp.ops.library import FLOATS, call, check_tensors, define, is_left_to_compiler, is_transformed, refusal


def index_add(residual: Tensor, update: Tensor, index: Tensor | Features) -> Tensor:
    """`residual.index_add(-1, index, update)`, functional.

    Args:
        residual: (..., D) float16, bfloat16, float32 or float64; any strides; not changed.
        update: (..., A) in residual's dtype.
        index: (A,) int32, sorted, unique, in [0, D), on residual's device, or Features of it; A may be 0.
    Returns: (..., D) in residual's dtype, contiguous.
    Raises: ValueError or TypeError for shapes, dtypes and devices that do not fit, and for an index that is unsorted, repeated or
        outside [0, D). A bare index is checked on every call, which waits for a GPU.
    Source: DISP-LLM, https://arxiv.org/abs/2410.11988, section 3 (the pruned block). Gradients flow to residual and update.
    """
    index, inverse, mask = forms("index_add", "index", index, "residual", residual)
    check_update("index_add", residual, update, index)
    if is_left_to_compiler(residual, inverse):
        return _plain(residual, update, index, inverse, mask)
    return call(_op, (residual, update), residual, update, index, inverse, mask)


def index_add_(residual: Tensor, update: Tensor, index: Tensor | Features) -> Tensor:
    """index_add in place, for inference: changes `residual` and returns it.

    Args and errors: as index_add; also RuntimeError if a gradient would have to flow, ValueError if residual is expanded.
    """
    index, inverse, mask = forms("index_add_", "index", index, "residual", residual)
    check_update("index_add_", residual, update, index)
    check_in_place("index_add_", residual, update)
    try:
        (_plain_ if is_transformed() else _op_)(residual, update, index, inverse, mask)
    except RuntimeError as error:
        raise refusal(error) from None
    return residual


def check_update(op: str, residual: Tensor, update: Tensor, index: Tensor) -> None:
    """Refuse an update without residual's dtype, device and rows, or with another number of columns than the index has values."""
    try:
        dtype, device, shape, is_dense = update.dtype, update.device, update.shape, update.layout is strided
    except (AttributeError, RuntimeError):  # a nested tensor has no shape
        check_tensors(op, update=update)
        raise
    if not is_dense:
        check_tensors(op, update=update)
    if dtype != residual.dtype or dtype not in FLOATS:
        raise TypeError(
            f"{op}: update is {dtype}, residual {residual.dtype}; both must be float16, bfloat16, float32 or float64 and the same."
        )
    expected = (*residual.shape[:-1], index.shape[0])
    if shape != expected:
        raise ValueError(f"{op}: update is {tuple(shape)}, it must be {expected} for this residual and {index.shape[0]} indices.")
    if device != residual.device:
        raise ValueError(f"{op}: update is on {device}, residual on {residual.device}; move one of them.")


def check_in_place(op: str, residual: Tensor, *others: Tensor | None) -> None:
    """Refuse to change `residual` if a gradient would have to flow or if its rows share memory; else tell autograd that it changes."""
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (residual, *others)):
        raise RuntimeError(
            f"{op}: a tensor requires grad, and the form in place has no backward; use {op.removesuffix('_')} or torch.no_grad()."
        )
    if not residual.is_contiguous() and any(step == 0 and size > 1 for step, size in zip(residual.stride(), residual.shape, strict=True)):
        raise ValueError(f"{op}: residual is expanded, its rows share memory; change a copy of it (residual.clone()).")
    if not torch.compiler.is_compiling() and not residual.is_inference():
        torch.autograd.graph.increment_version(residual)


def reference(residual: Tensor, update: Tensor, index: Tensor) -> Tensor:
    """What index_add means, in plain torch, with the same arguments.

    The columns are gathered, added to and copied back. The indices are unique, so the numbers are those of Tensor.index_add, which is
    slower because it goes column by column on the CPU (1 token, D = 4096, A = 2048, float32, one thread: 0.12 ms against 0.04 ms).
    """
    return residual.contiguous().index_copy(-1, index.long(), residual.index_select(-1, index) + update)


def _plain(residual, update, index, inverse, mask):
    return reference(residual, update, index)


def _plain_(residual, update, index, inverse, mask):
    residual.copy_(reference(residual, update, index))


def _fake(residual, update, index, inverse, mask):
    return residual.new_empty(residual.shape)


def _fake_(residual, update, index, inverse, mask):
    return None


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs[2:])


def _backward(ctx, grad):
    grad_update = torch.ops.pydisp.index_select(grad, *ctx.saved_tensors) if ctx.needs_input_grad[1] else None
    return grad, grad_update, None, None, None


_op = define(
    "index_add(Tensor residual, Tensor update, Tensor index, Tensor? inverse, Tensor? mask) -> Tensor",
    reference=_plain,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
_op_ = define(
    "index_add_(Tensor(a!) residual, Tensor update, Tensor index, Tensor? inverse, Tensor? mask) -> ()", reference=_plain_, fake=_fake_
)
on_cuda("index_add", "index_add", _plain)
on_cuda("index_add", "index_add_", _plain_)
