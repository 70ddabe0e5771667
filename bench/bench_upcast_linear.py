"""upcast_linear: 16-bit linears on CPUs that multiply float32 only, at linears of real models; there is nothing to up-cast on a GPU."""

# M tokens, I inputs, O outputs

import math

import torch
from cases import COMPILED, EAGER, LIMIT, OURS, Candidate, Case, Work, compiled
from torch.nn import functional as F

from pydisp import ops

# (I, O): the MLP's first linear.
LINEARS = {"llama3.2_1b-gate": (2048, 8192), "llama2_7b-gate": (4096, 11008), "qwen2.5_0.5b-gate": (896, 4864)}
TOKENS = (1, 16, 256)
NAMES = ("pydisp", "eager", "torch.compile", "eager, up-cast whole", "limit: float32 product")


def cases(device: str) -> list[Case]:
    if device != "cpu":
        return []
    return [
        Case(
            suite="upcast_linear",
            op="upcast_linear",
            name=f"{linear}-{'decode' if tokens == 1 else f'prefill{tokens}'}",
            dtype="bf16",
            device=device,
            sizes={"M": tokens, "I": inputs, "O": outputs},
            build=_build,
            names=NAMES,
            tiny={"M": 1, "O": 16},
            axes=("M",) if linear.startswith("llama3.2") else (),
            is_quick=linear.startswith("qwen") or linear.startswith("llama3.2") and tokens == 1,
            measures_memory=linear.startswith("llama3.2"),
        )
        for linear, (inputs, outputs) in LINEARS.items()
        for tokens in TOKENS
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
    found = {
        "pydisp": Candidate(lambda: ops.upcast_linear(x, weight), OURS),
        "eager": Candidate(lambda: F.linear(x, weight), EAGER),
        "torch.compile": Candidate(lambda: fast(x, weight), COMPILED),
        "eager, up-cast whole": Candidate(lambda: F.linear(x.float(), weight.float()).to(x.dtype), EAGER),
        "limit: float32 product": Candidate(product, LIMIT, checked=0),
    }
    return Work({name: _without_gradients(c) for name, c in found.items()}, lambda: (x.double() @ weight.double().t(),))


def _without_gradients(candidate: Candidate) -> Candidate:
    def call():
        with torch.no_grad():
            return candidate.call()

    return Candidate(call, candidate.role, candidate.checked)


def bench_upcast_linear(timed, case, name):
    timed(case, name)
