"""norm_select on a GPU: one program a row reads all of it for the statistics, then once more, from cache, where the index keeps it."""

# M rows, D hidden, K kept dimensions

import torch
import triton
import triton.language as tl


@triton.jit
def _norm_select_fwd_kernel(
    x, weight, bias, index, out, D, K, x_stride, eps, weight_offset,
    HAS_WEIGHT: tl.constexpr, HAS_BIAS: tl.constexpr, CENTER: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(0).to(tl.int64)  # int64 first: m * stride overflows int32 at 2**31 elements
    row = x + m * x_stride
    mean = 0.0
    if CENTER:
        total = tl.zeros([BLOCK_D], tl.float32)
        for start in range(0, D, BLOCK_D):
            d = start + tl.arange(0, BLOCK_D)
            total += tl.load(row + d, mask=d < D, other=0.0).to(tl.float32)
        mean = tl.sum(total, 0) / D
    squares = tl.zeros([BLOCK_D], tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        value = tl.load(row + d, mask=d < D, other=0.0).to(tl.float32)
        value = tl.where(d < D, value - mean, 0.0)  # a masked 0 minus the mean would count
        squares += value * value
    rstd = 1.0 / tl.sqrt(tl.sum(squares, 0) / D + eps)
    for start in range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        d = tl.load(index + k, mask=k < K, other=0)
        value = (tl.load(row + d, mask=k < K, other=0.0).to(tl.float32) - mean) * rstd
        if HAS_WEIGHT:
            value *= tl.load(weight + d, mask=k < K, other=0.0).to(tl.float32) + weight_offset
        if HAS_BIAS:
            value += tl.load(bias + d, mask=k < K, other=0.0).to(tl.float32)
        tl.store(out + m * K + k, value.to(out.dtype.element_ty), mask=k < K)


def norm_select(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    index: torch.Tensor,
    eps: float,
    weight_offset: float = 0.0,
    center: bool = False,
) -> torch.Tensor:
    """RMSNorm (LayerNorm with `center`) of (..., D) and then the K dimensions of `index`; float16, bfloat16 or float32, forward only.

    Arguments and result are those of pydisp.ops.norm_select; the index is trusted.
    """
    width, kept = x.shape[-1], index.shape[0]
    out = x.new_empty((*x.shape[:-1], kept))
    if out.numel() == 0:
        return out
    rows = x.reshape(-1, width)
    if rows.stride(1) != 1:
        rows = rows.contiguous()
    weight, bias, index = (one if one is None else one.contiguous() for one in (weight, bias, index))
    with torch.cuda.device_of(x):  # Triton launches on the current device, which need not be the tensors'
        _norm_select_fwd_kernel[(rows.shape[0],)](
            rows, weight, bias, index, out, width, kept, rows.stride(0), eps, weight_offset,
            HAS_WEIGHT=weight is not None, HAS_BIAS=bias is not None, CENTER=center,
            BLOCK_D=min(4096, triton.next_power_of_2(width)), BLOCK_K=min(2048, triton.next_power_of_2(kept)), num_warps=8,
        )  # fmt: skip
    return out
