"""upcast_linear: a linear in bfloat16 or float16 for processors that can only multiply float32, and in float32 for few rows.

    upcast_linear(x, linear.weight, linear.bias)    # (..., I), (O, I) -> (..., O)

If a CPU has no instructions for a 16-bit type, torch multiplies that type in a plain loop. This op converts blocks of the weights to
float32 while they are in the cache. One token then costs less than in float32, because only half the bytes are read. In float32, up to
FEW_ROWS rows share one reading of the weights; torch's product of few rows reads them slower than memory can deliver. CPU:
csrc/upcast_linear.h, else the reference here. `FASTER` holds the dtypes for which this op is faster on this CPU than torch's own linear.
"""

# M rows (tokens), I inputs, O outputs

import os

import torch
from torch import Tensor
from torch.nn import functional as F

from pydisp.ops import native
from pydisp.ops.library import FLOATS, call, check_tensors, define, has_kernel, no_second_derivative, wide

NARROW = (torch.bfloat16, torch.float16)
FEW_ROWS = 24  # of float32: kFewFloatRows in csrc/upcast_linear.h
# FEW_ROWS was measured with these instruction sets of the C++ ops and of torch, on a Zen 3 and a Zen 5.
_MEASURED = {("avx2", "AVX2"), ("avx512", "AVX512"), ("avx512bf16", "AVX512")}
_WEIGHTS_A_BLOCK = 1 << 20  # the backward copies so many weights to float32 at a time: 4 MiB


