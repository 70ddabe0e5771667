"""norm_select on a GPU: the norm at full width, then the kept dimensions; each row is read once.

A program holds a row in registers, computes its statistics, and moves kept dimensions through shared memory (tl.gather), so that all
traffic is contiguous and 128 bit wide. It handles many rows one after the other, and keeps index, gain and bias in registers meanwhile.
The gradient works the same way in gather form: each dimension looks up its place in the index (`inverse`), so no atomics are needed. Each
program sums the gradients of gain and bias over its rows; then they are summed over the programs in a fixed order. Rows wider than
WIDEST_ROW are read in tiles, twice.
"""

# M rows, D hidden, K kept dimensions, R rows of a tile, P partial sums of a gradient

import torch
import triton
import triton.language as tl
from torch import Tensor

from .index_select import index_select
from .rows import TILE_ROWS, TILE_WARPS, TILE_WIDTH, WIDEST_ROW, as_rows, block, inverse_of, programs, row_warps

WEIGHT_TILE = 256  # dimensions per program in the weight gradient of wide rows
WEIGHT_PARTIALS = 64


@triton.jit
def row_statistics(value, inside, D, eps, CENTER: tl.constexpr):
    """Mean (0 unless CENTER) and 1 / standard deviation of a float32 row; lanes outside of the row hold 0."""
    mean = 0.0
    if CENTER:
        mean = tl.sum(value, 0) / D
        value = tl.where(inside, value - mean, 0.0)  # in a lane outside, 0 minus the mean would count
    return mean, tl.rsqrt(tl.sum(value * value, 0) / D + eps)


