"""index_add on a GPU, in gather form: each dimension of a row looks up the value to add, so no atomics are needed."""

# M rows, D hidden, A added dimensions, R rows of a tile

import torch
import triton
import triton.language as tl
from torch import Tensor

from .rows import TILE_ROWS, TILE_WARPS, TILE_WIDTH, WIDEST_ROW, as_rows, as_rows_in_place, block, inverse_of, programs, row_warps


@triton.jit
def _index_add_fwd_kernel(
    residual, update, inverse, out, M, D, A, residual_stride, update_stride, out_stride, BLOCK_D: tl.constexpr, BLOCK_A: tl.constexpr
):
    d = tl.arange(0, BLOCK_D)
    a = tl.arange(0, BLOCK_A)
    place = tl.load(inverse + d, mask=d < D, other=-1)
    for m in range(tl.program_id(0).to(tl.int64), M, tl.num_programs(0)):
        row = tl.load(residual + m * residual_stride + d, mask=d < D, other=0.0)
        added = tl.gather(tl.load(update + m * update_stride + a, mask=a < A, other=0.0), tl.maximum(place, 0), 0)
        row = tl.where(place >= 0, (row.to(tl.float32) + added.to(tl.float32)).to(row.dtype), row)
        tl.store(out + m * out_stride + d, row, mask=d < D)


@triton.jit
def _index_add_tiled_fwd_kernel(
    residual, update, inverse, out, M, D, residual_stride, update_stride, out_stride, R: tl.constexpr, BLOCK: tl.constexpr
):
    m = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    d = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    place = tl.load(inverse + d, mask=d < D, other=-1)
    inside = (m < M)[:, None] & (d < D)[None, :]
    row = tl.load(residual + m[:, None] * residual_stride + d[None, :], mask=inside, other=0.0)
    hit = inside & (place >= 0)[None, :]
    added = tl.load(update + m[:, None] * update_stride + place[None, :], mask=hit, other=0.0)
    row = tl.where(hit, (row.to(tl.float32) + added.to(tl.float32)).to(row.dtype), row)
    tl.store(out + m[:, None] * out_stride + d[None, :], row, mask=inside)


def index_add(residual: Tensor, update: Tensor, index: Tensor, inverse: Tensor | None, mask: Tensor | None) -> Tensor:
    """`residual.index_add(-1, index, update)` of (..., D) and (..., A) float16, bfloat16 or float32, contiguous.

    Arguments and result are those of pydisp.ops.index_add; the index is trusted, and `mask` is for another backend.
    """
    out = residual.new_empty(residual.shape)
    if out.numel():
        _add(as_rows(residual), update, index, inverse, as_rows(out))
    return out


def index_add_(residual: Tensor, update: Tensor, index: Tensor, inverse: Tensor | None, mask: Tensor | None) -> None:
    """index_add in place: changes `residual`, of any strides."""
    if residual.numel() == 0 or index.shape[0] == 0:
        return
    rows = as_rows_in_place(residual)
    if rows is None:
        residual.copy_(index_add(residual, update, index, inverse, mask))
    else:
        _add(rows, update, index, inverse, rows)


def _add(residual: Tensor, update: Tensor, index: Tensor, inverse: Tensor | None, out: Tensor) -> None:
    """Write the rows of residual + update into `out`, which may be residual itself."""
    count, width = residual.shape
    inverse, update = inverse_of(index, inverse, width), as_rows(update)
    strides = residual.stride(0), update.stride(0), out.stride(0)
    with torch.cuda.device_of(residual):  # Triton launches on the current device, which may not be that of the tensors
        if width <= WIDEST_ROW:
            warps = row_warps(block(width))
            _index_add_fwd_kernel[(programs(count, warps, residual.device),)](
                residual, update, inverse, out, count, width, index.shape[0], *strides,
                BLOCK_D=block(width), BLOCK_A=block(index.shape[0]), num_warps=warps,
            )  # fmt: skip
        else:
            _index_add_tiled_fwd_kernel[(triton.cdiv(count, TILE_ROWS), triton.cdiv(width, TILE_WIDTH))](
                residual, update, inverse, out, count, width, *strides, R=TILE_ROWS, BLOCK=TILE_WIDTH, num_warps=TILE_WARPS
            )
