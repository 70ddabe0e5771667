"""The loss's kernels for the compiler: real models' vocabularies and widths."""

import torch
from aot import Case, meta

from pydisp.kernels import token_statistics as module

TOKENS = 8192
F32 = torch.float32


def forward(words, width, dtype=torch.bfloat16, *, form=module._by_tiles, appended=0, bias=False, softcap=None, mean=False, entropy=False,
            rank=False, argmax=False, tokens=TOKENS):  # fmt: skip
    """What one forward launches."""
    total = words + appended
    rows = meta(appended, width, dtype=dtype) if appended else None
    offsets = meta(total, dtype=dtype) if bias else None
    targets = meta(tokens, dtype=torch.int64)
    hidden, weight = meta(tokens, width, dtype=dtype), meta(words, width, dtype=dtype)
    return lambda: form(hidden, weight, rows, offsets, targets, softcap, 1.0, words, -100, mean, entropy, rank, argmax)


def backward(words, width, dtype=torch.bfloat16, *, softcap=None, bias=False, tokens=TOKENS):
    """What one backward launches."""
    number = [meta(tokens, dtype=F32) for _ in range(4)]
    offsets = meta(words, dtype=dtype) if bias else None
    hidden, weight = meta(tokens, width, dtype=dtype), meta(words, width, dtype=dtype)
    targets = meta(tokens, dtype=torch.int64)
    return lambda: module.token_statistics_backward(
        *number, hidden, weight, None, offsets, targets, softcap, 1.0, words, -100, True, True, False, bias
    )


ALL = {"mean": True, "entropy": True, "rank": True, "argmax": True}

CASES = [
    Case("nll-llama3-128k-bf16", forward(128256, 4096), tensor_cores=True),
    Case("nll-llama2-32k-bf16", forward(32000, 4096), tensor_cores=True, hot=False),
    Case("nll-qwen2.5-152k-f16", forward(151936, 896, torch.float16), tensor_cores=True, hot=False),
    Case(
        "nll+entropy+rank+argmax-llama3-128k-bf16",
        forward(128256, 4096, entropy=True, rank=True, argmax=True),
        tensor_cores=True,
    ),
    Case("nll+mean-llama3-128k-bf16", forward(128256, 4096, mean=True), tensor_cores=True),
    Case("nll-gemma2-256k-bf16-softcap", forward(256000, 3584, softcap=30.0), tensor_cores=True, hot=False),
    Case("nll-llama3-128k-bf16-appended-bias", forward(128256, 4096, appended=64, bias=True), tensor_cores=True, hot=False),
    Case("nll-odd-width-odd-words-bf16", forward(32001, 1001), tensor_cores=True, wide=False, hot=False),
    Case("nll-one-token-one-word-bf16", forward(1, 16, appended=1, bias=True, tokens=1, **ALL), wide=False, hot=False),
    Case("nll-workspace-one-token-one-word-f32", forward(1, 16, F32, form=module._by_workspace, tokens=1, **ALL), wide=False, hot=False),
    Case("backward-one-token-one-word-bf16", backward(1, 16, bias=True, tokens=1), wide=False, hot=False),
    Case("nll-llama3-128k-f32", forward(128256, 4096, F32), hot=False),
    Case("nll-workspace-llama3-128k-bf16", forward(128256, 8192, form=module._by_workspace)),
    Case(
        "nll+entropy+rank+argmax-workspace-llama3-128k-bf16",
        forward(128256, 8192, form=module._by_workspace, mean=True, entropy=True, rank=True, argmax=True, bias=True, softcap=30.0),
        hot=False,
    ),
    Case("backward-llama3-128k-bf16", backward(128256, 4096)),
    Case("backward-gemma2-256k-f16-softcap-bias", backward(256000, 3584, torch.float16, softcap=30.0, bias=True), hot=False),
    Case("backward-llama2-32k-f32", backward(32000, 4096, F32), hot=False),
]
