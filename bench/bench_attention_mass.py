"""attention_mass: how much attention each query gives to groups of keys, with the entropy of its row; prefill, decode and long contexts.

attention_key_mass sums over the queries instead. It needs the log-sum-exp of each row, which attention_mass computes; it is timed with and
without that computation.
"""

# H query heads, G key heads, T context, Q queries (the last of the context), E head dimension, C groups

import math
from collections.abc import Iterator

import torch
from cases import COMPILED, EAGER, LIMIT, OURS, PEER, Candidate, Case, Work, compiled
from torch import Tensor
from torch.nn import functional as F

from pydisp import ops

GROUPS = 16
# (H, G, E)
MODELS = {"llama3.2_1b": (32, 8, 64), "llama2_7b": (32, 32, 128), "qwen2.5_0.5b": (14, 2, 64)}
PREFILL_TOKENS = {"cpu": 512, "cuda": 4096}
DECODE_CONTEXT = {"cpu": 4096, "cuda": 32768}
CURVE_HEADS = {"cpu": ("heads8_4", (8, 4, 64)), "cuda": ("heads32_8", (32, 8, 64))}
CURVE_CONTEXTS = {"cpu": (256, 1024, 4096, 16384), "cuda": (1024, 4096, 8192, 16384)}
MOST_EAGER_BYTES = {"cpu": 3 << 30, "cuda": 48 << 30}  # limit for the weights of all heads, of which several copies are needed
QUERY_BLOCK = 256  # rows at a time, for the limit and the gold
MOST_BF16_CONTEXT = 4096  # on CPUs, and for the op with a goal: torch's products in bf16 take half a minute a call at 16,384


def cases(device: str) -> list[Case]:
    listed = []

    def add(op: str, name: str, dtype: str, heads: tuple[int, int, int], queries: int, context: int, **more) -> None:
        sizes = dict(zip("HGEQTC", (*heads, queries, context, GROUPS), strict=True))
        names = tuple(n for n in NAMES[op] if "up-cast" not in n or (device, dtype) == ("cpu", "bf16"))
        listed.append(Case("attention_mass", op, name, dtype, device, sizes, BUILDS[op], names, tiny={"Q": 2, "T": 2}, **more))

    first = "f32" if device == "cpu" else "bf16"
    for op in BUILDS:
        stem, heads = CURVE_HEADS[device]
        for context in CURVE_CONTEXTS[device]:
            also = ("bf16",) if device == "cpu" and op == "attention_mass" and context <= MOST_BF16_CONTEXT else ()
            for dtype in (first, *also):
                quick = context == 1024 and dtype == first
                add(op, f"{stem}-context{context}", dtype, heads, context, context, axes=("T",), measures_memory=True, is_quick=quick)
        for model, heads in MODELS.items():
            add(op, f"{model}-prefill{PREFILL_TOKENS[device]}", first, heads, PREFILL_TOKENS[device], PREFILL_TOKENS[device])
            quick = model == "qwen2.5_0.5b"
            add(op, f"{model}-decode{DECODE_CONTEXT[device]}", first, heads, 1, DECODE_CONTEXT[device], is_quick=quick)
    return listed


def _visible(queries: int, context: int, device: str) -> Tensor:
    """(Q, T) bool: a query sees the keys up to its own position; the queries are the last of the context."""
    return torch.ones(queries, context, dtype=torch.bool, device=device).tril(context - queries)


def _logits(q: Tensor, k: Tensor) -> Tensor:
    """(1, H, Q, T) float32; -inf if a query does not see a key."""
    queries, context = q.shape[2], k.shape[2]
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    logits = (q @ k.transpose(-1, -2)).float() / math.sqrt(q.shape[-1])
    return logits.masked_fill(~_visible(queries, context, q.device), -math.inf)


def _eager(q: Tensor, k: Tensor, indicator: Tensor) -> tuple[Tensor, Tensor]:
    """Mass (1, H, Q, C) and entropy (1, H, Q), with the weights in memory as output_attentions gives them."""
    weights = _logits(q, k).softmax(-1)
    return weights @ indicator.float(), torch.special.entr(weights).sum(-1)


def _eager_key(q: Tensor, k: Tensor) -> Tensor:
    """Key mass (1, H, T), also with the weights in memory."""
    return _logits(q, k).softmax(-1).sum(2)


def _eager_key_of_lse(q: Tensor, k: Tensor, lse: Tensor) -> Tensor:
    return (_logits(q, k) - lse[..., None]).exp().sum(2)


