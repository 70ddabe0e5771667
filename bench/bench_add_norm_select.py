"""The junctions of a pruned model: norm_select, add_norm_select and index_add at the widths of real models, half of the dimensions kept."""

# M tokens, D hidden, A added dimensions, K kept dimensions

import torch
from cases import COMPILED, EAGER, LIMIT, OURS, PEER, Candidate, Case, Work, compiled, why_absent
from torch import Tensor
from torch.nn import functional as F

from pydisp import ops

# Eager code gets its indices as int64, because torch's index_add goes column by column for int32 (M = 1024, D = 4096, half added, float32,
# one AVX2 thread: 39 ms against 5 ms).
EPS = 1e-5
HIDDEN = {"llama2_7b": 4096, "llama3.2_1b": 2048, "qwen2.5_0.5b": 896}
# Numbers of tokens on the curve; llama2_7b with 1024 is the shape of the goals.
CURVE_MODEL, CURVE_TOKENS = "llama2_7b", {"cpu": (1, 16, 64, 256, 1024, 4096), "cuda": (1, 16, 128, 1024, 8192, 32768)}
PREFILL_TOKENS = {"cpu": 1024, "cuda": 8192}
PLACES = {"norm_select": "attn_input", "add_norm_select": "attn_to_mlp", "index_add": "mlp_output"}


