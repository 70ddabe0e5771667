"""attention_mass: how much attention each query gives to groups of keys, with the row's entropy, in one pass and linear memory.

    masses = attention_mass(q, k, groups, num_groups=16)      # groups (B, Tk) int64: bit c of a key says that it is in group c
    share = masses.mass_sum / masses.mass_sum.sum(-1, keepdim=True)

attention_key_mass sums the same probabilities the other way: over the queries, giving one number per key, from a saved lse.
The probability matrix is never kept. CPU: csrc/attention_mass_isa.cpp, CUDA: kernels/attention_mass.py, else the references here, which
take the queries in blocks. These ops only measure: q and k are detached, and no gradient flows back.
"""

# B batch, H query heads, Hk key heads, Tq queries, Tk keys, Dh head dimension, C groups; s logits, p probabilities

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pydisp.ops.cuda import on_cuda
from pydisp.ops.library import FLOATS, check_flags, check_number, check_tensors, define, may_read_values, product, wide

MOST_GROUPS = 64  # the bits of an int64
_ROWS = 64  # queries a block of the reference


class AttentionMass(NamedTuple):
    """The results of attention_mass, all float32 (float64 for float64 inputs).

    mass: (B, H, Tq, C) probability that a query gives to the keys of a group; None unless per_query.
    mass_sum: (B, H, C) sum of mass over the queries that query_mask lets through.
    entropy: (B, H, Tq) entropy of the row of probabilities, in nats.
    lse: (B, H, Tq) log-sum-exp of the row's logits.
    maximum: (B, H, Tq) largest logit of a key.
    """

    mass: Tensor | None
    mass_sum: Tensor
    entropy: Tensor
    lse: Tensor
    maximum: Tensor


def attention_mass(
    q: Tensor,
    k: Tensor,
    groups: Tensor,
    num_groups: int,
    *,
    causal: bool = True,
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    key_mask: Tensor | None = None,
    query_mask: Tensor | None = None,
    per_query: bool = True,
) -> AttentionMass:
    """Sums of softmax(q k^T) over groups of keys, and the entropy, log-sum-exp and maximum of its rows.

    Args:
        q: (B, H, Tq, Dh) float16, bfloat16, float32 or float64, as attention sees it (after rotary embedding); any strides.
            The queries are the last Tq of the Tk positions: query i stands at Tk - Tq + i.
        k: (B, Hk, Tk, Dh), q's dtype; H is a multiple of Hk (grouped-query attention).
        groups: (B, Tk) int64; bit c is set if the key is in group c. A key may be in several groups or in none.
        num_groups: C, from 1 to 64; bits from C on must not be set.
        causal: a query sees the keys up to its own position.
        window: of the keys up to its own position, a query sees the last `window` only, itself included; without `causal` it still sees
            all later keys.
        scale: factor of the products q k; by default 1 / sqrt(Dh). It must be 0 or a normal float32 (float64 for float64).
        softcap: logits become softcap * tanh(logit / softcap). softcap and scale / softcap must be normal too.
        sinks: (H,) floats, one more logit in the softmax of each row; it counts in lse and entropy, but in no group and not in maximum.
        key_mask: (B, Tk) bool, True for real keys (padding on any side).
        query_mask: (B, Tq) bool, False leaves the query out of mass_sum.
        per_query: also return mass.
    Returns: AttentionMass. A row without a visible key has mass 0 and maximum -inf, and without a sink also entropy 0 and lse -inf. A row
        with a NaN or +inf among its logits has NaN results (maximum may be +inf). Products and sums are in float32 (float64 for float64).
        The bits do not depend on the batch or on the number of threads. No gradient flows back.
    Raises: ValueError or TypeError naming the argument. The bits of groups are checked on CPUs, and with PYDISP_CHECK=1 on other devices;
        without the check, bits from C on are ignored.
    Source: the share of a row's softmax on marked keys, https://arxiv.org/abs/2410.12001.
    """
    optional = ("sinks", "key_mask", "query_mask")
    check_tensors("attention_mass", optional, q=q, k=k, groups=groups, sinks=sinks, key_mask=key_mask, query_mask=query_mask)
    _check("attention_mass", q, k, causal, window, scale, softcap, key_mask, query_mask)
    check_number("attention_mass", "num_groups", num_groups, is_whole=True)
    check_flags("attention_mass", per_query=per_query)
    _check_groups(groups, num_groups, k)
    if sinks is not None and (sinks.shape != (q.shape[1],) or not sinks.is_floating_point()):
        raise ValueError(f"attention_mass: sinks has shape {tuple(sinks.shape)} and dtype {sinks.dtype}; it must be ({q.shape[1]},) floats, one for each head of q.")  # fmt: skip
    _check_device("attention_mass", q, groups=groups, sinks=sinks)
    mass, *rest = _op(
        q.detach(),
        k.detach(),
        groups,
        num_groups,
        causal,
        _window(k, window),
        _scale(q, scale),
        softcap or 0.0,
        None if sinks is None else sinks.detach(),
        key_mask,
        query_mask,
        per_query,
    )
    return AttentionMass(mass if per_query else None, *rest)


