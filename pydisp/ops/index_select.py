"""index_select: the dimensions that a block reads, for a block without a norm before it.

    index_select(x, attention_input)    # (B, T, D) -> (B, T, K)

CPU: csrc/add_norm_select.h, CUDA: kernels/index_select.py, else torch's own, which on a CPU goes value by value along the last dimension.
"""

# D hidden, K kept dimensions

import torch
from torch import Tensor

from pydisp.ops.cuda import on_cuda
from pydisp.ops.features import Features, forms
from pydisp.ops.library import FLOATS, call, define, is_left_to_compiler


def index_select(x: Tensor, index: Tensor | Features) -> Tensor:
    """`x.index_select(-1, index)`.

    Args:
        x: (..., D) float16, bfloat16, float32 or float64; any strides; not changed.
        index: (K,) int32, sorted, unique, in [0, D), on x's device, or Features of it; K may be 0.
    Returns: (..., K) in x's dtype, contiguous.
    Raises: ValueError or TypeError for shapes, dtypes and devices that do not fit, and for an index that is unsorted, repeated or
        outside [0, D). A bare index is checked on every call, which waits for a GPU.
    Source: DISP-LLM, https://arxiv.org/abs/2410.11988, section 3 (the pruned block). A gradient flows to x.
    """
    index, inverse, mask = forms("index_select", "index", index, "x", x)
    if x.dtype not in FLOATS:
        raise TypeError(f"index_select: x is {x.dtype}, it must be float16, bfloat16, float32 or float64.")
    if is_left_to_compiler(x, inverse):
        return _plain(x, index, inverse, mask)
    return call(_op, (x,), x, index, inverse, mask)


def reference(x: Tensor, index: Tensor) -> Tensor:
    """What index_select means, in plain torch, with the same arguments."""
    return x.index_select(-1, index).contiguous()


def _plain(x, index, inverse, mask):
    return reference(x, index)


def _fake(x, index, inverse, mask):
    return x.new_empty((*x.shape[:-1], index.shape[0]))


def _setup_context(ctx, inputs, output):
    x, *forms_of_index = inputs
    ctx.width = x.shape[-1]
    ctx.save_for_backward(*forms_of_index)


def _backward(ctx, grad):
    zeros = grad.new_zeros((*grad.shape[:-1], ctx.width))
    return torch.ops.pydisp.index_add(zeros, grad, *ctx.saved_tensors), None, None, None


_op = define(
    "index_select(Tensor x, Tensor index, Tensor? inverse, Tensor? mask) -> Tensor",
    reference=_plain,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
on_cuda("index_select", "index_select", _plain)
