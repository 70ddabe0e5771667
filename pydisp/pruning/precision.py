"""Precision: where a processor multiplies bfloat16 faster than float32, and the region in which models are trained with such products."""

from contextlib import AbstractContextManager, nullcontext

import torch


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cpu":
        from pydisp.ops import native

        return native.instruction_set() == "avx512bf16"
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def products(device: torch.device, *, bfloat16: bool | None) -> AbstractContextManager:
    """A region for a forward whose linears multiply in bfloat16 (autocast), or one that changes nothing; weights stay as they are."""
    return torch.autocast(device.type, torch.bfloat16) if bfloat16 else nullcontext()
