"""norm_select against its reference and the unpruned norm: `python bench/bench_norm_select.py` (ratios of interleaved rounds) or pytest."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from pydisp import ops
from pydisp.ops.norm_select import reference

# LLaMA-2-7B's hidden size, half of it kept
D, K, EPS = 4096, 2048, 1e-5
PHASES = {"prefill1024": 1024, "decode": 1}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def candidates(tokens: int, dtype: torch.dtype) -> dict:
    """Calls by implementation: the op as it is installed, the reference, and the dense norm that the unpruned model runs."""
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(tokens, D, generator=generator).to(dtype), torch.randn(D, generator=generator).to(dtype)
    index = torch.randperm(D, generator=generator)[:K].sort().values.int()
    serving = ops.implementations()["norm_select"]["cpu"]
    found = {
        f"op_{serving}": lambda: ops.norm_select(x, weight, None, index, EPS),
        "reference": lambda: reference(x, weight, None, index, EPS),
        "dense": lambda: F.rms_norm(x, (D,), weight, EPS),
    }
    torch.testing.assert_close(found[f"op_{serving}"](), found["reference"]())
    return found


CASES = [
    pytest.param(phase, dtype, which, id=f"llama2_7b-attn_input-keep50-{phase}-{dtype}-cpu-{which}")
    for phase in PHASES
    for dtype in DTYPES
    for which in ("op", "reference", "dense")
]


@pytest.mark.parametrize(("phase", "dtype", "which"), CASES)
def bench_norm_select(benchmark, phase, dtype, which):
    benchmark.group = f"norm_select-{phase}-{dtype}"
    benchmark.extra_info["threads"] = torch.get_num_threads()
    calls = candidates(PHASES[phase], DTYPES[dtype])
    with torch.inference_mode():
        benchmark(next(call for name, call in calls.items() if name.startswith(which)))


def main() -> None:
    """One line a case: median ms and the ratio to the installed op."""
    sys.path.insert(0, str(Path(__file__).parent))
    from ratios import ratios

    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), D {D}, K {K}")
    with torch.inference_mode():
        for phase, tokens in PHASES.items():
            for name, dtype in DTYPES.items():
                found = ratios(candidates(tokens, dtype))
                print(f"{phase:12} {name:5}", *(f"{which} {ms:.4f} ms ({ratio:.2f}x)" for which, (ms, ratio) in found.items()), sep="  ")


if __name__ == "__main__":
    main()
