"""add_norm_select on a GPU: one junction between two pruned blocks in one pass over the residual stream.

A program holds a row of the residual in registers. The update is read, and the selected norm written, through shared memory, so that all
traffic is contiguous and 128 bit wide and no atomics are needed. Rows wider than WIDEST_ROW are read in tiles, twice.
"""

# M rows, D hidden, A added dimensions, K kept dimensions, R rows of a tile

import torch
import triton
import triton.language as tl
from torch import Tensor

from .index_add import index_add, index_add_
from .norm_select import junction_gradients, row_statistics, select_tile, tile_statistics
from .rows import TILE_ROWS, TILE_WARPS, TILE_WIDTH, WIDEST_ROW, as_rows, as_rows_in_place, block, inverse_of, programs, row_warps


@triton.jit
def _add_norm_select_fwd_kernel(
    residual, update, add_inverse, weight, bias, index, new_residual, out,
    M, D, A, K, residual_stride, update_stride, new_residual_stride, eps, weight_offset,
    HAS_WEIGHT: tl.constexpr, HAS_BIAS: tl.constexpr, CENTER: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_A: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    d = tl.arange(0, BLOCK_D)
    a = tl.arange(0, BLOCK_A)
    k = tl.arange(0, BLOCK_K)
    add_place = tl.load(add_inverse + d, mask=d < D, other=-1)
    place = tl.load(index + k, mask=k < K, other=0)
    if HAS_WEIGHT:
        gain = tl.gather(tl.load(weight + d, mask=d < D, other=0.0), place, 0).to(tl.float32) + weight_offset
    if HAS_BIAS:
        shift = tl.gather(tl.load(bias + d, mask=d < D, other=0.0), place, 0).to(tl.float32)
    for m in range(tl.program_id(0).to(tl.int64), M, tl.num_programs(0)):
        row = tl.load(residual + m * residual_stride + d, mask=d < D, other=0.0)
        added = tl.gather(tl.load(update + m * update_stride + a, mask=a < A, other=0.0), tl.maximum(add_place, 0), 0)
        row = tl.where(add_place >= 0, (row.to(tl.float32) + added.to(tl.float32)).to(row.dtype), row)
        tl.store(new_residual + m * new_residual_stride + d, row, mask=d < D)
        mean, rstd = row_statistics(row.to(tl.float32), d < D, D, eps, CENTER)  # statistics of the residual as it is stored
        value = (tl.gather(row, place, 0).to(tl.float32) - mean) * rstd
        if HAS_WEIGHT:
            value *= gain
        if HAS_BIAS:
            value += shift
        tl.store(out + m * K + k, value.to(out.dtype.element_ty), mask=k < K)


@triton.jit
def _add_norm_select_tiled_fwd_kernel(
    residual, update, add_inverse, weight, bias, index, new_residual, out,
    M, D, A, K, residual_stride, update_stride, new_residual_stride, eps, weight_offset,
    HAS_WEIGHT: tl.constexpr, HAS_BIAS: tl.constexpr, CENTER: tl.constexpr, R: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    here = (m < M)[:, None]
    new_row = new_residual + m[:, None] * new_residual_stride
    for start in range(0, D, BLOCK):
        d = start + tl.arange(0, BLOCK)
        inside = here & (d < D)[None, :]
        add_place = tl.load(add_inverse + d, mask=d < D, other=-1)
        row = tl.load(residual + m[:, None] * residual_stride + d[None, :], mask=inside, other=0.0)
        hit = inside & (add_place >= 0)[None, :]
        added = tl.load(update + m[:, None] * update_stride + add_place[None, :], mask=hit, other=0.0)
        row = tl.where(hit, (row.to(tl.float32) + added.to(tl.float32)).to(row.dtype), row)
        tl.store(new_row + d[None, :], row, mask=inside)
    tl.debug_barrier()  # other threads of this program read the values stored above
    mean, rstd = tile_statistics(new_row, here, D, eps, CENTER, R, BLOCK)
    select_tile(new_row, m, mean, rstd, weight, bias, index, out, M, K, weight_offset, HAS_WEIGHT, HAS_BIAS, BLOCK)


def add_norm_select(
    residual: Tensor,
    update: Tensor,
    add_index: Tensor,
    add_inverse: Tensor | None,
    add_mask: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    select_index: Tensor,
    select_inverse: Tensor | None,
    select_mask: Tensor | None,
    eps: float,
    weight_offset: float,
    center: bool,
) -> tuple[Tensor, Tensor]:
    """index_add, then RMSNorm (LayerNorm with `center`), then index_select; float16, bfloat16 or float32.

    Arguments and results are those of pydisp.ops.add_norm_select. Indices are trusted; select_inverse and the masks are for other backends.
    The results of a row do not depend on the other rows.
    """
    new_residual = residual.new_empty(residual.shape)
    selected = residual.new_empty((*residual.shape[:-1], select_index.shape[0]))
    if selected.numel() == 0:
        return index_add(residual, update, add_index, add_inverse, add_mask), selected
    norm = weight, bias, select_index, eps, weight_offset, center
    _launch(as_rows(residual), update, add_index, add_inverse, *norm, as_rows(new_residual), selected)
    return new_residual, selected


def add_norm_select_(
    residual: Tensor,
    update: Tensor,
    add_index: Tensor,
    add_inverse: Tensor | None,
    add_mask: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    select_index: Tensor,
    select_inverse: Tensor | None,
    select_mask: Tensor | None,
    eps: float,
    weight_offset: float,
    center: bool,
) -> Tensor:
    """add_norm_select in place: changes `residual`, of any strides, and returns the selected norm."""
    rows = as_rows_in_place(residual)
    if rows is None:
        add, select = (add_index, add_inverse, add_mask), (select_index, select_inverse, select_mask)
        new_residual, selected = add_norm_select(residual, update, *add, weight, bias, *select, eps, weight_offset, center)
        residual.copy_(new_residual)
        return selected
    selected = residual.new_empty((*residual.shape[:-1], select_index.shape[0]))
    if selected.numel() == 0:
        index_add_(residual, update, add_index, add_inverse, add_mask)
    else:
        _launch(rows, update, add_index, add_inverse, weight, bias, select_index, eps, weight_offset, center, rows, selected)
    return selected


def _launch(residual, update, add_index, add_inverse, weight, bias, select_index, eps, weight_offset, center, new_residual, selected):
    """Write the new residual and the selected norm into the last two arguments; new_residual may be residual itself."""
    count, width = residual.shape
    added, kept = add_index.shape[0], select_index.shape[0]
    update, add_inverse = as_rows(update), inverse_of(add_index, add_inverse, width)
    weight, bias, index = (one if one is None else one.contiguous() for one in (weight, bias, select_index))
    arguments = (
        residual, update, add_inverse, weight, bias, index, new_residual, selected, count, width, added, kept,
        residual.stride(0), update.stride(0), new_residual.stride(0), eps, weight_offset,
    )  # fmt: skip
    flags = {"HAS_WEIGHT": weight is not None, "HAS_BIAS": bias is not None, "CENTER": center}
    with torch.cuda.device_of(residual):  # Triton launches on the current device, which may not be that of the tensors
        if width <= WIDEST_ROW:
            warps = row_warps(block(width))
            _add_norm_select_fwd_kernel[(programs(count, warps, residual.device),)](
                *arguments, **flags, BLOCK_D=block(width), BLOCK_A=block(added), BLOCK_K=block(kept), num_warps=warps
            )
        else:
            _add_norm_select_tiled_fwd_kernel[(triton.cdiv(count, TILE_ROWS),)](
                *arguments, **flags, R=TILE_ROWS, BLOCK=TILE_WIDTH, num_warps=TILE_WARPS
            )


def add_norm_select_backward(
    grad_residual: Tensor,
    grad_selected: Tensor,
    new_residual: Tensor,
    add_index: Tensor,
    add_inverse: Tensor | None,
    add_mask: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    select_index: Tensor,
    select_inverse: Tensor | None,
    select_mask: Tensor | None,
    eps: float,
    weight_offset: float,
    center: bool,
    needs_residual: bool,
    needs_update: bool,
    needs_weight: bool,
    needs_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of add_norm_select to residual, update, weight and bias, each in its tensor's dtype; 0 elements if it is not needed."""
    return junction_gradients(
        grad_residual, grad_selected, new_residual, add_index, weight, bias, select_index, select_inverse, eps, weight_offset, center,
        (needs_residual, needs_update, needs_weight, needs_bias),
    )  # fmt: skip
