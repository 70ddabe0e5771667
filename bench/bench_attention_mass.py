"""attention_mass: how much attention each query gives to groups of keys, with the entropy of its row; prefill, decode and long contexts."""

# H query heads, G key heads, T context, Q queries (the last of the context), E head dimension, C groups

import math

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
MOST_EAGER_BYTES = {"cpu": 3 << 30, "cuda": 48 << 30}  # what the weights of all heads may take, several times over
QUERY_BLOCK = 256  # rows of the limit and of the gold
NAMES = ("pydisp", "eager", "torch.compile", "SDPA with indicator V", "limit: causal products")


def cases(device: str) -> list[Case]:
    dtypes = ("f32",) if device == "cpu" else ("bf16",)
    found = []

    def add(name: str, heads: tuple[int, int, int], queries: int, context: int, **more) -> None:
        for dtype in dtypes:
            sizes = dict(zip("HGEQTC", (*heads, queries, context, GROUPS), strict=True))
            case = Case("attention_mass", "attention_mass", name, dtype, device, sizes, _build, NAMES, tiny={"Q": 2, "T": 2}, **more)
            found.append(case)

    stem, heads = CURVE_HEADS[device]
    for context in CURVE_CONTEXTS[device]:
        add(f"{stem}-context{context}", heads, context, context, axes=("T",), measures_memory=True, is_quick=context == 1024)
    for model, heads in MODELS.items():
        add(f"{model}-prefill{PREFILL_TOKENS[device]}", heads, PREFILL_TOKENS[device], PREFILL_TOKENS[device])
        add(f"{model}-decode{DECODE_CONTEXT[device]}", heads, 1, DECODE_CONTEXT[device], is_quick=model == "qwen2.5_0.5b")
    return found


def _visible(queries: int, context: int, device: str) -> Tensor:
    """(Q, T) bool: a query sees the keys up to its own position; the queries are the last of the context."""
    return torch.ones(queries, context, dtype=torch.bool, device=device).tril(context - queries)


def _eager(q: Tensor, k: Tensor, indicator: Tensor) -> tuple[Tensor, Tensor]:
    """Mass (1, H, Q, C) and entropy (1, H, Q), with the weights in memory as output_attentions gives them."""
    queries, context = q.shape[2], k.shape[2]
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    logits = (q @ k.transpose(-1, -2)).float() / math.sqrt(q.shape[-1])
    weights = logits.masked_fill(~_visible(queries, context, q.device), -math.inf).softmax(-1)
    return weights @ indicator.float(), torch.special.entr(weights).sum(-1)


def _gold(q: Tensor, k: Tensor, indicator: Tensor) -> tuple[Tensor, Tensor]:
    """In float64, blocks of queries at a time."""
    queries, context = q.shape[2], k.shape[2]
    k = k.double().repeat_interleave(q.shape[1] // k.shape[1], 1)
    mass, entropy = [], []
    for rows in range(0, queries, QUERY_BLOCK):
        block = q[:, :, rows : rows + QUERY_BLOCK].double()
        positions = torch.arange(rows, rows + block.shape[2], device=q.device) + context - queries
        hidden = torch.arange(context, device=q.device) > positions[:, None]
        weights = (block @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(hidden, -math.inf).softmax(-1)
        mass.append(weights @ indicator.double())
        entropy.append(torch.special.entr(weights).sum(-1))
    return torch.cat(mass, 2), torch.cat(entropy, 2)


def _build(case: Case) -> Work:
    generator, (h, g, e, queries, context, c) = case.generator(), (case.sizes[letter] for letter in "HGEQTC")
    q, k = case.draw(generator, 1, h, queries, e), case.draw(generator, 1, g, context, e)
    of_key = torch.randint(c, (1, context), generator=generator, device=case.device)
    groups = torch.ones_like(of_key) << of_key
    indicator = F.one_hot(of_key[0], c).to(q.dtype)
    # Flash kernels want values as wide as the keys.
    values = F.pad(indicator, (0, e - c)).expand(1, g, context, e)

    def ours():
        found = ops.attention_mass(q, k, groups, c)
        return found.mass, found.entropy

    def sdpa():
        mass = F.scaled_dot_product_attention(q, k, values, is_causal=queries > 1, enable_gqa=h != g)
        return mass[..., :c]

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

    fast = compiled(_eager)
    found = {
        "pydisp": Candidate(ours, OURS),
        "eager": Candidate(lambda: _eager(q, k, indicator), EAGER),
        "torch.compile": Candidate(lambda: fast(q, k, indicator), COMPILED),
        "SDPA with indicator V": Candidate(sdpa, PEER, checked=1),
        "limit: causal products": Candidate(products, LIMIT, checked=0),
    }
    absent = {}
    weights_bytes = 4 * h * queries * context * 4  # logits, masked, weights and entropy terms in float32
    if weights_bytes > MOST_EAGER_BYTES[case.device]:
        for name in ("eager", "torch.compile"):
            del found[name]
            absent[name] = f"would hold about {weights_bytes / 2**30:.0f} GiB of attention weights"
    return Work(found, lambda: _gold(q, k, indicator), absent=absent)


def bench_attention_mass(timed, case, name):
    timed(case, name)