def _gold_weights(q: Tensor, k: Tensor) -> Iterator[Tensor]:
    """The weights in float64, blocks of queries at a time."""
    queries, context = q.shape[2], k.shape[2]
    k = k.double().repeat_interleave(q.shape[1] // k.shape[1], 1)
    for rows in range(0, queries, QUERY_BLOCK):
        block = q[:, :, rows : rows + QUERY_BLOCK].double()
        positions = torch.arange(rows, rows + block.shape[2], device=q.device) + context - queries
        hidden = torch.arange(context, device=q.device) > positions[:, None]
        yield (block @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(hidden, -math.inf).softmax(-1)


def _gold(q: Tensor, k: Tensor, indicator: Tensor) -> tuple[Tensor, Tensor]:
    mass, entropy = zip(*((w @ indicator.double(), torch.special.entr(w).sum(-1)) for w in _gold_weights(q, k)), strict=True)
    return torch.cat(mass, 2), torch.cat(entropy, 2)


def _drawn(case: Case) -> tuple[torch.Generator, Tensor, Tensor]:
    generator, (h, g, e, queries, context) = case.generator(), (case.sizes[letter] for letter in "HGEQT")
    return generator, case.draw(generator, 1, h, queries, e), case.draw(generator, 1, g, context, e)


def _limits(case: Case, q: Tensor, k: Tensor) -> dict[str, Candidate]:
    """Bare products: native, and for 16-bit values on a CPU also in float32, from copies made beforehand."""
    limits = {"limit: causal products": _products(q, k)}
    if case.device == "cpu" and case.dtype != "f32":
        limits["limit: up-cast causal products"] = _products(q.float(), k.float())
    return limits


def _products(q: Tensor, k: Tensor) -> Candidate:
    """The products of queries and the keys that they see, a block of queries at a time."""
    (h, queries, e), (g, context) = q.shape[1:], k.shape[1:3]
    buffer: list[Tensor] = []

    def products():
        grouped = q.view(g, h // g * queries, e) if queries == 1 else None
        if not buffer:
            buffer.append(torch.empty(h * min(queries, QUERY_BLOCK) * context, dtype=q.dtype, device=q.device))
        if grouped is not None:
            torch.bmm(grouped, k[0].transpose(1, 2), out=buffer[0].view(g, h // g, context))
            return
        for rows in range(0, queries, QUERY_BLOCK):
            block = q[0, :, rows : rows + QUERY_BLOCK].reshape(g, -1, e)
            seen = context - queries + min(rows + QUERY_BLOCK, queries)
            out = buffer[0][: g * block.shape[1] * seen].view(g, block.shape[1], seen)
            torch.bmm(block, k[0, :, :seen].transpose(1, 2), out=out)

    return Candidate(products, LIMIT, checked=0)


def _work(case: Case, candidates: dict[str, Candidate], gold) -> Work:
    """If the weights of all heads would take too much memory, the candidates that hold them are left out."""
    absent = {}
    weights_bytes = 4 * case.sizes["H"] * case.sizes["Q"] * case.sizes["T"] * 4  # logits, masked, weights and one more in float32
    if weights_bytes > MOST_EAGER_BYTES[case.device]:
        for name in [name for name, candidate in candidates.items() if candidate.role in (EAGER, COMPILED)]:
            del candidates[name]
            absent[name] = f"would hold about {weights_bytes / 2**30:.0f} GiB of attention weights"
    return Work(candidates, gold, absent=absent)


def _mass(case: Case) -> Work:
    (h, g, e, queries, context, c), (generator, q, k) = (case.sizes[letter] for letter in "HGEQTC"), _drawn(case)
    of_key = torch.randint(c, (1, context), generator=generator, device=case.device)
    groups = torch.ones_like(of_key) << of_key
    indicator = F.one_hot(of_key[0], c).to(q.dtype)
    # Flash kernels want values as wide as the keys.
    values = F.pad(indicator, (0, e - c)).expand(1, g, context, e)

    def ours():
        masses = ops.attention_mass(q, k, groups, c)
        return masses.mass, masses.entropy

    def sdpa():
        mass = F.scaled_dot_product_attention(q, k, values, is_causal=queries > 1, enable_gqa=h != g)
        return mass[..., :c]

    fast = compiled(_eager)
    candidates = {
        "pydisp": Candidate(ours, OURS),
        "eager": Candidate(lambda: _eager(q, k, indicator), EAGER),
        "torch.compile": Candidate(lambda: fast(q, k, indicator), COMPILED),
        "SDPA with indicator V": Candidate(sdpa, PEER, checked=1),
    }
    return _work(case, candidates | _limits(case, q, k), lambda: _gold(q, k, indicator))


def _key_mass(case: Case) -> Work:
    _, q, k = _drawn(case)
    nowhere = torch.zeros(1, k.shape[2], dtype=torch.int64, device=k.device)

    def lse_of_rows() -> Tensor:
        return ops.attention_mass(q, k, nowhere, 1, per_query=False).lse

    lse, fast = lse_of_rows(), compiled(_eager_key)
    candidates = {
        "pydisp": Candidate(lambda: ops.attention_key_mass(q, k, lse_of_rows()), OURS),
        "pydisp from lse": Candidate(lambda: ops.attention_key_mass(q, k, lse), OURS),
        "eager": Candidate(lambda: _eager_key(q, k), EAGER),
        "eager from lse": Candidate(lambda: _eager_key_of_lse(q, k, lse), EAGER),
        "torch.compile": Candidate(lambda: fast(q, k), COMPILED),
    }
    return _work(case, candidates | _limits(case, q, k), lambda: (sum(weights.sum(2) for weights in _gold_weights(q, k)),))


BUILDS = {"attention_mass": _mass, "attention_key_mass": _key_mass}
NAMES = {
    "attention_mass": ("pydisp", "eager", "torch.compile", "SDPA with indicator V", "limit: causal products", "limit: up-cast causal products"),
    "attention_key_mass": (
        "pydisp", "pydisp from lse", "eager", "eager from lse", "torch.compile", "limit: causal products", "limit: up-cast causal products",
    ),
}  # fmt: skip


def bench_attention_mass(timed, case, name):
    timed(case, name)