def attention_key_mass(
    q: Tensor,
    k: Tensor,
    lse: Tensor,
    *,
    causal: bool = True,
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    key_mask: Tensor | None = None,
    query_mask: Tensor | None = None,
) -> Tensor:
    """The probability on each key, summed over the queries: column sums of exp(logits - lse).

    Args:
        lse: (B, H, Tq) float32 (float64 for float64), as attention_mass returned it for the same arguments (with sinks, if there were).
        query_mask: (B, Tq) bool, False leaves the query out.
        others: as in attention_mass.
    Returns: (B, H, Tk) float32 (float64 for float64); 0 for masked keys. No gradient flows back.
    Raises: ValueError or TypeError naming the argument.
    Source: the column sums of softmax(q k^T), by which H2O finds heavy hitters, https://arxiv.org/abs/2306.14048.
    """
    check_tensors("attention_key_mass", ("key_mask", "query_mask"), q=q, k=k, lse=lse, key_mask=key_mask, query_mask=query_mask)
    _check("attention_key_mass", q, k, causal, window, scale, softcap, key_mask, query_mask)
    if lse.shape != q.shape[:3] or lse.dtype != wide(q.dtype):
        raise ValueError(f"attention_key_mass: lse has shape {tuple(lse.shape)} and dtype {lse.dtype}; it must be {tuple(q.shape[:3])} of {wide(q.dtype)}, as attention_mass returns it.")  # fmt: skip
    _check_device("attention_key_mass", q, lse=lse)
    return _key_op(q.detach(), k.detach(), lse.detach(), causal, _window(k, window), _scale(q, scale), softcap or 0.0, key_mask, query_mask)


def _window(k: Tensor, window: int | None) -> int:
    """The op's window, or 0 if every key lies inside it, so that no backend's integers overflow when it adds to a huge window."""
    return 0 if window is None or window >= k.shape[2] else window


def _scale(q: Tensor, scale: float | None) -> float:
    return 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)


