"""index_select on a GPU: a whole row is read, 128 bit at a time, and its kept dimensions are written through shared memory."""

# M rows, D hidden, K kept dimensions, R rows of a tile

import torch
import triton
import triton.language as tl
from torch import Tensor

from .rows import TILE_ROWS, TILE_WARPS, TILE_WIDTH, WIDEST_ROW, as_rows, block, programs, row_warps


@triton.jit
def _index_select_fwd_kernel(x, index, out, M, D, K, x_stride, BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr):
    d = tl.arange(0, BLOCK_D)
    k = tl.arange(0, BLOCK_K)
    place = tl.load(index + k, mask=k < K, other=0)
    for m in range(tl.program_id(0).to(tl.int64), M, tl.num_programs(0)):
        row = tl.load(x + m * x_stride + d, mask=d < D, other=0.0)
        tl.store(out + m * K + k, tl.gather(row, place, 0), mask=k < K)


@triton.jit
def _index_select_tiled_fwd_kernel(x, index, out, M, K, x_stride, R: tl.constexpr, BLOCK: tl.constexpr):
    m = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    place = tl.load(index + k, mask=k < K, other=0)
    inside = (m < M)[:, None] & (k < K)[None, :]
    tl.store(out + m[:, None] * K + k[None, :], tl.load(x + m[:, None] * x_stride + place[None, :], mask=inside), mask=inside)


def index_select(x: Tensor, index: Tensor, inverse: Tensor | None, mask: Tensor | None) -> Tensor:
    """`x.index_select(-1, index)` of (..., D) float16, bfloat16 or float32, contiguous.

    Arguments and result are those of pydisp.ops.index_select; the index is trusted, and `inverse` and `mask` are for other backends.
    """
    width, kept = x.shape[-1], index.shape[0]
    out = x.new_empty((*x.shape[:-1], kept))
    if out.numel() == 0:
        return out
    rows, index = as_rows(x), index.contiguous()
    count = rows.shape[0]
    with torch.cuda.device_of(x):  # Triton launches on the current device, which may not be that of the tensors
        if width <= WIDEST_ROW:
            warps = row_warps(block(width))
            _index_select_fwd_kernel[(programs(count, warps, x.device),)](
                rows, index, out, count, width, kept, rows.stride(0), BLOCK_D=block(width), BLOCK_K=block(kept), num_warps=warps
            )
        else:
            _index_select_tiled_fwd_kernel[(triton.cdiv(count, TILE_ROWS), triton.cdiv(kept, TILE_WIDTH))](
                rows, index, out, count, kept, rows.stride(0), R=TILE_ROWS, BLOCK=TILE_WIDTH, num_warps=TILE_WARPS
            )
    return out
