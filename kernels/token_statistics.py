"""token_statistics on a GPU: the statistics of every token in one sweep over the vocabulary, without all logits in memory.

    lse, target_logit, mean_logit, entropy, rank, argmax = token_statistics(hidden, weight, None, None, targets, None, 1.0, V, -100, ...)

There are two forms. Tiled: a program multiplies a block of tokens with a fixed run of vocabulary tiles and keeps five numbers per token.
Workspace: torch's matrix product writes into at most 256 MiB, a block of tokens at a time, and one kernel reads the result.
`uses_workspace` chooses. Both forms write partial results, which a small kernel merges. There are no locks, no atomics and no order that
depends on timing, so the bits are the same every time. The cuts of the vocabulary depend only on the vocabulary, and the size of a block of
tokens never on their number, so the results of a token do not depend on the other tokens. In the workspace form this requires that cuBLAS
gives a row the same bits in all products of one shape; that is why the last block is filled up with zeros.

The online softmax is that of https://arxiv.org/abs/1805.02867 (Milakov and Gimelshein); the same sweep sums p * (z - max) for the entropy.
"""

# N tokens, D hidden, V words of weight that count, E appended words, W = V + E words in all, S partials per token

import torch
import triton
import triton.language as tl
from pydisp.kernels.softcap import capped
from pydisp.kernels.target import is_hip
from torch import Tensor

WORKSPACE_BYTES = 256 * 2**20
MOST_PARTIALS = 128  # about one run per multiprocessor for a single block of tokens; the merging kernel holds all in registers
MOST_ROWS = 1024  # tokens in one matrix product of the workspace form
BACKWARD_WORDS = 16384  # words in one matrix product of the backward: 96 MiB of workspace with MOST_ROWS
BLOCKS_TOGETHER = 16  # blocks of tokens that share a run of vocabulary tiles in L2
ROW_TILE = 4096  # words of a row of the workspace that a program reads at a time
_NO_LOGIT = tl.constexpr(-1.0e37)  # below every logit, and finite: -inf minus -inf would be NaN
_UNDERFLOW = tl.constexpr(-200.0)  # exp of it is 0 in float32, and 0 times it is 0, where 0 times -inf is NaN
_NO_WORD = tl.constexpr(2**31 - 1)


@triton.jit
def _logit(product, bias_value, softcap, scale, HAS_BIAS: tl.constexpr, HAS_SOFTCAP: tl.constexpr):
    """The logit from hidden @ weight.T. All paths use this function, because rank and ties need the same bits everywhere."""
    if HAS_BIAS:
        product = product + bias_value
    product = product * scale
    if HAS_SOFTCAP:
        product = capped(product, softcap)
    return product


@triton.jit
def _accumulate(
    z, words, counted, target, target_logit, highest, total, slope, logit_sum, larger, best,
    MEAN: tl.constexpr, ENTROPY: tl.constexpr, RANK: tl.constexpr, ARGMAX: tl.constexpr,
):  # fmt: skip
    """Add a tile of logits z (tokens, words) to the running statistics of its tokens."""
    if MEAN:
        logit_sum += tl.sum(tl.where(counted[None, :], z, 0.0), 1)
    z = tl.where(counted[None, :], z, float("-inf"))
    if RANK:
        is_larger = (z > target_logit[:, None]) & (words[None, :] != target[:, None]) & (target >= 0)[:, None]
        larger += tl.sum(is_larger.to(tl.int32), 1)
    tile_highest = tl.max(z, 1)
    if ARGMAX:
        first = tl.min(tl.where(z == tile_highest[:, None], words[None, :], _NO_WORD), 1)
        best = tl.where(tile_highest > highest, first, best)  # words come in ascending order, so an equal logit has a higher number
    new = tl.maximum(highest, tile_highest)
    shrink = tl.exp(highest - new)
    distance = z - new[:, None]
    if ENTROPY:
        distance = tl.maximum(distance, _UNDERFLOW, propagate_nan=tl.PropagateNan.ALL)
    p = tl.exp(distance)
    if ENTROPY:
        slope = shrink * (slope + (highest - new) * total) + tl.sum(p * distance, 1)
    total = total * shrink + tl.sum(p, 1)
    return new, total, slope, logit_sum, larger, best


