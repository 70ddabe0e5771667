"""What the junctions' kernels share: tensors as rows, the programs that walk over them, and how wide a row one program can hold."""

# D hidden, K kept dimensions

import torch
import triton
from torch import Tensor

WIDEST_ROW = 8192  # beyond, a row leaves registers and shared memory (64 KiB on AMD), and kernels read it in tiles, twice
TILE_ROWS = 4  # rows of a tile: an index is read once for all of them
TILE_WIDTH = 1024
TILE_WARPS = 8


def as_rows(tensor: Tensor) -> Tensor:
    """(..., D) as (M, D) whose last stride is 1; a copy only where strides need it."""
    rows = tensor.reshape(tensor.shape[:-1].numel(), tensor.shape[-1])
    return rows if rows.stride(1) == 1 else rows.contiguous()


def as_rows_in_place(tensor: Tensor) -> Tensor | None:
    """(..., D) as (M, D) over the same memory with last stride 1, or None where strides do not allow it."""
    if tensor.stride(-1) != 1 and tensor.shape[-1] != 1:
        return None
    try:
        return tensor.view(tensor.shape[:-1].numel(), tensor.shape[-1])
    except RuntimeError:
        return None


def block(width: int) -> int:
    """The power of two that holds `width` lanes, at least 16."""
    return max(16, triton.next_power_of_2(width))


def row_warps(block_width: int, elements: int = 16) -> int:
    """Warps for a row held in registers: `elements` of it in each thread."""
    return min(16, max(1, block_width // (32 * elements)))


def programs(rows: int, warps: int, device: torch.device) -> int:
    """How many programs share the rows: about 1024 threads for each multiprocessor, each walking on to its next row.

    The rows of one program depend on this number, and with them the order in which gradients of weights are added: results are the same
    bits on the same device, not from one model of GPU to another. Off a GPU, under the interpreter, three: so that they walk as well.
    """
    if device.type != "cuda":
        return min(rows, 3)
    return min(rows, torch.cuda.get_device_properties(device).multi_processor_count * max(1, 32 // warps))


def inverse_of(index: Tensor, inverse: Tensor | None, width: int) -> Tensor:
    """(D,) int32: the position of each dimension in `index`, or -1; derived where the caller has none."""
    if inverse is not None:
        return inverse.contiguous()
    inverse = torch.full((width,), -1, dtype=torch.int32, device=index.device)
    inverse[index.long()] = torch.arange(index.shape[0], dtype=torch.int32, device=index.device)
    return inverse