def cases(device: str) -> list[Case]:
    listed = []
    for op, build in BUILDS.items():
        for model, hidden in HIDDEN.items():
            for tokens in _tokens(op, model, device):
                phase = "decode" if tokens == 1 else f"prefill{tokens}"
                for dtype in ("f32", "bf16") if device == "cpu" else ("bf16", "f32"):
                    listed.append(
                        Case(
                            suite="add_norm_select",
                            op=op,
                            name=f"{model}-{PLACES[op]}-keep50-{phase}",
                            dtype=dtype,
                            device=device,
                            sizes={"M": tokens, "D": hidden, "A": hidden // 2, "K": hidden // 2},
                            build=build,
                            names=NAMES[op],
                            tiny={"M": 1},
                            axes=("M",) if op == "add_norm_select" and model == CURVE_MODEL else (),
                            is_quick=model == CURVE_MODEL and tokens in (1, 1024),
                            measures_memory=op == "add_norm_select" and model == CURVE_MODEL,
                        )
                    )
    return listed


def _tokens(op: str, model: str, device: str) -> tuple[int, ...]:
    if op == "add_norm_select" and model == CURVE_MODEL:
        return CURVE_TOKENS[device]
    return 1, PREFILL_TOKENS[device]


def copy_of(case: Case, values: int) -> Candidate:
    """A plain copy that reads and writes, in total, as many bytes as `values` elements of the case's dtype have."""
    source = torch.ones(max(1, values // 2), dtype=case.torch_dtype, device=case.device)
    target = torch.ones_like(source)
    return Candidate(lambda: target.copy_(source), LIMIT, checked=0)


def _rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * weight


def _liger_norm(x: Tensor, weight: Tensor) -> Tensor:
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction

    return LigerRMSNormFunction.apply(x, weight, EPS, 0.0, "llama", False)


def _norm_select(case: Case) -> Work:
    generator, (m, d, k) = case.generator(), (case.sizes[letter] for letter in "MDK")
    x, weight, index = case.draw(generator, m, d), case.draw(generator, d), case.draw_index(generator, k, d)
    kept, index = ops.features(index, d), index.long()

    def eager(x, weight, index):
        return F.rms_norm(x, (d,), weight, EPS).index_select(-1, index)

    fast = compiled(eager)
    candidates = {
        "pydisp": Candidate(lambda: ops.norm_select(x, weight, None, kept, EPS), OURS),
        "eager": Candidate(lambda: eager(x, weight, index), EAGER),
        "torch.compile": Candidate(lambda: fast(x, weight, index), COMPILED),
        "liger-kernel": Candidate(lambda: _liger_norm(x, weight).index_select(-1, index), PEER),
        "limit: copy": copy_of(case, m * d + m * k),
    }
    return _work(case, candidates, lambda: (_rms_norm(x.double(), weight.double()).index_select(-1, index),))


def _add_norm_select(case: Case) -> Work:
    generator, (m, d, a, k) = case.generator(), (case.sizes[letter] for letter in "MDAK")
    residual, update, weight = case.draw(generator, m, d), case.draw(generator, m, a), case.draw(generator, d)
    add_index, index = case.draw_index(generator, a, d), case.draw_index(generator, k, d)
    added, kept = ops.features(add_index, d), ops.features(index, d)
    add_index, index = add_index.long(), index.long()
    changed = residual.clone()

    def eager(residual, update, add_index, weight, index):
        residual = residual.index_add(-1, add_index, update)
        return residual, F.rms_norm(residual, (d,), weight, EPS).index_select(-1, index)

    def eager_in_place():
        changed.index_add_(-1, add_index, update)
        return changed, F.rms_norm(changed, (d,), weight, EPS).index_select(-1, index)

    def liger():
        new = residual.index_add(-1, add_index, update)
        return new, _liger_norm(new, weight).index_select(-1, index)

    def gold():
        new = residual.double().index_add(-1, add_index, update.double())
        # The norm reads the residual as it is stored.
        return new, _rms_norm(new.to(residual.dtype).double(), weight.double()).index_select(-1, index)

    fast = compiled(eager)
    candidates = {
        "pydisp": Candidate(lambda: ops.add_norm_select(residual, update, added, weight, None, kept, EPS), OURS),
        "pydisp in place": Candidate(lambda: (changed, ops.add_norm_select_(changed, update, added, weight, None, kept, EPS)), OURS),
        "eager": Candidate(lambda: eager(residual, update, add_index, weight, index), EAGER),
        "eager in place": Candidate(eager_in_place, EAGER),
        "torch.compile": Candidate(lambda: fast(residual, update, add_index, weight, index), COMPILED),
        "liger-kernel": Candidate(liger, PEER),
        "limit: copy": copy_of(case, 2 * m * d + m * a + m * k),
    }
    return _work(case, candidates, gold, in_place=(changed, residual))


def _index_add(case: Case) -> Work:
    generator, (m, d, a) = case.generator(), (case.sizes[letter] for letter in "MDA")
    residual, update, index = case.draw(generator, m, d), case.draw(generator, m, a), case.draw_index(generator, a, d)
    added, index = ops.features(index, d), index.long()
    changed = residual.clone()

    def eager(residual, index, update):
        return residual.index_add(-1, index, update)

    def in_place():
        ops.index_add_(changed, update, added)
        return changed

    fast = compiled(eager)
    candidates = {
        "pydisp": Candidate(lambda: ops.index_add(residual, update, added), OURS),
        "pydisp in place": Candidate(in_place, OURS),
        "eager": Candidate(lambda: eager(residual, index, update), EAGER),
        "eager in place": Candidate(lambda: changed.index_add_(-1, index, update), EAGER),
        "torch.compile": Candidate(lambda: fast(residual, index, update), COMPILED),
        "limit: copy": copy_of(case, 2 * m * d + m * a),
    }
    gold = lambda: (residual.double().index_add(-1, index, update.double()),)  # noqa: E731
    return _work(case, candidates, gold, in_place=(changed, residual))


def _work(case: Case, candidates: dict[str, Candidate], gold, in_place: tuple[Tensor, ...] = ()) -> Work:
    """`in_place`: the tensor that candidates change, and a copy of its old values."""
    why = why_absent("liger_kernel", case.device)
    absent = {"liger-kernel": why} if why and candidates.pop("liger-kernel", None) else {}

    def restore():
        if in_place:
            in_place[0].copy_(in_place[1])

    return Work(candidates, gold, in_place, absent, restore)


BUILDS = {"norm_select": _norm_select, "add_norm_select": _add_norm_select, "index_add": _index_add}
NAMES = {
    "norm_select": ("pydisp", "eager", "torch.compile", "liger-kernel", "limit: copy"),
    "add_norm_select": ("pydisp", "pydisp in place", "eager", "eager in place", "torch.compile", "liger-kernel", "limit: copy"),
    "index_add": ("pydisp", "pydisp in place", "eager", "eager in place", "torch.compile", "limit: copy"),
}


def bench_add_norm_select(timed, case, name):
    timed(case, name)