def upcast_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x weight^T + bias`, products summed in float32 and rounded once.

    Args:
        x: (..., I) bfloat16, float16, float32 or float64; any strides; not changed. For float64, and for float32 with more than FEW_ROWS
            rows, torch's linear runs.
        weight: (O, I), bias: (O,) or None, both in x's dtype.
    Returns: (..., O) in x's dtype, contiguous. With the C++ kernels, the bits of a row do not depend on the other rows (float32: up to
        FEW_ROWS rows) or on the number of threads. Gradients flow to x, weight and bias, once, and are summed in float32 too.
    Raises: TypeError or ValueError naming the argument, for other dtypes and shapes; NotImplementedError for a second derivative.
    Source: torch.nn.functional.linear, computed in float32.
    """
    _check(x, weight, bias)
    return unchecked(x, weight, bias)


def unchecked(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """upcast_linear for a module whose parameters match one another; if x does not fit, the op or torch's linear says so."""
    return call(_op, (x, weight, bias), x, weight, bias)


def _check(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    check_tensors("upcast_linear", ("bias",), x=x, weight=weight, bias=bias)
    if x.dtype not in FLOATS:
        raise TypeError(f"upcast_linear: x has dtype {x.dtype}; needed is bfloat16, float16, float32 or float64.")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != x.dtype:
            raise TypeError(f"upcast_linear: {name} has dtype {tensor.dtype}, x has {x.dtype}; convert one of them.")
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"upcast_linear: {name} is on {tensor.device}, x on {x.device}; move one of them.")
    if weight.dim() != 2 or x.dim() < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"upcast_linear: x has shape {tuple(x.shape)} and weight {tuple(weight.shape)}; needed are (..., I) and (O, I).")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"upcast_linear: bias has shape {tuple(bias.shape)}; needed is ({weight.shape[0]},), a value for each row of weight."
        )


def reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What upcast_linear means, in plain torch, with the same arguments."""
    kind = wide(x.dtype)
    with torch.autocast(x.device.type, enabled=False):  # an open autocast region would round the factors to 16 bits
        return F.linear(x.to(kind), weight.to(kind), None if bias is None else bias.to(kind)).to(x.dtype).contiguous()


def backward(grad: Tensor, x: Tensor, weight: Tensor, needs_x: bool, needs_weight: bool, needs_bias: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of upcast_linear to x, weight and bias in x's dtype, summed in float32 (float64 for float64); 0 elements if not needed."""
    kind = wide(x.dtype)
    count = x.shape[:-1].numel()  # not -1: with 0 inputs or outputs, reshape could not tell the number of rows
    rows, wide_grad = x.reshape(count, x.shape[-1]), grad.reshape(count, grad.shape[-1]).to(kind)
    blocks = range(0, len(weight), max(1, _WEIGHTS_A_BLOCK // max(1, weight.shape[1])))
    grad_x = grad_weight = grad_bias = x.new_empty(0)
    if needs_x:
        total = rows.new_zeros(rows.shape, dtype=kind)
        for block in blocks:
            part = slice(block, block + blocks.step)
            total.addmm_(wide_grad[:, part], weight[part].to(kind))
        grad_x = total.to(x.dtype).view(x.shape)
    if needs_weight:
        grad_weight, wide_rows = weight.new_empty(weight.shape), rows.to(kind)
        for block in blocks:
            part = slice(block, block + blocks.step)
            with torch.autocast(x.device.type, enabled=False):  # as in reference
                grad_weight[part] = wide_grad[:, part].t() @ wide_rows
    if needs_bias:
        grad_bias = wide_grad.sum(0).to(x.dtype)
    return grad_x, grad_weight, grad_bias if needs_bias else x.new_empty(0)


def _fake(x, weight, bias):
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


def _fake_backward(grad, x, weight, needs_x, needs_weight, needs_bias):
    shapes = ((needs_x, x.shape), (needs_weight, weight.shape), (needs_bias, weight.shape[:1]))
    return tuple(x.new_empty(shape if needed else 0) for needed, shape in shapes)


_backward_op = define(
    "upcast_linear_backward(Tensor grad, Tensor x, Tensor weight, bool needs_x, bool needs_weight, bool needs_bias) -> (Tensor, Tensor, Tensor)",
    reference=backward,
    fake=_fake_backward,
    backward=no_second_derivative("upcast_linear", "the reference in pydisp.ops.upcast_linear"),
)


def _setup_context(ctx, inputs, output):
    x, weight, _ = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx, grad):
    needs = ctx.needs_input_grad
    gradients = _backward_op(grad, *ctx.saved_tensors, *needs)
    return tuple(gradient if needed else None for gradient, needed in zip(gradients, needs, strict=True))


_op = define(
    "upcast_linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor",
    reference=reference,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)


def choose(wanted: str | None) -> dict[torch.dtype, tuple[bool, str]]:
    """For each dtype, whether upcast_linear is faster on this CPU than torch's linear, and why.

    Args:
        wanted: "always", "never" or "auto" (or None): the environment variable PYDISP_UPCAST_LINEAR.
    Raises: ValueError for anything else.
    """
    dtypes = (*NARROW, torch.float32)
    if wanted in ("always", "never"):
        return dict.fromkeys(dtypes, (wanted == "always", f"PYDISP_UPCAST_LINEAR={wanted}"))
    if wanted not in (None, "", "auto"):
        raise ValueError(f"PYDISP_UPCAST_LINEAR is {wanted!r}; set it to always, never or auto.")
    return {dtype: _judge(dtype) for dtype in dtypes}


def _judge(dtype: torch.dtype) -> tuple[bool, str]:
    name = str(dtype).removeprefix("torch.")
    if not (native.is_loaded() and has_kernel("upcast_linear", "CPU")):
        return False, "the C++ ops are not built"
    if native.instruction_set() == "generic":
        return False, "only the generic kernels run here, and they were never measured against torch's"
    if dtype == torch.float32:
        if (native.instruction_set(), torch.backends.cpu.get_cpu_capability()) not in _MEASURED:
            return False, "few rows in float32 were measured against torch's with AVX2 or AVX-512 on both sides only"
        return (
            True,
            f"up to {FEW_ROWS} rows, without gradients: torch's product of few rows reads the weights slower than memory gives them",
        )
    # Decided by the processor's instructions, not by a measurement: a close measurement could turn out differently in another run, and give
    # other bits. If oneDNN multiplies a dtype (bfloat16: from AVX-512 on, with or without its bfloat16 instructions; float16: AVX512-FP16
    # or AMX-FP16), torch is fast: 406 GFLOP/s in bfloat16 on one thread of a Zen 5. If not, torch runs a plain loop: 11 GFLOP/s on a Zen 3,
    # where float32 and upcast_linear reach 60 to 90.
    takes = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}[dtype]
    is_fast = getattr(torch.ops.mkldnn, takes, None)
    if is_fast is None or is_fast():
        return False, f"oneDNN multiplies {name} for torch on this CPU"
    return True, f"oneDNN multiplies no {name} on this CPU, torch would do so in a plain loop"


native.load()
DECISIONS = choose(os.environ.get("PYDISP_UPCAST_LINEAR"))
FASTER = frozenset(dtype for dtype, (is_faster, _) in DECISIONS.items() if is_faster)