def _check(
    op: str,
    q: Tensor,
    k: Tensor,
    causal: bool,
    window: int | None,
    scale: float | None,
    softcap: float | None,
    key_mask: Tensor | None,
    query_mask: Tensor | None,
) -> None:
    if q.dtype not in FLOATS or q.dtype != k.dtype:
        raise TypeError(f"{op}: q is {q.dtype} and k is {k.dtype}; both must have one of float16, bfloat16, float32, float64.")
    if q.dim() != 4 or k.dim() != 4:
        raise ValueError(f"{op}: q has shape {tuple(q.shape)} and k {tuple(k.shape)}; they must be (B, H, Tq, Dh) and (B, Hk, Tk, Dh).")
    if q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3] or q.shape[3] < 1:
        raise ValueError(f"{op}: q has shape {tuple(q.shape)} and k {tuple(k.shape)}; batch and head dimension must be equal, the latter at least 1.")  # fmt: skip
    if k.shape[1] < 1 or q.shape[1] % k.shape[1]:
        raise ValueError(f"{op}: q has {q.shape[1]} heads and k {k.shape[1]}; those of q must be a multiple of those of k.")
    if q.shape[2] > k.shape[2]:
        raise ValueError(f"{op}: q has {q.shape[2]} positions and k {k.shape[2]}; the queries are the last of the keys' positions, so give all keys.")  # fmt: skip
    check_flags(op, causal=causal)
    if window is not None:
        check_number(op, "window", window, is_whole=True)
        if window < 1:
            raise ValueError(f"{op}: window is {window}; it must be 1 or more, or None for no window.")
    if scale is not None:
        check_number(op, "scale", scale)
        if not _is_normal_or_0(scale, q.dtype):
            raise ValueError(f"{op}: scale is {scale}; it must be finite, and 0 or a normal number in {wide(q.dtype)}.")
    if softcap is not None:
        check_number(op, "softcap", softcap)
        if not (softcap > 0 and _is_normal_or_0(softcap, q.dtype)):
            raise ValueError(f"{op}: softcap is {softcap}; it must be finite and above 0, a normal number in {wide(q.dtype)}, or None for no cap.")  # fmt: skip
        if not _is_normal_or_0(_scale(q, scale) / softcap, q.dtype):
            raise ValueError(f"{op}: softcap is {softcap} and scale {_scale(q, scale)}; scale / softcap must be a normal number in {wide(q.dtype)}.")  # fmt: skip
    for name, mask, length in (("key_mask", key_mask, k.shape[2]), ("query_mask", query_mask, q.shape[2])):
        if mask is not None and (mask.dtype != torch.bool or mask.shape != (q.shape[0], length)):
            raise ValueError(f"{op}: {name} has shape {tuple(mask.shape)} and dtype {mask.dtype}; it must be ({q.shape[0]}, {length}) of torch.bool.")  # fmt: skip
    _check_device(op, q, k=k, key_mask=key_mask, query_mask=query_mask)


def _is_normal_or_0(value: float, dtype: torch.dtype) -> bool:
    """Whether the number is 0 or normal in the dtype that the op computes in; any other makes logits NaN or leaves them without a cap."""
    limits = torch.finfo(wide(dtype))
    return value == 0 or limits.tiny <= abs(value) <= limits.max


def _check_device(op: str, q: Tensor, **others: Tensor | None) -> None:
    for name, tensor in others.items():
        if tensor is not None and tensor.device != q.device:
            raise ValueError(f"{op}: {name} is on {tensor.device} and q on {q.device}; move one to the other's device.")


def _check_groups(groups: Tensor, num_groups: int, k: Tensor) -> None:
    if not 1 <= num_groups <= MOST_GROUPS:
        raise ValueError(f"attention_mass: num_groups is {num_groups}; it must be from 1 to {MOST_GROUPS}, the bits of an int64 (call again for more).")  # fmt: skip
    if groups.dtype != torch.int64:
        raise TypeError(f"attention_mass: groups is {groups.dtype}; it must be torch.int64, bit c set where a key is in group c.")
    if groups.shape != (k.shape[0], k.shape[2]):
        raise ValueError(f"attention_mass: groups has shape {tuple(groups.shape)}; it must be ({k.shape[0]}, {k.shape[2]}), one for each key.")  # fmt: skip
    if num_groups < MOST_GROUPS and may_read_values(groups) and bool((groups >> num_groups).any()):
        raise ValueError(f"attention_mass: groups has bits set from bit {num_groups} on, num_groups is {num_groups}; bit c stands for group c, from 0 to {num_groups - 1}.")  # fmt: skip


