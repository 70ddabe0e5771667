"""Precision: in which dtype a model in memory is worked on, where a processor multiplies bfloat16 faster than float32, and the region in which models are trained with such products."""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from pydisp.memory import free_bytes
from pydisp.placement import is_offloaded
from pydisp.progress import silence


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cpu":
        from pydisp.ops import native

        return native.instruction_set() == "avx512bf16"
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def products(device: torch.device, *, bfloat16: bool | None) -> AbstractContextManager:
    """A region for a forward whose linears multiply in bfloat16 (autocast), or one that changes nothing; weights stay as they are."""
    return _bfloat16_products(device) if bfloat16 else nullcontext()


@contextmanager
def _bfloat16_products(device: torch.device) -> Iterator[None]:
    with torch.autocast(device.type, torch.bfloat16):
        yield
    torch.clear_autocast_cache()  # in another autocast region, as a caller's, torch keeps what it cast of weights that a step then changes


def working_model(model: nn.Module, say: Callable[[str], None] = silence) -> nn.Module:
    """The model to work with in memory: itself, or, for half precision on a CPU, a copy in float32; `say` is told of it.

    Raises: ValueError if there is no memory for the copy, or if a part of the model is on disk.
    """
    if model.device.type != "cpu" or model.dtype not in (torch.bfloat16, torch.float16):
        return model
    if is_offloaded(model):
        raise ValueError(
            "a part of this model is on disk in half precision, which a CPU searches in float32; load it with dtype=torch.float32."
        )
    needed, free = 4 * sum(p.numel() for p in model.parameters()), free_bytes(model.device)
    if free is not None and needed > free:
        raise ValueError(
            f"a CPU works in float32, and a copy of this {str(model.dtype).removeprefix('torch.')} model needs {needed / 2**30:.1f} GiB, of which "
            f"{free / 2**30:.1f} are free; load it with dtype=torch.float32, which needs no copy, or use a smaller model."
        )
    say(f"a CPU works in float32: a copy of the model takes {needed / 2**20:,.0f} MiB beside it")
    return copy.deepcopy(model).float()
