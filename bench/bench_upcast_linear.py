"""upcast_linear: 16-bit linears on CPUs that can only multiply float32, and few rows of float32, at the linears of real models.

On a GPU there is nothing to up-cast. In float32 the limit is a sum over the weights, which reads them once.
"""

# M tokens, I inputs, O outputs

import math

import torch
from cases import COMPILED, EAGER, LIMIT, OURS, Candidate, Case, Work, compiled
from torch.nn import functional as F

from pydisp import ops

# (I, O): the MLP's first linear.
LINEARS = {"llama3.2_1b-gate": (2048, 8192), "llama2_7b-gate": (4096, 11008), "qwen2.5_0.5b-gate": (896, 4864)}
TOKENS = {"bf16": (1, 16, 256), "f32": (1, 16)}  # for more tokens in float32, torch's linear runs
NAMES = {
    "bf16": ("pydisp", "eager", "torch.compile", "eager, up-cast whole", "limit: float32 product"),
    "f32": ("pydisp", "eager", "torch.compile", "limit: sum of the weights"),
}


def cases(device: str) -> list[Case]:
    if device != "cpu":
        return []
    return [
        Case(
            suite="upcast_linear",
            op="upcast_linear",
            name=f"{linear}-{'decode' if tokens == 1 else f'prefill{tokens}'}",
            dtype=dtype,
            device=device,
            sizes={"M": tokens, "I": inputs, "O": outputs},
            build=_build,
            names=NAMES[dtype],
            tiny={"M": 1, "O": 16},
            axes=("M",) if linear.startswith("llama3.2") and dtype == "bf16" else (),
            is_quick=linear.startswith("qwen") or linear.startswith("llama3.2") and tokens == 1,
            measures_memory=linear.startswith("llama3.2") and dtype == "bf16",
        )
        for dtype in TOKENS
        for linear, (inputs, outputs) in LINEARS.items()
        for tokens in TOKENS[dtype]
    ]


def _build(case: Case) -> Work:
    generator, (m, i, o) = case.generator(), (case.sizes[letter] for letter in "MIO")
    x, weight = case.draw(generator, m, i), case.draw(generator, o, i, scale=1 / math.sqrt(i))
    state: dict = {}

    def product():
        if not state:
            state["operands"] = x.float(), weight.float().t(), torch.empty(m, o)
        inputs, columns, out = state["operands"]
        torch.mm(inputs, columns, out=out)

    fast = compiled(F.linear)
    candidates = {
        "pydisp": Candidate(lambda: ops.upcast_linear(x, weight), OURS),
        "eager": Candidate(lambda: F.linear(x, weight), EAGER),
        "torch.compile": Candidate(lambda: fast(x, weight), COMPILED),
    }
    if case.dtype == "f32":
        candidates["limit: sum of the weights"] = Candidate(weight.sum, LIMIT, checked=0)
    else:
        candidates["eager, up-cast whole"] = Candidate(lambda: F.linear(x.float(), weight.float()).to(x.dtype), EAGER)
        candidates["limit: float32 product"] = Candidate(product, LIMIT, checked=0)
    return Work({name: _without_gradients(c) for name, c in candidates.items()}, lambda: (x.double() @ weight.double().t(),))


def _without_gradients(candidate: Candidate) -> Candidate:
    def call():
        with torch.no_grad():
            return candidate.call()

    return Candidate(call, candidate.role, candidate.checked)


def bench_upcast_linear(timed, case, name):
    timed(case, name)