def reference(
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
    """What attention_mass means, in plain torch, a block of queries at a time; arguments as the op's schema."""
    dtype = wide(q.dtype)
    batch, heads, queries, _ = q.shape
    bits = torch.arange(num_groups, device=q.device)
    indicator = (groups[:, :, None] >> bits & 1).to(dtype)[:, None]  # (B, 1, Tk, C)
    mass = q.new_empty((batch, heads, queries, num_groups) if per_query else (0,), dtype=dtype)
    mass_sum = q.new_zeros((batch, heads, num_groups), dtype=dtype)
    entropy, lse, maximum = (q.new_empty((batch, heads, queries), dtype=dtype) for _ in range(3))
    for rows, s in _logits(q, k, causal, window, scale, softcap, key_mask):
        top = s.amax(-1, keepdim=True)
        highest = top if sinks is None else torch.maximum(top, sinks.to(dtype)[:, None, None])
        shift = torch.where(highest == -math.inf, 0, highest)
        p = (s - shift).exp()
        total = p.sum(-1, keepdim=True)
        weighted = (p * torch.where(p == 0, 0, s - shift)).sum(-1, keepdim=True)
        if sinks is not None:
            distance = sinks.to(dtype)[:, None, None] - shift
            total = total + distance.exp()
            weighted = weighted + distance.exp() * torch.where(distance.exp() == 0, 0, distance)
        inverse = torch.where(total == 0, 0, 1 / total)
        mass_of_rows = product(p, indicator) * inverse
        maximum[:, :, rows] = top[..., 0]
        lse[:, :, rows] = (shift + total.log())[..., 0]
        entropy[:, :, rows] = torch.where(total == 0, 0, total.log() - weighted * inverse)[..., 0].clamp_min(0)
        if per_query:
            mass[:, :, rows] = mass_of_rows
        if query_mask is not None:
            mass_of_rows = mass_of_rows.masked_fill(~query_mask[:, None, rows, None], 0)
        mass_sum += mass_of_rows.sum(2)
    return mass, mass_sum, entropy, lse, maximum


def key_reference(
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
    """What attention_key_mass means, in plain torch, a block of queries at a time; arguments as the op's schema."""
    mass = q.new_zeros((*q.shape[:2], k.shape[2]), dtype=wide(q.dtype))
    for rows, s in _logits(q, k, causal, window, scale, softcap, key_mask):
        p = torch.where(s == -math.inf, 0, (s - lse[:, :, rows, None]).exp())
        if query_mask is not None:
            p = p.masked_fill(~query_mask[:, None, rows, None], 0)
        mass += p.sum(2)
    return mass


def _logits(q: Tensor, k: Tensor, causal: bool, window: int, scale: float, softcap: float, key_mask: Tensor | None):
    """For each block of queries its slice and its logits (B, H, rows, Tk), -inf where a key is not visible."""
    dtype = wide(q.dtype)
    queries, keys = q.shape[2], k.shape[2]
    transposed = k.to(dtype).repeat_interleave(q.shape[1] // k.shape[1], 1).transpose(2, 3)
    key = torch.arange(keys, device=q.device)
    for start in range(0, queries, _ROWS):
        rows = slice(start, min(start + _ROWS, queries))
        s = product(q[:, :, rows].to(dtype), transposed) * scale
        if softcap:
            s = softcap * (s / softcap).tanh()
        position = torch.arange(rows.start, rows.stop, device=q.device)[:, None] + (keys - queries)
        visible = key <= position if causal else torch.ones_like(key <= position)
        if window:
            visible = visible & (key > position - window)
        if key_mask is not None:
            visible = visible & key_mask[:, None, None, :]
        yield rows, s.masked_fill(~visible, -math.inf)


def _fake(q, k, groups, num_groups, causal, window, scale, softcap, sinks, key_mask, query_mask, per_query):
    dtype = wide(q.dtype)
    batch, heads, queries, _ = q.shape
    rows = (q.new_empty((batch, heads, queries), dtype=dtype) for _ in range(3))
    mass = q.new_empty((batch, heads, queries, num_groups) if per_query else (0,), dtype=dtype)
    return mass, q.new_empty((batch, heads, num_groups), dtype=dtype), *rows


def _key_fake(q, k, lse, causal, window, scale, softcap, key_mask, query_mask):
    return q.new_empty((*q.shape[:2], k.shape[2]), dtype=wide(q.dtype))


_op = define(
    "attention_mass(Tensor q, Tensor k, Tensor groups, int num_groups, bool causal, int window, float scale, float softcap,"
    " Tensor? sinks, Tensor? key_mask, Tensor? query_mask, bool per_query) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=reference,
    fake=_fake,
)
_key_op = define(
    "attention_key_mass(Tensor q, Tensor k, Tensor lse, bool causal, int window, float scale, float softcap,"
    " Tensor? key_mask, Tensor? query_mask) -> Tensor",
    reference=key_reference,
    fake=_key_fake,
)

on_cuda("attention_mass", "attention_mass", reference)
on_cuda("attention_mass", "attention_key_mass", key_reference)