@triton.jit
def _store_partial(
    at, mask, highest, total, slope, logit_sum, larger, best,
    highest_out, total_out, slope_out, sum_out, larger_out, best_out,
):  # fmt: skip
    tl.store(highest_out + at, highest, mask=mask)
    tl.store(total_out + at, total, mask=mask)
    if slope_out is not None:
        tl.store(slope_out + at, slope, mask=mask)
    if sum_out is not None:
        tl.store(sum_out + at, logit_sum, mask=mask)
    if larger_out is not None:
        tl.store(larger_out + at, larger, mask=mask)
    if best_out is not None:
        tl.store(best_out + at, best, mask=mask)


@triton.jit
def _known_target(target, W, ignore_index):
    """The target as int32; -1 if it is ignored or no word has that number."""
    return tl.where((target >= 0) & (target < W) & (target != ignore_index), target, -1).to(tl.int32)


@triton.jit
def _target_output(z, raw_target, target, ignore_index):
    return tl.where(target >= 0, z, tl.where(raw_target == ignore_index, 0.0, float("nan")))


@triton.jit
def _target_logit_kernel(
    hidden, weight, appended, bias, targets, out, N, D, V, W, hidden_stride, weight_stride, appended_stride, softcap, scale, ignore_index,
    HAS_SOFTCAP: tl.constexpr, EVEN_D: tl.constexpr, PRECISION: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # The rows of the targets, as the words of a tile. The diagonal of the tl.dot has the same bits as the logits in the sweep; a sum of
    # products would not. rank compares the two.
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    token = tl.minimum(rows, N - 1)
    raw_target = tl.load(targets + token)
    target = _known_target(raw_target, W, ignore_index)
    word = tl.maximum(target, 0).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    hidden_at = hidden + token[:, None] * hidden_stride + d[None, :]
    word_at = weight + tl.minimum(word, V - 1)[None, :] * weight_stride + d[:, None]
    product = tl.zeros([BLOCK_N, BLOCK_N], tl.float32)
    for start in range(0, D, BLOCK_D):
        if EVEN_D:
            a = tl.load(hidden_at + start)
            b = tl.load(word_at + start)
        else:
            a = tl.load(hidden_at + start, mask=(start + d < D)[None, :], other=0.0)
            b = tl.load(word_at + start, mask=(start + d < D)[:, None], other=0.0)
        if appended is not None:
            added_at = appended + (word - V)[None, :] * appended_stride + d[:, None]
            added = tl.load(added_at + start, mask=(word >= V)[None, :] & (start + d < D)[:, None], other=0.0)
            b = tl.where((word < V)[None, :], b, added)
        product = tl.dot(a, b, product, input_precision=PRECISION)
    own = tl.arange(0, BLOCK_N)[:, None] == tl.arange(0, BLOCK_N)[None, :]
    product = tl.sum(tl.where(own, product, 0.0), 1)
    bias_value = 0.0
    if bias is not None:
        bias_value = tl.load(bias + word).to(tl.float32)
    z = _logit(product, bias_value, softcap, scale, bias is not None, HAS_SOFTCAP)
    tl.store(out + rows, _target_output(z, raw_target, target, ignore_index), mask=rows < N)


@triton.jit
def _token_statistics_tile_kernel(
    hidden, weight, appended, bias, targets, target_logits, highest_out, total_out, slope_out, sum_out, larger_out, best_out,
    N, D, V, W, hidden_stride, weight_stride, appended_stride, softcap, scale, ignore_index, partials, run,
    HAS_SOFTCAP: tl.constexpr, EVEN_D: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_D: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(N, BLOCK_N)
    pid = tl.program_id(0)
    first_block = pid // (GROUP * partials) * GROUP
    grouped = tl.minimum(blocks - first_block, GROUP)
    block = first_block + pid % (GROUP * partials) % grouped
    part = pid % (GROUP * partials) // grouped

    rows = block.to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    token = tl.minimum(rows, N - 1)  # clamped, not masked: masks in the hot loop spill
    d = tl.arange(0, BLOCK_D)
    hidden_at = hidden + token[:, None] * hidden_stride + d[None, :]
    target = tl.zeros([BLOCK_N], tl.int32)
    target_logit = tl.zeros([BLOCK_N], tl.float32)
    if larger_out is not None:
        target = _known_target(tl.load(targets + token), W, ignore_index)
        target_logit = tl.load(target_logits + token)

    highest = tl.full([BLOCK_N], _NO_LOGIT, tl.float32)
    total = tl.zeros([BLOCK_N], tl.float32)
    slope = tl.zeros([BLOCK_N], tl.float32)
    logit_sum = tl.zeros([BLOCK_N], tl.float32)
    larger = tl.zeros([BLOCK_N], tl.int32)
    best = tl.zeros([BLOCK_N], tl.int32)
    weight_tiles = tl.cdiv(V, BLOCK_V)
    tiles = weight_tiles
    if appended is not None:
        tiles += tl.cdiv(W - V, BLOCK_V)
    for tile in range(part * run, tl.minimum((part + 1) * run, tiles)):
        # A tile lies in weight or in appended, never across the seam: one base pointer a tile
        base = weight
        stride = weight_stride
        first_word = tile * BLOCK_V
        here = tl.minimum(V - first_word, BLOCK_V)
        row = first_word
        if appended is not None:
            is_appended = tile >= weight_tiles
            base = tl.where(is_appended, appended, weight)
            stride = tl.where(is_appended, appended_stride, weight_stride)
            row = tl.where(is_appended, first_word - weight_tiles * BLOCK_V, first_word)
            first_word = tl.where(is_appended, V + row, first_word)
            here = tl.minimum(tl.where(is_appended, W, V) - first_word, BLOCK_V)
        column = tl.arange(0, BLOCK_V)
        inside = tl.minimum(column, here - 1)
        word_at = base + (row + inside).to(tl.int64)[None, :] * stride + d[:, None]
        product = tl.zeros([BLOCK_N, BLOCK_V], tl.float32)
        for start in range(0, D, BLOCK_D):
            if EVEN_D:
                a = tl.load(hidden_at + start)
                b = tl.load(word_at + start)
            else:
                a = tl.load(hidden_at + start, mask=(start + d < D)[None, :], other=0.0)
                b = tl.load(word_at + start, mask=(start + d < D)[:, None], other=0.0)
            product = tl.dot(a, b, product, input_precision=PRECISION)
        bias_value = 0.0
        if bias is not None:
            bias_value = tl.load(bias + first_word + inside).to(tl.float32)[None, :]
        z = _logit(product, bias_value, softcap, scale, bias is not None, HAS_SOFTCAP)
        highest, total, slope, logit_sum, larger, best = _accumulate(
            z, first_word + column, column < here, target, target_logit, highest, total, slope, logit_sum, larger, best,
            sum_out is not None, slope_out is not None, larger_out is not None, best_out is not None,
        )  # fmt: skip
    _store_partial(
        part.to(tl.int64) * N + rows, rows < N, highest, total, slope, logit_sum, larger, best,
        highest_out, total_out, slope_out, sum_out, larger_out, best_out,
    )  # fmt: skip


@triton.jit
def _token_statistics_row_kernel(
    logits, bias, targets, target_logits, highest_out, total_out, slope_out, sum_out, larger_out, best_out,
    W, logits_stride, softcap, scale, ignore_index, HAS_SOFTCAP: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0) + tl.arange(0, 1)  # a vector of length one, because _accumulate takes a tile
    row = logits + token.to(tl.int64) * logits_stride
    raw_target = tl.load(targets + token)
    target = _known_target(raw_target, W, ignore_index)
    own = tl.maximum(target, 0)
    own_bias = 0.0
    if bias is not None:
        own_bias = tl.load(bias + own).to(tl.float32)
    target_logit = _logit(tl.load(row + own), own_bias, softcap, scale, bias is not None, HAS_SOFTCAP)
    target_logit = _target_output(target_logit, raw_target, target, ignore_index)
    tl.store(target_logits + token, target_logit)

    highest = tl.full([1], _NO_LOGIT, tl.float32)
    total = tl.zeros([1], tl.float32)
    slope = tl.zeros([1], tl.float32)
    logit_sum = tl.zeros([1], tl.float32)
    larger = tl.zeros([1], tl.int32)
    best = tl.zeros([1], tl.int32)
    for start in range(0, W, BLOCK_V):
        words = start + tl.arange(0, BLOCK_V)
        # up to the end of the row, not to W: a multiple of 16 keeps the loads wide, and values beyond W are not counted
        z = tl.load(row[:, None] + words[None, :], mask=(words < logits_stride)[None, :], other=0.0)
        bias_value = 0.0
        if bias is not None:
            bias_value = tl.load(bias + words, mask=words < W, other=0.0).to(tl.float32)[None, :]
        z = _logit(z, bias_value, softcap, scale, bias is not None, HAS_SOFTCAP)
        highest, total, slope, logit_sum, larger, best = _accumulate(
            z, words, words < W, target, target_logit, highest, total, slope, logit_sum, larger, best,
            sum_out is not None, slope_out is not None, larger_out is not None, best_out is not None,
        )  # fmt: skip
    _store_partial(
        token, token >= 0, highest, total, slope, logit_sum, larger, best,
        highest_out, total_out, slope_out, sum_out, larger_out, best_out,
    )  # fmt: skip


@triton.jit
def _token_statistics_merge_kernel(
    highest_in, total_in, slope_in, sum_in, larger_in, best_in, lse_out, mean_out, entropy_out, rank_out, argmax_out,
    N, W, partials, BLOCK_N: tl.constexpr, BLOCK_S: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    part = tl.arange(0, BLOCK_S)
    at = tl.minimum(part, partials - 1).to(tl.int64)[:, None] * N + tl.minimum(rows, N - 1)[None, :]
    there = (part < partials)[:, None]
    inside = rows < N
    part_highest = tl.where(there, tl.load(highest_in + at), _NO_LOGIT)
    part_total = tl.where(there, tl.load(total_in + at), 0.0)
    highest = tl.max(part_highest, 0)
    distance = part_highest - highest[None, :]
    shrink = tl.exp(distance)
    total = tl.sum(part_total * shrink, 0)
    log_total = tl.log(total)
    tl.store(lse_out + rows, highest + log_total, mask=inside)
    if entropy_out is not None:
        part_slope = tl.where(there, tl.load(slope_in + at), 0.0)
        # shrink underflows before distance * total could overflow
        slope = tl.sum(shrink * (part_slope + tl.maximum(distance, _UNDERFLOW) * part_total), 0)
        tl.store(entropy_out + rows, log_total - slope / total, mask=inside)
    if mean_out is not None:
        tl.store(mean_out + rows, tl.sum(tl.where(there, tl.load(sum_in + at), 0.0), 0) / W, mask=inside)
    if rank_out is not None:
        tl.store(rank_out + rows, tl.sum(tl.where(there, tl.load(larger_in + at), 0), 0).to(tl.int64), mask=inside)
    if argmax_out is not None:
        best = tl.where(there & (part_highest == highest[None, :]), tl.load(best_in + at), _NO_WORD)
        tl.store(argmax_out + rows, tl.min(best, 0).to(tl.int64), mask=inside)


@triton.jit
def _token_statistics_bwd_kernel(
    logits, grads, bias, bias_sums, targets, lse, grad_lse, grad_target, grad_mean, unit, n, here, first_word, W,
    logits_stride, sums_stride, softcap, scale, ignore_index,
    HAS_SOFTCAP: tl.constexpr, ROWS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    column = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    words = first_word + column
    inside = column < logits_stride  # a multiple of 16 keeps loads and stores wide; values beyond `here` are never read
    bias_value = 0.0
    if bias is not None:
        bias_value = tl.load(bias + words, mask=column < here, other=0.0).to(tl.float32)[None, :]
    shrink = 1.0
    if unit is not None:
        shrink = 1.0 / tl.load(unit)
    column_sum = tl.zeros([BLOCK_V], tl.float32)
    for start in range(0, ROWS, BLOCK_N):
        rows = tl.program_id(1) * ROWS + start + tl.arange(0, BLOCK_N)
        token = tl.minimum(rows, n - 1)
        z = tl.load(logits + token.to(tl.int64)[:, None] * logits_stride + column[None, :], mask=inside[None, :], other=0.0)
        z = _logit(z, bias_value, softcap, scale, bias is not None, HAS_SOFTCAP)
        raw_target = tl.load(targets + token)
        target = _known_target(raw_target, W, ignore_index)
        g_target = tl.load(grad_target + token)
        g_all = tl.zeros([BLOCK_N], tl.float32)
        if grad_mean is not None:
            g_all = tl.load(grad_mean + token) / W
        # a bad target's loss is NaN, and so is its gradient
        g_all = tl.where((target >= 0) | (raw_target == ignore_index), g_all, float("nan"))
        g = tl.load(grad_lse + token)[:, None] * tl.exp(z - tl.load(lse + token)[:, None]) + g_all[:, None]
        g += tl.where(words[None, :] == target[:, None], g_target[:, None], 0.0)
        if HAS_SOFTCAP:
            g *= 1.0 - (z / softcap) * (z / softcap)
        g = tl.where((rows < n)[:, None], g * scale, 0.0)
        column_sum += tl.sum(g, 0)
        at = grads + rows.to(tl.int64)[:, None] * logits_stride + column[None, :]
        tl.store(at, (g * shrink).to(grads.dtype.element_ty), mask=(rows < n)[:, None] & inside[None, :])
    if bias_sums is not None:
        tl.store(bias_sums + tl.program_id(1) * sums_stride + column, column_sum, mask=column < here)


def uses_workspace(hidden_size: int, dtype: torch.dtype) -> bool:
    """Whether the logits are computed by torch's matrix product into a workspace (else by our own tiles).

    The shape of the layer decides, never the number of tokens: else the results of a token would depend on the batch. On an H100 80GB HBM3
    8,192 tokens in bfloat16 took in ms, tiles against workspace (the bare product): D = 896, V = 151,936: 4.17, 6.96 (3.16); D = 2,048,
    V = 128,256: 6.87, 9.38 (5.57); D = 4,096, V = 32,000: 3.68, 3.94 (2.82). The gap closes as D grows, because cuBLAS has the faster loop;
    the limit of 5,120 itself is an estimate, as nothing wider than 4,096 was timed. float32 products keep all their digits (input_precision
    "ieee"): for these Triton has no tensor cores (not timed). If rows do not start at multiples of 16 bytes, the tiles load single words and
    spill (not timed).
    """
    return dtype == torch.float32 or hidden_size >= 5120 or hidden_size % 8 != 0


def tile_config(dtype: torch.dtype, keeps_more: bool) -> dict[str, int]:
    """Tile sizes and launch options of the tiled form.

    The 16-bit ones that keep no more were timed among nine on an H100 80GB HBM3, 8,192 tokens: the fastest at D = 2,048, V = 128,256, 1 % and
    4 % behind the fastest at D = 4,096, V = 32,000 and D = 896, V = 151,936. The others are by the compiler's registers, spills and shared
    memory, not timed.
    """
    if dtype == torch.float32:
        return {"BLOCK_N": 64, "BLOCK_V": 64, "BLOCK_D": 32, "num_warps": 4, "num_stages": 2}
    stages = 2 if is_hip() else 3  # AMD's local memory ends at 64 KiB
    return {"BLOCK_N": 128, "BLOCK_V": 128 if keeps_more else 256, "BLOCK_D": 64, "num_warps": 8, "num_stages": stages}


def workspace_rows(words: int) -> int:
    """The number of tokens whose float32 logits the workspace holds; it depends only on the vocabulary."""
    fit = WORKSPACE_BYTES // (4 * words)
    return max(16, min(MOST_ROWS, fit // 64 * 64))


def token_statistics(
    hidden: Tensor,
    weight: Tensor,
    appended: Tensor | None,
    bias: Tensor | None,
    targets: Tensor,
    softcap: float | None,
    scale: float,
    vocab_size: int,
    ignore_index: int,
    mean: bool,
    entropy: bool,
    rank: bool,
    argmax: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Log-sum-exp and target logit of every token, and further statistics on request.

    Args:
        hidden: (N, D) float16, bfloat16 or float32; weight (>= vocab_size, D), appended (E, D) or None, in the same dtype; any strides.
        bias: (vocab_size + E,) or longer, or None; any floating dtype.
        targets: (N,) int64. ignore_index gives a target logit of 0, any other target that is no word gives NaN; no read is out of bounds.
        softcap, scale: z = softcap * tanh(scale * (hidden @ weight.T + bias) / softcap), or scale * (...) for None.
    Returns: lse, target logit, mean logit, entropy (nats), each (N,) float32; rank (words with a larger logit than the target's; 0 where
        the target is no word) and argmax (the lowest of equals), each (N,) int64. Results that are not requested have 0 elements.
    """
    if vocab_size == 0 and appended is not None:  # the kernels clamp to the last row of weight, so there must be one
        weight, appended, vocab_size = appended, None, appended.shape[0]
    form = _by_workspace if uses_workspace(hidden.shape[1], hidden.dtype) else _by_tiles
    return form(hidden, weight, appended, bias, targets, softcap, scale, vocab_size, ignore_index, mean, entropy, rank, argmax)


def _by_tiles(hidden, weight, appended, bias, targets, softcap, scale, vocab_size, ignore_index, mean, entropy, rank, argmax):
    hidden, weight, appended, bias, targets = _as_rows(hidden, weight, appended, bias, targets)
    tokens, width = hidden.shape
    words = vocab_size + (0 if appended is None else appended.shape[0])
    config = tile_config(hidden.dtype, entropy or rank or argmax)
    tiles = triton.cdiv(vocab_size, config["BLOCK_V"]) + triton.cdiv(words - vocab_size, config["BLOCK_V"])
    run = triton.cdiv(tiles, MOST_PARTIALS)
    parts = _partials(triton.cdiv(tiles, run), hidden, mean, entropy, rank, argmax)
    target_logit = hidden.new_empty(tokens, dtype=torch.float32)
    if tokens:
        precision = "ieee" if hidden.dtype == torch.float32 else "tf32"  # for 16-bit inputs it changes nothing
        sizes = (tokens, width, vocab_size, words, hidden.stride(0), weight.stride(0), 0 if appended is None else appended.stride(0))
        cap = 0.0 if softcap is None else softcap
        shared = {"HAS_SOFTCAP": softcap is not None, "EVEN_D": width % config["BLOCK_D"] == 0, "PRECISION": precision}
        with torch.cuda.device_of(hidden):  # Triton launches on the current device, which may not be that of the tensors
            block = 32 if hidden.dtype == torch.float32 else 64  # "ieee" products hold whole operands in registers
            _target_logit_kernel[(triton.cdiv(tokens, block),)](
                hidden, weight, appended, bias, targets, target_logit, *sizes, cap, scale, ignore_index,
                **shared, BLOCK_N=block, BLOCK_D=config["BLOCK_D"], num_warps=4,
            )  # fmt: skip
            count = parts[0].shape[0]
            _token_statistics_tile_kernel[(triton.cdiv(tokens, config["BLOCK_N"]) * count,)](
                hidden, weight, appended, bias, targets, target_logit, *parts, *sizes, cap, scale, ignore_index, count, run,
                **shared, **config, GROUP=BLOCKS_TOGETHER,
            )  # fmt: skip
    return _merged(parts, target_logit, words)


def _by_workspace(hidden, weight, appended, bias, targets, softcap, scale, vocab_size, ignore_index, mean, entropy, rank, argmax):
    hidden, weight, appended, bias, targets = _as_rows(hidden, weight, appended, bias, targets)
    tokens = hidden.shape[0]
    words = vocab_size + (0 if appended is None else appended.shape[0])
    parts = _partials(1, hidden, mean, entropy, rank, argmax)
    target_logit = hidden.new_empty(tokens, dtype=torch.float32)
    rows = workspace_rows(words)
    logits = hidden.new_empty((rows if tokens else 0, triton.cdiv(words, 16) * 16), dtype=torch.float32)
    for start, n, block in _row_blocks(hidden, rows):
        _product(block, weight[:vocab_size].t(), logits[:, :vocab_size])
        if appended is not None:
            _product(block, appended.t(), logits[:, vocab_size:words])
        own = slice(start, start + n)
        with torch.cuda.device_of(hidden):
            _token_statistics_row_kernel[(n,)](
                logits, bias, targets[own], target_logit[own], *(None if part is None else part[0, own] for part in parts),
                words, logits.stride(0), 0.0 if softcap is None else softcap, scale, ignore_index,
                HAS_SOFTCAP=softcap is not None, BLOCK_V=ROW_TILE, num_warps=8,
            )  # fmt: skip
    return _merged(parts, target_logit, words)


def token_statistics_backward(
    grad_lse: Tensor,
    grad_target: Tensor,
    grad_mean: Tensor,
    lse: Tensor,
    hidden: Tensor,
    weight: Tensor,
    appended: Tensor | None,
    bias: Tensor | None,
    targets: Tensor,
    softcap: float | None,
    scale: float,
    vocab_size: int,
    ignore_index: int,
    needs_hidden: bool,
    needs_weight: bool,
    needs_appended: bool,
    needs_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of token_statistics to hidden, weight, appended and bias from those to lse, target logit and mean logit.

    The logits are computed again, BACKWARD_WORDS words of MOST_ROWS tokens at a time, turned into their gradients and multiplied twice.
    Sums over blocks are in float32 and in a fixed order; each gradient is rounded to its tensor's dtype once. Extra memory: 96 MiB of
    logits, and float32 copies of the gradient of hidden (and of one block of words, if the tokens need more than one block).

    Args:
        grad_lse, grad_target, grad_mean: (N,) float32; grad_mean may have 0 elements. lse: (N,) from the forward.
        The others are as in token_statistics. A token whose target is no word gets NaN.
    Returns: each gradient in its tensor's shape and dtype; with 0 elements if it is not needed.
    """
    like = (hidden, weight, hidden if appended is None else appended, hidden if bias is None else bias)
    needs = (needs_hidden, needs_weight, needs_appended and appended is not None, needs_bias and bias is not None)
    hidden, weight, appended, bias, targets = _as_rows(hidden, weight, appended, bias, targets)
    tokens = hidden.shape[0]
    words = vocab_size + (0 if appended is None else appended.shape[0])
    wide = {"dtype": torch.float32, "device": hidden.device}
    grad_hidden, grad_bias = (torch.zeros(like[i].shape if needs[i] else 0, **wide) for i in (0, 3))
    grad_weight, grad_appended = (like[i].new_zeros(like[i].shape if needs[i] else 0) for i in (1, 2))
    row_grads = [one.to(torch.float32).contiguous() for one in (grad_lse, grad_target)]
    row_grads.append(grad_mean.to(torch.float32).contiguous() if grad_mean.numel() else None)
    unit = _unit(row_grads) if hidden.dtype == torch.float16 and tokens else None

    logits = torch.empty((MOST_ROWS if tokens else 0, min(BACKWARD_WORDS, triton.cdiv(words, 16) * 16)), **wide)
    grads = logits if hidden.dtype == torch.float32 else torch.empty_like(logits, dtype=hidden.dtype)
    for matrix, seam, grad_matrix, needed in (
        (weight[:vocab_size], 0, grad_weight, needs[1]),
        (appended, vocab_size, grad_appended, needs[2]),
    ):
        if matrix is None or not (needs[0] or needed or needs[3]):
            continue
        for first in range(0, matrix.shape[0], BACKWARD_WORDS):
            chunk = matrix[first : first + BACKWARD_WORDS]
            here = chunk.shape[0]
            chunk_words = slice(seam + first, seam + first + here)
            chunk_grad = None
            for start, n, block in _row_blocks(hidden, MOST_ROWS):
                own = slice(start, start + n)
                _product(block, chunk.t(), logits[:, :here])
                grads[n:].zero_()
                bias_sums = torch.empty((triton.cdiv(n, 64), here), **wide) if needs[3] else None
                with torch.cuda.device_of(hidden):
                    _token_statistics_bwd_kernel[(triton.cdiv(here, 256), triton.cdiv(n, 64))](
                        logits, grads, bias, bias_sums, targets[own], lse[own], *(None if one is None else one[own] for one in row_grads),
                        unit, n, here, chunk_words.start, words, logits.stride(0), here,
                        0.0 if softcap is None else softcap, scale, ignore_index,
                        HAS_SOFTCAP=softcap is not None, ROWS=64, BLOCK_N=8, BLOCK_V=256, num_warps=4,
                    )  # fmt: skip
                if needs[3]:
                    grad_bias[chunk_words] += bias_sums.sum(0)
                if needs[0]:
                    grad_hidden[own] += _product(grads[:, :here], chunk)[:n]
                if needed:
                    product = _product(grads[:, :here].t(), block)
                    chunk_grad = product if chunk_grad is None else chunk_grad.add_(product)
            if chunk_grad is not None:
                grad_matrix[first : first + here] = chunk_grad if unit is None else chunk_grad.mul_(unit)
    if unit is not None:
        grad_hidden *= unit
    return grad_hidden.to(like[0].dtype), grad_weight, grad_appended, grad_bias.to(like[3].dtype)


def _as_rows(hidden, weight, appended, bias, targets):
    """The same tensor with a last stride of 1, as the kernels require."""
    matrices = (one if one is None or one.stride(1) == 1 else one.contiguous() for one in (hidden, weight, appended))
    return *matrices, None if bias is None else bias.contiguous(), targets.contiguous()


def _partials(count: int, hidden: Tensor, mean: bool, entropy: bool, rank: bool, argmax: bool) -> list[Tensor | None]:
    """Room for maximum, sum of exponentials, sum(p * (z - max)), sum of logits, words above the target, best word; each (S, N) or None."""
    dtypes = (torch.float32,) * 4 + (torch.int32,) * 2
    asked = (True, True, entropy, mean, rank, argmax)
    return [hidden.new_empty((count, hidden.shape[0]), dtype=one) if ask else None for one, ask in zip(dtypes, asked, strict=True)]


def _merged(parts: list[Tensor | None], target_logit: Tensor, words: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    count, tokens = parts[0].shape
    lse = torch.empty_like(target_logit)
    _, _, slope, logit_sum, larger, best = parts
    dtypes = (torch.float32, torch.float32, torch.int64, torch.int64)
    pairs = zip((logit_sum, slope, larger, best), dtypes, strict=True)
    outputs = [None if part is None else torch.empty_like(lse, dtype=dtype) for part, dtype in pairs]
    if tokens:
        with torch.cuda.device_of(lse):
            _token_statistics_merge_kernel[(triton.cdiv(tokens, 16),)](
                *parts, lse, *outputs, tokens, words, count, BLOCK_N=16, BLOCK_S=triton.next_power_of_2(count), num_warps=4
            )
    return lse, target_logit, *(lse.new_empty(0, dtype=one) if out is None else out for out, one in zip(outputs, dtypes, strict=True))


def _row_blocks(hidden: Tensor, rows: int) -> list[tuple[int, int, Tensor]]:
    """Start, number of tokens and (rows, D) of every block. The last one is filled up with zeros, so that all products have one shape."""
    blocks = []
    for start in range(0, hidden.shape[0], rows):
        block = hidden[start : start + rows]
        n = block.shape[0]
        if n < rows:
            block = torch.cat([block, block.new_zeros(rows - n, block.shape[1])])
        blocks.append((start, n, block))
    return blocks


def _product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a @ b in float32, for any dtype."""
    if a.dtype == torch.float32:
        return torch.mm(a, b, out=out)
    if a.is_cuda:
        return torch.mm(a, b, out_dtype=torch.float32, out=out)
    return torch.mm(a.float(), b.float(), out=out)  # a CPU has no product of 16-bit matrices that keeps the float32 sums


def _unit(row_grads: list[Tensor | None]) -> Tensor:
    """(1,): a power of two, at or above the gradients of all tokens. Divided by it, float16 does not underflow, and scaling is exact."""
    highest = torch.stack([one.abs().nan_to_num(0.0, 0.0).amax() for one in row_grads if one is not None]).amax()
    return torch.exp2(torch.ceil(torch.log2(highest.clamp(2.0**-100, 2.0**100)))).reshape(1)
