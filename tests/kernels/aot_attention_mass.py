"""The attention mass's kernels for the compiler: prefill and decode of real models' heads."""

import torch
from aot import Case, meta
from pydisp.kernels.attention_mass import attention_key_mass, attention_mass

F32 = torch.float32


def masses(heads, kv_heads, queries, keys, head_size, num_groups=16, dtype=torch.bfloat16, *, window=0, softcap=0.0, sinks=False,
           masks=False, per_query=False):  # fmt: skip
    """What one forward launches."""
    q, k = meta(1, heads, queries, head_size, dtype=dtype), meta(1, kv_heads, keys, head_size, dtype=dtype)
    groups = meta(1, keys, dtype=torch.int64)
    sink = meta(heads, dtype=F32) if sinks else None
    key_mask, query_mask = (meta(1, keys, dtype=torch.bool), meta(1, queries, dtype=torch.bool)) if masks else (None, None)
    return lambda: attention_mass(q, k, groups, num_groups, True, window, head_size**-0.5, softcap, sink, key_mask, query_mask, per_query)


def key_masses(heads, kv_heads, length, head_size, dtype=torch.bfloat16, *, window=0):
    """What one sum over queries launches."""
    q, k = meta(1, heads, length, head_size, dtype=dtype), meta(1, kv_heads, length, head_size, dtype=dtype)
    lse = meta(1, heads, length, dtype=F32)
    return lambda: attention_key_mass(q, k, lse, True, window, head_size**-0.5, 0.0, None, None)


CASES = [
    Case("mass-llama3.2-1b-prefill8192-bf16", masses(32, 8, 8192, 8192, 64), tensor_cores=True),
    Case("mass-llama3-8b-prefill8192-bf16", masses(32, 8, 8192, 8192, 128, per_query=True), tensor_cores=True),
    Case("mass64-llama3-8b-prefill8192-bf16", masses(32, 8, 8192, 8192, 128, 64), tensor_cores=True, hot=False),
    Case(
        "mass-mistral-7b-prefill8192-bf16-window-masks",
        masses(32, 8, 8192, 8192, 128, window=4096, masks=True),
        tensor_cores=True,
    ),
    Case(
        "mass-gpt-oss-20b-prefill8192-bf16-window-sinks",
        masses(64, 8, 8192, 8192, 64, window=128, sinks=True),
        tensor_cores=True,
        hot=False,
    ),
    Case("mass-gemma2-9b-prefill8192-bf16-softcap", masses(16, 8, 8192, 8192, 256, softcap=50.0), tensor_cores=True, hot=False),
    Case("mass-llama3.2-1b-prefill8192-f32", masses(32, 8, 8192, 8192, 64, dtype=F32), hot=False),
    Case("mass-llama3-8b-decode8192-bf16", masses(32, 8, 1, 8192, 128, per_query=True), tensor_cores=True),
    Case("mass-qwen2.5-0.5b-decode8192-f16", masses(14, 2, 1, 8192, 64, dtype=torch.float16), tensor_cores=True, hot=False),
    Case("mass-odd-prefill-bf16", masses(6, 3, 1001, 1003, 77, 5), tensor_cores=True, wide=False, hot=False),
    # rows at odd places, which the wrapper must not hand to the kernel (unset_reads in aot.py)
    Case("mass-heads-of-24-five-groups-bf16", masses(8, 4, 200, 300, 24, 5), tensor_cores=True, hot=False),
    Case("mass-heads-of-40-five-groups-f16", masses(8, 4, 200, 300, 40, 5, dtype=torch.float16), tensor_cores=True, hot=False),
    Case("mass-one-of-everything-bf16", masses(1, 1, 1, 1, 64, 1, sinks=True, masks=True, per_query=True), wide=False, hot=False),
    Case("mass-llama3-8b-two-queries-bf16", masses(32, 8, 2, 4096, 96, 5), hot=False),
    Case("key_mass-llama3-8b-prefill8192-bf16", key_masses(32, 8, 8192, 128), tensor_cores=True),
    Case("key_mass-mistral-7b-prefill8192-bf16-window", key_masses(32, 8, 8192, 128, window=4096), tensor_cores=True, hot=False),
    Case("key_mass-llama3.2-1b-prefill8192-f32", key_masses(32, 8, 8192, 64, F32), hot=False),
]
