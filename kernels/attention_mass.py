"""attention_mass on a GPU: how much attention each query gives to groups of keys, and its entropy, in one sweep over the keys.

    mass, mass_sum, entropy, lse, maximum = attention_mass(q, k, groups, 16, True, 0, 0.125, 0.0, None, None, None, False)

This is flash attention with indicators as values: a (keys, groups) tile of zeros and ones, made in registers from one 64-bit mask per key.
The probabilities enter that product as two float16 terms, scaled by 2**15 until the end. That keeps 22 bits of them; one bfloat16 term
would keep 8. The entropy is log(sum p) - sum(p * (s - max)) / sum p, from the same sweep; the formula with the LSE would lose digits. The
attention weights are never in memory. Nothing is summed by atomics, so the same input gives the same bits.

The online softmax is that of FlashAttention (https://arxiv.org/abs/2205.14135). Long rows of keys are cut as in Flash-Decoding
(https://pytorch.org/blog/flash-decoding/).
"""

# B batch, H query heads, Tq queries, Tk keys, C groups; in kernels N rows of a block of queries, S partials of a row

import torch
import triton
import triton.language as tl
from pydisp.kernels.softcap import capped
from pydisp.kernels.target import is_hip
from torch import Tensor

SPLIT_QUERIES = 16  # so few queries or fewer cannot fill a GPU by themselves, so their keys are cut into parts
SPLIT_KEYS = 1024  # keys of one part; parts depend only on the number of keys, so that the batch does not change a row
WIDE = 16  # elements; what Triton must know to divide the strides before it reads more than one element at a time
_LOG2E = tl.constexpr(1.4426950408889634)
_LN2 = tl.constexpr(0.6931471805599453)
_NO_SCORE = tl.constexpr(-3.4028234663852886e38)  # not above any finite score, and finite, because -inf minus -inf would be NaN
_UNDERFLOW = tl.constexpr(-200.0)  # exp2 of it is 0 in float32 even after scaling by 2**15; and 0 times it is 0, while 0 times -inf is NaN
_HEADROOM = tl.constexpr(15.0)  # p <= 1, so 2**15 * p stays below float16's 65504, and float16 drops only values 2**15 times smaller


@triton.jit
def _score(product, scale, softcap, HAS_SOFTCAP: tl.constexpr):
    """The logit, in units of log 2, from q @ k."""
    if HAS_SOFTCAP:
        return capped(product * scale, softcap) * _LOG2E
    return product * (scale * _LOG2E)


@triton.jit
def _seen(position, key, Tk, window, CAUSAL: tl.constexpr, WINDOW: tl.constexpr):
    """Whether the query at `position` sees `key`; both arguments broadcast."""
    seen = key < Tk
    if CAUSAL:
        seen = seen & (key <= position)
    if WINDOW:
        seen = seen & (key > position - window)
    return seen