@triton.jit
def _norm_select_fwd_kernel(
    x, weight, bias, index, out, M, D, K, x_stride, eps, weight_offset,
    HAS_WEIGHT: tl.constexpr, HAS_BIAS: tl.constexpr, CENTER: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    d = tl.arange(0, BLOCK_D)
    k = tl.arange(0, BLOCK_K)
    place = tl.load(index + k, mask=k < K, other=0)
    if HAS_WEIGHT:
        gain = tl.gather(tl.load(weight + d, mask=d < D, other=0.0), place, 0).to(tl.float32) + weight_offset
    if HAS_BIAS:
        shift = tl.gather(tl.load(bias + d, mask=d < D, other=0.0), place, 0).to(tl.float32)
    for m in range(tl.program_id(0).to(tl.int64), M, tl.num_programs(0)):
        row = tl.load(x + m * x_stride + d, mask=d < D, other=0.0)
        mean, rstd = row_statistics(row.to(tl.float32), d < D, D, eps, CENTER)
        value = (tl.gather(row, place, 0).to(tl.float32) - mean) * rstd
        if HAS_WEIGHT:
            value *= gain
        if HAS_BIAS:
            value += shift
        tl.store(out + m * K + k, value.to(out.dtype.element_ty), mask=k < K)


@triton.jit
def tile_statistics(row, here, D, eps, CENTER: tl.constexpr, R: tl.constexpr, BLOCK: tl.constexpr):
    """Means and 1 / standard deviations (R,) of R rows that start at `row` (R, 1); only rows in `here` (R, 1) are read."""
    total = tl.zeros([R, BLOCK], tl.float32)
    if CENTER:
        for start in range(0, D, BLOCK):
            d = (start + tl.arange(0, BLOCK))[None, :]
            total += tl.load(row + d, mask=here & (d < D), other=0.0).to(tl.float32)
    mean = tl.sum(total, 1) / D
    squares = tl.zeros([R, BLOCK], tl.float32)
    for start in range(0, D, BLOCK):
        d = (start + tl.arange(0, BLOCK))[None, :]
        value = tl.load(row + d, mask=here & (d < D), other=0.0).to(tl.float32)
        value = tl.where(d < D, value - mean[:, None], 0.0)
        squares += value * value
    return mean, tl.rsqrt(tl.sum(squares, 1) / D + eps)


@triton.jit
def select_tile(
    row, m, mean, rstd, weight, bias, index, out, M, K, weight_offset,
    HAS_WEIGHT: tl.constexpr, HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the kept dimensions of the normed rows m (R,), which start at `row` (R, 1), to out (M, K)."""
    for start in range(0, K, BLOCK):
        k = start + tl.arange(0, BLOCK)
        place = tl.load(index + k, mask=k < K, other=0)
        inside = (m < M)[:, None] & (k < K)[None, :]
        value = (tl.load(row + place[None, :], mask=inside, other=0.0).to(tl.float32) - mean[:, None]) * rstd[:, None]
        if HAS_WEIGHT:
            value *= (tl.load(weight + place, mask=k < K, other=0.0).to(tl.float32) + weight_offset)[None, :]
        if HAS_BIAS:
            value += tl.load(bias + place, mask=k < K, other=0.0).to(tl.float32)[None, :]
        tl.store(out + m[:, None] * K + k[None, :], value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _norm_select_tiled_fwd_kernel(
    x, weight, bias, index, out, M, D, K, x_stride, eps, weight_offset,
    HAS_WEIGHT: tl.constexpr, HAS_BIAS: tl.constexpr, CENTER: tl.constexpr, R: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    row = x + m[:, None] * x_stride
    mean, rstd = tile_statistics(row, (m < M)[:, None], D, eps, CENTER, R, BLOCK)
    select_tile(row, m, mean, rstd, weight, bias, index, out, M, K, weight_offset, HAS_WEIGHT, HAS_BIAS, BLOCK)


@triton.jit
def _norm_select_bwd_kernel(
    grad_selected, grad_residual, x, weight, inverse, update_index, grad_x, grad_update, grad_weight, grad_bias,
    M, D, K, A, grad_residual_stride, grad_selected_stride, x_stride, eps, weight_offset,
    HAS_RESIDUAL: tl.constexpr, HAS_WEIGHT: tl.constexpr, CENTER: tl.constexpr, NEEDS_X: tl.constexpr, NEEDS_UPDATE: tl.constexpr,
    NEEDS_WEIGHT: tl.constexpr, NEEDS_BIAS: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_A: tl.constexpr,
):  # fmt: skip
    """Gradients of the rows m, m + programs, ...; those of gain and bias as partial sums (programs, D).

    With grad_residual it is the gradient of the junction (add_norm_select): the sum of both paths, and its part for the update.
    """
    d = tl.arange(0, BLOCK_D)
    k = tl.arange(0, BLOCK_K)
    a = tl.arange(0, BLOCK_A)
    place = tl.load(inverse + d, mask=d < D, other=-1)
    if NEEDS_UPDATE:
        update_place = tl.load(update_index + a, mask=a < A, other=0)
    if HAS_WEIGHT:
        gain = tl.load(weight + d, mask=d < D, other=0.0).to(tl.float32) + weight_offset
    if NEEDS_WEIGHT:
        weight_sum = tl.zeros([BLOCK_D], tl.float32)
    if NEEDS_BIAS:
        bias_sum = tl.zeros([BLOCK_D], tl.float32)
    for m in range(tl.program_id(0).to(tl.int64), M, tl.num_programs(0)):
        value = tl.load(x + m * x_stride + d, mask=d < D, other=0.0).to(tl.float32)
        mean, rstd = row_statistics(value, d < D, D, eps, CENTER)
        normed = tl.where(d < D, value - mean, 0.0) * rstd
        selected = tl.load(grad_selected + m * grad_selected_stride + k, mask=k < K, other=0.0)
        grad = tl.where(place >= 0, tl.gather(selected, tl.maximum(place, 0), 0).to(tl.float32), 0.0)
        if NEEDS_WEIGHT:
            weight_sum += grad * normed
        if NEEDS_BIAS:
            bias_sum += grad
        if NEEDS_X or NEEDS_UPDATE:
            if HAS_WEIGHT:
                grad *= gain
            # Every dimension of x enters the mean square (and the mean), so each gets a gradient from every kept dimension.
            total = grad - normed * (tl.sum(grad * normed, 0) / D)
            if CENTER:
                total -= tl.sum(grad, 0) / D
            total *= rstd
            if HAS_RESIDUAL:
                total += tl.load(grad_residual + m * grad_residual_stride + d, mask=d < D, other=0.0).to(tl.float32)
            rounded = total.to(x.dtype.element_ty)
            if NEEDS_X:
                tl.store(grad_x + m * D + d, rounded, mask=d < D)
            if NEEDS_UPDATE:
                tl.store(grad_update + m * A + a, tl.gather(rounded, update_place, 0), mask=a < A)
    if NEEDS_WEIGHT:
        tl.store(grad_weight + tl.program_id(0).to(tl.int64) * D + d, weight_sum, mask=d < D)
    if NEEDS_BIAS:
        tl.store(grad_bias + tl.program_id(0).to(tl.int64) * D + d, bias_sum, mask=d < D)


@triton.jit
def _norm_select_tiled_bwd_kernel(
    grad_selected, grad_residual, x, weight, inverse, grad_x, means, rstds,
    M, D, grad_residual_stride, grad_selected_stride, x_stride, eps, weight_offset,
    HAS_RESIDUAL: tl.constexpr, HAS_WEIGHT: tl.constexpr, CENTER: tl.constexpr, NEEDS_X: tl.constexpr, R: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient to x for R rows, and the statistics of these rows for the weight gradient."""
    m = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    here = (m < M)[:, None]
    row = x + m[:, None] * x_stride
    mean, rstd = tile_statistics(row, here, D, eps, CENTER, R, BLOCK)
    tl.store(means + m, mean, mask=m < M)
    tl.store(rstds + m, rstd, mask=m < M)
    if NEEDS_X:
        along = tl.zeros([R, BLOCK], tl.float32)
        plain = tl.zeros([R, BLOCK], tl.float32)
        for start in range(0, D, BLOCK):
            d = start + tl.arange(0, BLOCK)
            place = tl.load(inverse + d, mask=d < D, other=-1)
            hit = here & (place >= 0)[None, :]
            grad = tl.load(grad_selected + m[:, None] * grad_selected_stride + place[None, :], mask=hit, other=0.0).to(tl.float32)
            if HAS_WEIGHT:
                grad *= (tl.load(weight + d, mask=d < D, other=0.0).to(tl.float32) + weight_offset)[None, :]
            value = tl.load(row + d[None, :], mask=hit, other=0.0).to(tl.float32)
            along += grad * (value - mean[:, None]) * rstd[:, None]
            plain += grad
        along_mean = tl.sum(along, 1) / D
        plain_mean = tl.sum(plain, 1) / D
        for start in range(0, D, BLOCK):
            d = start + tl.arange(0, BLOCK)
            inside = here & (d < D)[None, :]
            place = tl.load(inverse + d, mask=d < D, other=-1)
            hit = here & (place >= 0)[None, :]
            grad = tl.load(grad_selected + m[:, None] * grad_selected_stride + place[None, :], mask=hit, other=0.0).to(tl.float32)
            if HAS_WEIGHT:
                grad *= (tl.load(weight + d, mask=d < D, other=0.0).to(tl.float32) + weight_offset)[None, :]
            normed = (tl.load(row + d[None, :], mask=inside, other=0.0).to(tl.float32) - mean[:, None]) * rstd[:, None]
            total = grad - normed * along_mean[:, None]
            if CENTER:
                total -= plain_mean[:, None]
            total *= rstd[:, None]
            if HAS_RESIDUAL:
                from_residual = grad_residual + m[:, None] * grad_residual_stride + d[None, :]
                total += tl.load(from_residual, mask=inside, other=0.0).to(tl.float32)
            tl.store(grad_x + m[:, None] * D + d[None, :], total.to(grad_x.dtype.element_ty), mask=inside)


@triton.jit
def _weight_tiled_bwd_kernel(
    grad_selected, x, inverse, means, rstds, grad_weight, grad_bias, M, D, grad_selected_stride, x_stride,
    NEEDS_WEIGHT: tl.constexpr, NEEDS_BIAS: tl.constexpr, R: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Partial sums (P, D) of the gradients of gain and bias: program (i, p) adds BLOCK dimensions of the row tiles p, p + P, ..."""
    d = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    place = tl.load(inverse + d, mask=d < D, other=-1)
    weight_sum = tl.zeros([R, BLOCK], tl.float32)
    bias_sum = tl.zeros([R, BLOCK], tl.float32)
    for start in range(tl.program_id(1).to(tl.int64) * R, M, tl.num_programs(1) * R):
        m = start + tl.arange(0, R)
        hit = (m < M)[:, None] & (place >= 0)[None, :]
        grad = tl.load(grad_selected + m[:, None] * grad_selected_stride + place[None, :], mask=hit, other=0.0).to(tl.float32)
        if NEEDS_WEIGHT:
            mean = tl.load(means + m, mask=m < M, other=0.0)
            rstd = tl.load(rstds + m, mask=m < M, other=0.0)
            value = tl.load(x + m[:, None] * x_stride + d[None, :], mask=hit, other=0.0).to(tl.float32)
            weight_sum += grad * (value - mean[:, None]) * rstd[:, None]
        bias_sum += grad
    partial = tl.program_id(1).to(tl.int64) * D + d
    if NEEDS_WEIGHT:
        tl.store(grad_weight + partial, tl.sum(weight_sum, 0), mask=d < D)
    if NEEDS_BIAS:
        tl.store(grad_bias + partial, tl.sum(bias_sum, 0), mask=d < D)


def norm_select(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    index: Tensor,
    inverse: Tensor | None,
    mask: Tensor | None,
    eps: float,
    weight_offset: float,
    center: bool,
) -> Tensor:
    """RMSNorm (LayerNorm with `center`) of (..., D) and then the K dimensions of `index`; float16, bfloat16 or float32.

    Arguments and result are those of pydisp.ops.norm_select; the index is trusted, and `inverse` and `mask` are for other backends.
    The result of a row does not depend on the other rows.
    """
    width, kept = x.shape[-1], index.shape[0]
    out = x.new_empty((*x.shape[:-1], kept))
    if out.numel() == 0:
        return out
    rows = as_rows(x)
    weight, bias, index = (one if one is None else one.contiguous() for one in (weight, bias, index))
    count = rows.shape[0]
    arguments = rows, weight, bias, index, out, count, width, kept, rows.stride(0), eps, weight_offset
    flags = {"HAS_WEIGHT": weight is not None, "HAS_BIAS": bias is not None, "CENTER": center}
    with torch.cuda.device_of(x):  # Triton launches on the current device, which may not be that of the tensors
        if width <= WIDEST_ROW:
            warps = row_warps(block(width))
            _norm_select_fwd_kernel[(programs(count, warps, x.device),)](
                *arguments, **flags, BLOCK_D=block(width), BLOCK_K=block(kept), num_warps=warps
            )
        else:
            _norm_select_tiled_fwd_kernel[(triton.cdiv(count, TILE_ROWS),)](
                *arguments, **flags, R=TILE_ROWS, BLOCK=TILE_WIDTH, num_warps=TILE_WARPS
            )
    return out


def norm_select_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    index: Tensor,
    inverse: Tensor | None,
    mask: Tensor | None,
    eps: float,
    weight_offset: float,
    center: bool,
    needs_x: bool,
    needs_weight: bool,
    needs_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of norm_select to x, weight and bias, each in the dtype of its tensor; 0 elements if it is not needed."""
    grad_x, _, grad_weight, grad_bias = junction_gradients(
        None, grad, x, None, weight, bias, index, inverse, eps, weight_offset, center, (needs_x, False, needs_weight, needs_bias)
    )
    return grad_x, grad_weight, grad_bias


def junction_gradients(
    grad_residual: Tensor | None,
    grad_selected: Tensor,
    x: Tensor,
    add_index: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    index: Tensor,
    inverse: Tensor | None,
    eps: float,
    weight_offset: float,
    center: bool,
    needs: tuple[bool, bool, bool, bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of norm_select (with grad_residual and add_index: of add_norm_select) to x, update, weight and bias.

    Each program sums over its rows, then torch.sum over the programs; a repetition on the same device gives the same bits.
    """
    needs_x, needs_update = needs[:2]
    needs_weight, needs_bias = needs[2] and weight is not None, needs[3] and bias is not None
    width, kept, added = x.shape[-1], index.shape[0], 0 if add_index is None else add_index.shape[0]
    rows, selected = as_rows(x), as_rows(grad_selected)
    count = rows.shape[0]
    grad_x = x.new_empty(x.shape if needs_x else 0)
    grad_update = x.new_empty((*x.shape[:-1], added) if needs_update else 0)
    if count == 0 or width == 0 or not (needs_x or needs_update or needs_weight or needs_bias):
        grads = (
            one.new_zeros(width) if asked else (x if one is None else one).new_empty(0)
            for one, asked in ((weight, needs_weight), (bias, needs_bias))
        )
        return grad_x, grad_update, *grads
    inverse = inverse_of(index, inverse, width)
    gain = None if weight is None else weight.contiguous()
    from_residual = None if grad_residual is None else as_rows(grad_residual)
    residual_stride = 0 if from_residual is None else from_residual.stride(0)
    flags = {"HAS_RESIDUAL": from_residual is not None, "HAS_WEIGHT": gain is not None, "CENTER": center}
    with torch.cuda.device_of(x):  # Triton launches on the current device, which may not be that of the tensors
        if width <= WIDEST_ROW:
            warps = row_warps(block(width), elements=8)
            grid = programs(count, warps, x.device)
            sums = _partial_sums(grid, width, needs_weight, needs_bias, x.device)
            _norm_select_bwd_kernel[(grid,)](
                selected, from_residual, rows, gain, inverse, None if add_index is None else add_index.contiguous(),
                grad_x, grad_update, *sums, count, width, kept, added, residual_stride, selected.stride(0), rows.stride(0),
                eps, weight_offset, **flags, NEEDS_X=needs_x, NEEDS_UPDATE=needs_update, NEEDS_WEIGHT=needs_weight,
                NEEDS_BIAS=needs_bias, BLOCK_D=block(width), BLOCK_K=block(kept), BLOCK_A=block(added), num_warps=warps,
            )  # fmt: skip
        else:
            total = grad_x if needs_x else x.new_empty(x.shape if needs_update else 0)
            means, rstds = (torch.empty(count, dtype=torch.float32, device=x.device) for _ in range(2))
            _norm_select_tiled_bwd_kernel[(triton.cdiv(count, TILE_ROWS),)](
                selected, from_residual, rows, gain, inverse, total, means, rstds, count, width, residual_stride, selected.stride(0),
                rows.stride(0), eps, weight_offset, **flags, NEEDS_X=needs_x or needs_update, R=TILE_ROWS, BLOCK=TILE_WIDTH,
                num_warps=TILE_WARPS,
            )  # fmt: skip
            if needs_update:
                grad_update = index_select(total, add_index, None, None)
            partials = min(WEIGHT_PARTIALS, triton.cdiv(count, TILE_ROWS))
            sums = _partial_sums(partials, width, needs_weight, needs_bias, x.device)
            if needs_weight or needs_bias:
                _weight_tiled_bwd_kernel[(triton.cdiv(width, WEIGHT_TILE), partials)](
                    selected, rows, inverse, means, rstds, *sums, count, width, selected.stride(0), rows.stride(0),
                    NEEDS_WEIGHT=needs_weight, NEEDS_BIAS=needs_bias, R=TILE_ROWS, BLOCK=WEIGHT_TILE, num_warps=4,
                )  # fmt: skip
    vectors = ((one, x if like is None else like) for one, like in zip(sums, (weight, bias), strict=True))
    grads = (like.new_empty(0) if one is None else one.sum(0).to(like.dtype) for one, like in vectors)
    return grad_x, grad_update, *grads


def _partial_sums(partials: int, width: int, needs_weight: bool, needs_bias: bool, device: torch.device) -> tuple[Tensor | None, ...]:
    return tuple(
        torch.empty((partials, width), dtype=torch.float32, device=device) if needed else None for needed in (needs_weight, needs_bias)
    )