@triton.jit
def _sweep(
    highest, total, slope, mass, q_tile, k, groups, key_mask, position, low, high, Tk, Dh, k_stride, window, scale, softcap,
    EDGE: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, HAS_SOFTCAP: tl.constexpr, EVEN_D: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Add keys [low, high) to the running statistics of the queries; without EDGE, every query sees all these keys."""
    d = tl.arange(0, BLOCK_D)
    group = tl.arange(0, BLOCK_C)
    for start in range(low, high, BLOCK_K):
        key = start + tl.arange(0, BLOCK_K)
        inside = key
        if EDGE:
            inside = tl.minimum(key, Tk - 1)
        k_at = k + inside.to(tl.int64)[None, :] * k_stride + d[:, None]
        k_tile = tl.load(k_at) if EVEN_D else tl.load(k_at, mask=(d < Dh)[:, None], other=0.0)
        score = _score(tl.dot(q_tile, k_tile, input_precision=PRECISION), scale, softcap, HAS_SOFTCAP)
        if EDGE:
            score = tl.where(_seen(position[:, None], key[None, :], Tk, window, CAUSAL, WINDOW), score, float("-inf"))
        if key_mask is not None:
            score = tl.where((tl.load(key_mask + inside) != 0)[None, :], score, float("-inf"))
        new = tl.maximum(highest, tl.max(score, 1))
        down = tl.maximum(highest - new, _UNDERFLOW)
        shrink = tl.exp2(down)
        distance = tl.maximum(score - new[:, None], _UNDERFLOW, propagate_nan=tl.PropagateNan.ALL)
        p = tl.exp2(distance + _HEADROOM)
        slope = shrink * (slope + down * total) + tl.sum(p * distance, 1)
        total = total * shrink + tl.sum(p, 1)
        bits = tl.load(groups + inside)
        if BLOCK_C <= 32:
            bits = bits.to(tl.int32)  # shifts of 64 bits take two instructions and more
        indicator = ((bits[:, None] >> group[None, :]) & 1).to(tl.float16)
        upper = p.to(tl.float16)
        lower = (p - upper.to(tl.float32)).to(tl.float16)
        mass = tl.dot(upper, indicator, mass * shrink[:, None])
        mass = tl.dot(lower, indicator, mass)
        highest = new
    return highest, total, slope, mass


@triton.jit
def _store_rows(
    mass_out, sums_out, entropy_out, lse_out, maximum_out, query_mask, sink, highest, total, slope, mass, row, sums_at, C, inside,
    HAS_SINK: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Finish and store rows: `row` (N,) is their place in (B * H * Tq), `sums_at` that of the block's sum; query_mask points at them."""
    group = tl.arange(0, BLOCK_C)
    # tl.max ignores a NaN, the sum does not
    maximum = tl.where(total == total, tl.where(total == 0.0, float("-inf"), highest * _LN2), float("nan"))
    tl.store(maximum_out + row, maximum, mask=inside)
    if HAS_SINK:
        new = tl.maximum(highest, sink)
        down = tl.maximum(highest - new, _UNDERFLOW)
        shrink = tl.exp2(down)
        # a sink of NaN or +inf leaves a NaN here, as in the reference; one of -inf does not
        own_distance = tl.maximum(sink - new, _UNDERFLOW, propagate_nan=tl.PropagateNan.ALL)
        own = tl.exp2(own_distance + _HEADROOM)
        slope = shrink * (slope + down * total) + own * own_distance
        total = total * shrink + own
        mass = mass * shrink[:, None]
        highest = new
    empty = total == 0.0
    divisor = tl.where(empty, 1.0, total)
    log_total = tl.log2(divisor) - _HEADROOM
    tl.store(lse_out + row, tl.where(empty, float("-inf"), (highest + log_total) * _LN2), mask=inside)
    entropy = tl.maximum((log_total - slope / divisor) * _LN2, 0.0, propagate_nan=tl.PropagateNan.ALL)
    tl.store(entropy_out + row, tl.where(empty, 0.0, entropy), mask=inside)
    mass = mass / divisor[:, None]
    stored = group < C
    if mass_out is not None:
        tl.store(mass_out + row[:, None] * C + group[None, :], mass, mask=inside[:, None] & stored[None, :])
    counted = inside
    if query_mask is not None:
        counted = counted & (tl.load(query_mask, mask=inside, other=0) != 0)
    tl.store(sums_out + sums_at * C + group, tl.sum(tl.where(counted[:, None], mass, 0.0), 0), mask=stored)


@triton.jit
def _attention_mass_kernel(
    q, k, groups, key_mask, query_mask, sinks, mass_out, sums_out, entropy_out, lse_out, maximum_out,
    H, Tq, Tk, C, Dh, q_stride_b, q_stride_h, q_stride_t, k_stride_b, k_stride_h, k_stride_t, window, scale, softcap, blocks,
    GQA: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, HAS_SOFTCAP: tl.constexpr, EVEN_D: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    block = blocks - 1 - tl.program_id(0) % blocks  # under a causal mask the last queries have the most work, so they start first
    bh = (tl.program_id(0) // blocks).to(tl.int64)
    b = bh // H
    h = bh % H
    query = block * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = query < Tq
    d = tl.arange(0, BLOCK_D)
    q_at = q + b * q_stride_b + h * q_stride_h + tl.minimum(query, Tq - 1).to(tl.int64)[:, None] * q_stride_t + d[None, :]
    q_tile = tl.load(q_at) if EVEN_D else tl.load(q_at, mask=(d < Dh)[None, :], other=0.0)
    k += b * k_stride_b + h // GQA * k_stride_h
    groups += b * Tk
    if key_mask is not None:
        key_mask += b * Tk
    if query_mask is not None:
        query_mask += b * Tq + query
    position = Tk - Tq + query
    first = Tk - Tq + block * BLOCK_N
    last = tl.minimum(first + BLOCK_N, Tk) - 1
    # [low, full_low) and [full_high, high) hold keys that some query of the block does not see
    low = 0
    high = Tk
    full_low = 0
    full_high = Tk // BLOCK_K * BLOCK_K
    if CAUSAL:
        high = last + 1
        full_high = (first + 1) // BLOCK_K * BLOCK_K
    if WINDOW:
        low = tl.maximum(first - window + 1, 0) // BLOCK_K * BLOCK_K
        full_low = tl.minimum((tl.maximum(last - window + 1, 0) + BLOCK_K - 1) // BLOCK_K * BLOCK_K, high)
        full_high = tl.maximum(full_high, full_low)
    highest = tl.full([BLOCK_N], _NO_SCORE, tl.float32)
    total = tl.zeros([BLOCK_N], tl.float32)
    slope = tl.zeros([BLOCK_N], tl.float32)
    mass = tl.zeros([BLOCK_N, BLOCK_C], tl.float32)
    if WINDOW:
        highest, total, slope, mass = _sweep(
            highest, total, slope, mass, q_tile, k, groups, key_mask, position, low, full_low, Tk, Dh, k_stride_t, window, scale, softcap,
            True, CAUSAL, WINDOW, HAS_SOFTCAP, EVEN_D, PRECISION, BLOCK_K, BLOCK_D, BLOCK_C,
        )  # fmt: skip
    highest, total, slope, mass = _sweep(
        highest, total, slope, mass, q_tile, k, groups, key_mask, position, full_low, full_high, Tk, Dh, k_stride_t, window, scale, softcap,
        False, CAUSAL, WINDOW, HAS_SOFTCAP, EVEN_D, PRECISION, BLOCK_K, BLOCK_D, BLOCK_C,
    )  # fmt: skip
    highest, total, slope, mass = _sweep(
        highest, total, slope, mass, q_tile, k, groups, key_mask, position, full_high, high, Tk, Dh, k_stride_t, window, scale, softcap,
        True, CAUSAL, WINDOW, HAS_SOFTCAP, EVEN_D, PRECISION, BLOCK_K, BLOCK_D, BLOCK_C,
    )  # fmt: skip
    sink = 0.0
    if sinks is not None:
        sink = tl.load(sinks + h) * _LOG2E
    _store_rows(
        mass_out, sums_out, entropy_out, lse_out, maximum_out, query_mask, sink, highest, total, slope, mass,
        bh * Tq + query, bh * blocks + block, C, inside, sinks is not None, BLOCK_C,
    )  # fmt: skip


@triton.jit
def _attention_mass_split_kernel(
    q, k, groups, key_mask, highest_out, total_out, slope_out, mass_out,
    H, Tq, Tk, Dh, q_stride_b, q_stride_h, q_stride_t, k_stride_b, k_stride_h, k_stride_t, window, scale, softcap, cut_keys, rows_of_cut,
    GQA: tl.constexpr, PACK: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, HAS_SOFTCAP: tl.constexpr, EVEN_D: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    # All queries of the GQA heads that share a key head are in one program, PACK rows per query, so that the keys are read once
    cut = tl.program_id(1)
    bhk = tl.program_id(0).to(tl.int64)
    kv_heads = H // GQA
    b = bhk // kv_heads
    kv_head = bhk % kv_heads
    packed = tl.program_id(2) * BLOCK_N + tl.arange(0, BLOCK_N)
    query = packed // PACK
    inside = (query < Tq) & (packed % PACK < GQA)
    query = tl.minimum(query, Tq - 1)
    h = kv_head * GQA + tl.minimum(packed % PACK, GQA - 1)
    d = tl.arange(0, BLOCK_D)
    q_at = q + b * q_stride_b + h[:, None] * q_stride_h + query.to(tl.int64)[:, None] * q_stride_t + d[None, :]
    q_tile = tl.load(q_at) if EVEN_D else tl.load(q_at, mask=(d < Dh)[None, :], other=0.0)
    k += b * k_stride_b + kv_head * k_stride_h
    groups += b * Tk
    if key_mask is not None:
        key_mask += b * Tk
    position = Tk - Tq + query
    low = cut * cut_keys
    high = tl.minimum(low + cut_keys, Tk)
    full_high = high // BLOCK_K * BLOCK_K
    full_low = low
    if CAUSAL:
        full_high = tl.minimum(full_high, tl.maximum(Tk - Tq + 1, 0) // BLOCK_K * BLOCK_K)
    if WINDOW:
        low = tl.maximum(low, tl.maximum(Tk - Tq - window + 1, 0) // BLOCK_K * BLOCK_K)
        full_low = tl.maximum(low, tl.minimum((tl.maximum(Tk - window, 0) + BLOCK_K - 1) // BLOCK_K * BLOCK_K, high))
    full_high = tl.maximum(full_high, full_low)
    highest = tl.full([BLOCK_N], _NO_SCORE, tl.float32)
    total = tl.zeros([BLOCK_N], tl.float32)
    slope = tl.zeros([BLOCK_N], tl.float32)
    mass = tl.zeros([BLOCK_N, BLOCK_C], tl.float32)
    if WINDOW:
        highest, total, slope, mass = _sweep(
            highest, total, slope, mass, q_tile, k, groups, key_mask, position, low, full_low, Tk, Dh, k_stride_t, window, scale, softcap,
            True, CAUSAL, WINDOW, HAS_SOFTCAP, EVEN_D, PRECISION, BLOCK_K, BLOCK_D, BLOCK_C,
        )  # fmt: skip
    highest, total, slope, mass = _sweep(
        highest, total, slope, mass, q_tile, k, groups, key_mask, position, full_low, full_high, Tk, Dh, k_stride_t, window, scale, softcap,
        False, CAUSAL, WINDOW, HAS_SOFTCAP, EVEN_D, PRECISION, BLOCK_K, BLOCK_D, BLOCK_C,
    )  # fmt: skip
    highest, total, slope, mass = _sweep(
        highest, total, slope, mass, q_tile, k, groups, key_mask, position, full_high, high, Tk, Dh, k_stride_t, window, scale, softcap,
        True, CAUSAL, WINDOW, HAS_SOFTCAP, EVEN_D, PRECISION, BLOCK_K, BLOCK_D, BLOCK_C,
    )  # fmt: skip
    row = cut.to(tl.int64) * rows_of_cut + (b * H + h) * Tq + query
    tl.store(highest_out + row, highest, mask=inside)
    tl.store(total_out + row, total, mask=inside)
    tl.store(slope_out + row, slope, mask=inside)
    tl.store(mass_out + row[:, None] * BLOCK_C + tl.arange(0, BLOCK_C)[None, :], mass, mask=inside[:, None])


@triton.jit
def _attention_mass_merge_kernel(
    highest_in, total_in, slope_in, mass_in, query_mask, sinks, mass_out, sums_out, entropy_out, lse_out, maximum_out,
    H, Tq, C, cuts, rows_of_cut, BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    bh = tl.program_id(0).to(tl.int64)
    query = tl.arange(0, BLOCK_N)
    inside = query < Tq
    row = bh * Tq + query
    part = bh * Tq + tl.minimum(query, Tq - 1)
    highest = tl.full([BLOCK_N], _NO_SCORE, tl.float32)
    total = tl.zeros([BLOCK_N], tl.float32)
    slope = tl.zeros([BLOCK_N], tl.float32)
    mass = tl.zeros([BLOCK_N, BLOCK_C], tl.float32)
    for _ in range(cuts):
        part_highest = tl.load(highest_in + part)
        part_total = tl.load(total_in + part)
        new = tl.maximum(highest, part_highest)
        down = tl.maximum(highest - new, _UNDERFLOW)
        part_down = tl.maximum(part_highest - new, _UNDERFLOW)
        shrink = tl.exp2(down)
        part_shrink = tl.exp2(part_down)
        slope = shrink * (slope + down * total) + part_shrink * (tl.load(slope_in + part) + part_down * part_total)
        total = total * shrink + part_total * part_shrink
        part_mass = tl.load(mass_in + part[:, None] * BLOCK_C + tl.arange(0, BLOCK_C)[None, :])
        mass = mass * shrink[:, None] + part_mass * part_shrink[:, None]
        highest = new
        part += rows_of_cut
    sink = 0.0
    if sinks is not None:
        sink = tl.load(sinks + bh % H) * _LOG2E
    if query_mask is not None:
        query_mask += bh // H * Tq + query
    _store_rows(
        mass_out, sums_out, entropy_out, lse_out, maximum_out, query_mask, sink, highest, total, slope, mass,
        row, bh, C, inside, sinks is not None, BLOCK_C,
    )  # fmt: skip


@triton.jit
def _block_sum_kernel(sums, out, C, blocks, BLOCK_C: tl.constexpr):
    """out[r] = sums[r, 0] + sums[r, 1] + ..., in that order."""
    row = tl.program_id(0).to(tl.int64)
    group = tl.arange(0, BLOCK_C)
    total = tl.zeros([BLOCK_C], tl.float32)
    for block in range(blocks):
        total += tl.load(sums + (row * blocks + block) * C + group, mask=group < C, other=0.0)
    tl.store(out + row * C + group, total, mask=group < C)


@triton.jit
def _sweep_queries(
    mass, k_tile, q, lse, query_mask, key, low, high, Tq, Tk, Dh, q_stride, window, scale, softcap,
    EDGE: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, HAS_SOFTCAP: tl.constexpr, EVEN_D: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Add the attention that queries [low, high) give to the keys; without EDGE, all these queries see every key."""
    d = tl.arange(0, BLOCK_D)
    for start in range(low, high, BLOCK_N):
        query = start + tl.arange(0, BLOCK_N)
        inside = tl.minimum(query, Tq - 1)
        q_at = q + inside.to(tl.int64)[None, :] * q_stride + d[:, None]
        q_tile = tl.load(q_at) if EVEN_D else tl.load(q_at, mask=(d < Dh)[:, None], other=0.0)
        counted = query < Tq
        if query_mask is not None:
            counted = counted & (tl.load(query_mask + inside) != 0)
        product = tl.dot(k_tile, q_tile, input_precision=PRECISION)
        p = tl.exp2(_score(product, scale, softcap, HAS_SOFTCAP) - (tl.load(lse + inside) * _LOG2E)[None, :])
        counted = counted[None, :]
        if EDGE:
            counted = counted & _seen((Tk - Tq + query)[None, :], key[:, None], Tk, window, CAUSAL, WINDOW)
        mass += tl.sum(tl.where(counted, p, 0.0), 1)
    return mass


@triton.jit
def _attention_key_mass_kernel(
    q, k, lse, key_mask, query_mask, out,
    H, Tq, Tk, Dh, q_stride_b, q_stride_h, q_stride_t, k_stride_b, k_stride_h, k_stride_t, window, scale, softcap, blocks,
    GQA: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, HAS_SOFTCAP: tl.constexpr, EVEN_D: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # Here the rows are keys, which stay in registers while the queries stream past
    block = tl.program_id(0) % blocks
    bh = (tl.program_id(0) // blocks).to(tl.int64)
    b = bh // H
    h = bh % H
    key = block * BLOCK_K + tl.arange(0, BLOCK_K)
    d = tl.arange(0, BLOCK_D)
    k_at = k + b * k_stride_b + h // GQA * k_stride_h + tl.minimum(key, Tk - 1).to(tl.int64)[:, None] * k_stride_t + d[None, :]
    k_tile = tl.load(k_at) if EVEN_D else tl.load(k_at, mask=(d < Dh)[None, :], other=0.0)
    q += b * q_stride_b + h * q_stride_h
    lse += bh * Tq
    if query_mask is not None:
        query_mask += b * Tq
    # Queries before full_low and from full_high on do not see every key of the block
    offset = Tk - Tq
    low = 0
    high = Tq
    full_low = 0
    full_high = Tq
    if CAUSAL:
        low = tl.maximum(block * BLOCK_K - offset, 0) // BLOCK_N * BLOCK_N
        full_low = tl.minimum((tl.maximum((block + 1) * BLOCK_K - 1 - offset, 0) + BLOCK_N - 1) // BLOCK_N * BLOCK_N, Tq)
    if WINDOW:
        high = tl.minimum(tl.maximum((block + 1) * BLOCK_K - 1 + window - offset, 0), Tq)
        full_high = tl.minimum(tl.maximum(block * BLOCK_K + window - offset, 0), Tq) // BLOCK_N * BLOCK_N
        full_high = tl.maximum(full_high, full_low)
    mass = tl.zeros([BLOCK_K], tl.float32)
    if CAUSAL:
        mass = _sweep_queries(
            mass, k_tile, q, lse, query_mask, key, low, tl.minimum(full_low, high), Tq, Tk, Dh, q_stride_t, window, scale, softcap,
            True, CAUSAL, WINDOW, HAS_SOFTCAP, EVEN_D, PRECISION, BLOCK_N, BLOCK_D,
        )  # fmt: skip
    mass = _sweep_queries(
        mass, k_tile, q, lse, query_mask, key, full_low, full_high, Tq, Tk, Dh, q_stride_t, window, scale, softcap,
        False, CAUSAL, WINDOW, HAS_SOFTCAP, EVEN_D, PRECISION, BLOCK_N, BLOCK_D,
    )  # fmt: skip
    if WINDOW:
        mass = _sweep_queries(
            mass, k_tile, q, lse, query_mask, key, full_high, high, Tq, Tk, Dh, q_stride_t, window, scale, softcap,
            True, CAUSAL, WINDOW, HAS_SOFTCAP, EVEN_D, PRECISION, BLOCK_N, BLOCK_D,
        )  # fmt: skip
    if key_mask is not None:
        mass = tl.where(tl.load(key_mask + b * Tk + tl.minimum(key, Tk - 1)) != 0, mass, 0.0)
    tl.store(out + bh * Tk + key, mass, mask=key < Tk)


# Fused, score - highest would be product * scale - highest with one rounding instead of two: not 0 for the highest score, other bits in a
# tile at the edge of a mask than in one inside it, and no longer finite where logits come near the largest float.
UNFUSED = {"enable_fp_fusion": False}


def tile_config(dtype: torch.dtype, head_size: int, of_keys: bool) -> dict[str, int]:
    """Tile sizes and launch options: BLOCK_N rows stay in registers (queries, or keys if `of_keys`, for attention_key_mass), and BLOCK_K of
    the others stream past.

    16-bit heads up to 128 on NVIDIA: ten sizes were timed on an H100 80GB HBM3 (torch 2.11, Triton 3.6; bfloat16, causal, 4,096 tokens, 16
    groups), and these were the fastest but for keys with heads of 128. Against (128, 64) with 8 warps and 3 stages, medians in ms: of
    queries 0.3356 against 0.4086 with 32/8 heads of 64, 0.4367 against 0.5210 with 32/32 heads of 128; of keys 0.1474 against 0.1868 with
    heads of 64. That run compared times, not values: results with these sizes were checked in the interpreter and the code by
    tests/kernels/aot.py, and no GPU has run this wrapper with them since. Few queries (SPLIT_QUERIES) take BLOCK_K and the stages from here,
    too, which was not timed. The other sizes are by the registers, spills and shared memory that the compiler reports.
    """
    if dtype == torch.float32:  # "ieee" products hold whole operands in registers: 64 rows spill on sm_90
        return {"BLOCK_N": 32, "BLOCK_K": 32, "num_warps": 4, "num_stages": 2}
    if head_size > 128:
        return {"BLOCK_N": 64, "BLOCK_K": 32, "num_warps": 4, "num_stages": 2}
    if is_hip():  # local memory ends at 64 KiB; scalar registers run out at 64 streamed keys and at 32 streamed queries
        return {"BLOCK_N": 128, "BLOCK_K": 64 if of_keys else 32, "num_warps": 8, "num_stages": 2}
    if head_size > 64 and of_keys:  # 64 keys that stay, with a window, spill on sm_100, and gain 2 % on the H100
        return {"BLOCK_N": 128, "BLOCK_K": 64, "num_warps": 8, "num_stages": 3}
    if of_keys:
        return {"BLOCK_N": 64, "BLOCK_K": 128, "num_warps": 4, "num_stages": 2}
    return {"BLOCK_N": 64, "BLOCK_K": 64, "num_warps": 4, "num_stages": 2 if head_size > 64 else 3}  # 3 for heads of 128 spill on sm_80


def attention_mass(
    q: Tensor,
    k: Tensor,
    groups: Tensor,
    num_groups: int,
    causal: bool,
    window: int,
    scale: float,
    softcap: float,
    sinks: Tensor | None,
    key_mask: Tensor | None,
    query_mask: Tensor | None,
    per_query: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """How the attention of every query spreads over groups of keys.

    Args:
        q: (B, H, Tq, Dh), k: (B, Hk, Tk, Dh) float16, bfloat16 or float32; any strides (copied where the last is not 1). The queries are
            the last Tq of Tk positions.
        groups: (B, Tk) int64; bit c: the key is in group c of num_groups (at most 64).
        causal, window: a query at position p sees keys up to p (if causal) and after p - window (if window > 0).
        scale, softcap: the logit is scale * q @ k, or softcap * tanh(scale * q @ k / softcap) for a softcap other than 0.
        sinks: (H,) logits that only join the denominator, or None. key_mask: (B, Tk) bool, True for real keys, or None.
        query_mask: (B, Tq) bool, False for queries that do not count in mass_sum, or None.
    Returns: mass (B, H, Tq, C) if per_query, else 0 elements; mass_sum (B, H, C); entropy (nats), LSE and maximum (B, H, Tq); float32.
        A query without a key gets mass 0, entropy 0, LSE -inf and maximum -inf.

    With up to SPLIT_QUERIES queries the keys are cut into parts of SPLIT_KEYS, with more queries they are not. Within each of the two
    forms, the results of a row do not depend on the batch or on the other rows.
    """
    q, k = _as_wide_rows(q), _as_wide_rows(k)
    groups = groups.contiguous()
    sinks = None if sinks is None else sinks.to(torch.float32).contiguous()
    key_mask, query_mask = (one if one is None else one.contiguous().view(torch.uint8) for one in (key_mask, query_mask))
    batch, heads, queries, head_size = q.shape
    kv_heads, keys = k.shape[1:3]
    wide = {"dtype": torch.float32, "device": q.device}
    entropy, lse, maximum = (torch.empty((batch, heads, queries), **wide) for _ in range(3))
    mass = torch.empty((batch, heads, queries, num_groups), **wide) if per_query else None
    config = tile_config(q.dtype, head_size, False)
    is_split = queries <= SPLIT_QUERIES
    blocks = 1 if is_split else triton.cdiv(queries, config["BLOCK_N"])
    sums = torch.empty((batch, heads, blocks, num_groups), **wide)
    outputs = (mass, sums, entropy, lse, maximum)
    if lse.numel() == 0:
        return _nothing_seen(outputs)
    form = _split if is_split else _whole
    block_c = max(16, triton.next_power_of_2(num_groups))
    strides = (*q.stride()[:3], *k.stride()[:3])
    shared = {
        "GQA": heads // kv_heads, "CAUSAL": causal, "WINDOW": window > 0, "HAS_SOFTCAP": softcap != 0,
        **_head_constants(q), "BLOCK_C": block_c,
    }  # fmt: skip
    with torch.cuda.device_of(q):  # Triton launches on the current device, which may not be that of the tensors
        form(q, k, groups, key_mask, query_mask, sinks, outputs, strides, (window, scale, softcap), num_groups, shared, config)
        if blocks == 1:
            mass_sum = sums[:, :, 0]
        else:
            mass_sum = torch.empty((batch, heads, num_groups), **wide)
            _block_sum_kernel[(batch * heads,)](sums, mass_sum, num_groups, blocks, BLOCK_C=block_c, num_warps=1)
    return sums.new_empty(0) if mass is None else mass, mass_sum, entropy, lse, maximum


def _whole(q, k, groups, key_mask, query_mask, sinks, outputs, strides, settings, num_groups, shared, config):
    batch, heads, queries, head_size = q.shape
    blocks = outputs[1].shape[2]
    _attention_mass_kernel[(blocks * batch * heads,)](
        q, k, groups, key_mask, query_mask, sinks, *outputs,
        heads, queries, k.shape[2], num_groups, head_size, *strides, *settings, blocks, **shared, **config, **UNFUSED,
    )  # fmt: skip


def _split(q, k, groups, key_mask, query_mask, sinks, outputs, strides, settings, num_groups, shared, config):
    batch, heads, queries, head_size = q.shape
    kv_heads, keys = k.shape[1:3]
    cuts = triton.cdiv(keys, SPLIT_KEYS)
    pack = triton.next_power_of_2(shared["GQA"])
    rows = queries * pack
    block_n = min(64, max(16, triton.next_power_of_2(rows)))
    parts = [torch.empty((cuts, batch, heads, queries), dtype=torch.float32, device=q.device) for _ in range(3)]
    parts.append(torch.empty((cuts, batch, heads, queries, shared["BLOCK_C"]), dtype=torch.float32, device=q.device))
    _attention_mass_split_kernel[(batch * kv_heads, cuts, triton.cdiv(rows, block_n))](
        q, k, groups, key_mask, *parts, heads, queries, keys, head_size, *strides, *settings, SPLIT_KEYS, batch * heads * queries,
        **shared, PACK=pack, BLOCK_N=block_n, BLOCK_K=config["BLOCK_K"], num_warps=4, num_stages=config["num_stages"], **UNFUSED,
    )  # fmt: skip
    _attention_mass_merge_kernel[(batch * heads,)](
        *parts, query_mask, sinks, *outputs, heads, queries, num_groups, cuts, batch * heads * queries,
        BLOCK_N=SPLIT_QUERIES, BLOCK_C=shared["BLOCK_C"], num_warps=4, **UNFUSED,
    )  # fmt: skip


def attention_key_mass(
    q: Tensor,
    k: Tensor,
    lse: Tensor,
    causal: bool,
    window: int,
    scale: float,
    softcap: float,
    key_mask: Tensor | None,
    query_mask: Tensor | None,
) -> Tensor:
    """The attention that every key receives, summed over queries: (B, H, Tk) float32.

    Args:
        lse: (B, H, Tq) float32, from attention_mass with the same q and k; other arguments as there. A key that is padding gets 0.
    """
    q, k, lse = _as_rows(q), _as_rows(k), lse.contiguous()
    key_mask, query_mask = (one if one is None else one.contiguous().view(torch.uint8) for one in (key_mask, query_mask))
    batch, heads, queries, head_size = q.shape
    keys = k.shape[2]
    out = torch.empty((batch, heads, keys), dtype=torch.float32, device=q.device)
    if out.numel() == 0:
        return out
    if queries == 0:
        return out.zero_()
    config = tile_config(q.dtype, head_size, True)
    # in this kernel BLOCK_K counts keys, which stay in registers, and BLOCK_N counts queries
    config["BLOCK_N"], config["BLOCK_K"] = config["BLOCK_K"], config["BLOCK_N"]
    blocks = triton.cdiv(keys, config["BLOCK_K"])
    with torch.cuda.device_of(q):
        _attention_key_mass_kernel[(blocks * batch * heads,)](
            q, k, lse, key_mask, query_mask, out,
            heads, queries, keys, head_size, *q.stride()[:3], *k.stride()[:3], window, scale, softcap, blocks,
            GQA=heads // k.shape[1], CAUSAL=causal, WINDOW=window > 0, HAS_SOFTCAP=softcap != 0, **_head_constants(q), **config,
        )  # fmt: skip
    return out


def _as_rows(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _as_wide_rows(x: Tensor) -> Tensor:
    """x (B, H, T, Dh) if every row starts at a multiple of WIDE elements, else a copy with Dh filled up by zeros to such a multiple.

    Zeros add nothing to a score. Rows at other places would be read a word at a time, without the copies that run beside the products; and
    for that form of the kernel ptxas 12.8, which Triton 3.6 and 3.7 bring along, leaves registers of the second product on sm_90 unset.
    """
    if x.dtype == torch.float32:
        return _as_rows(x)
    size = triton.cdiv(x.shape[-1], WIDE) * WIDE
    is_at_start = x.is_meta or x.data_ptr() % 16 == 0
    if is_at_start and x.stride(-1) == 1 and size == x.shape[-1] and all(stride % WIDE == 0 for stride in x.stride()[:-1]):
        return x
    rows = x.new_zeros((*x.shape[:-1], size))
    rows[..., : x.shape[-1]] = x
    return rows


def _head_constants(q: Tensor) -> dict[str, object]:
    head_size = q.shape[3]
    block_d = max(16, triton.next_power_of_2(head_size))
    # for 16-bit inputs the precision changes nothing
    return {"BLOCK_D": block_d, "EVEN_D": block_d == head_size, "PRECISION": "ieee" if q.dtype == torch.float32 else "tf32"}


def _nothing_seen(outputs: tuple[Tensor | None, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    mass, sums, entropy, lse, maximum = outputs
    mass = sums.new_empty(0) if mass is None else mass.zero_()
    return mass, sums.new_zeros((*lse.shape[:2], sums.shape[3])), entropy.zero_(), lse.fill_(float("-inf")), maximum.fill_(float("-inf"))
