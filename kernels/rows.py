"""Shared by the kernels of the junctions: tensors as rows, the number of programs, and how wide a row one program can hold."""

# D hidden, K kept dimensions

import torch
import triton
from torch import Tensor

WIDEST_ROW = 8192  # a wider row does not fit into registers and shared memory (64 KiB on AMD); kernels read it in tiles, twice
TILE_ROWS = 4  # rows of a tile: an index is read once for all of them
TILE_WIDTH = 1024
TILE_WARPS = 8


def as_rows(tensor: Tensor) -> Tensor:
    """(..., D) as (M, D) with last stride 1; copied only if the strides require it."""
    rows = tensor.reshape(tensor.shape[:-1].numel(), tensor.shape[-1])
    return rows if rows.stride(1) == 1 else rows.contiguous()


def as_rows_in_place(tensor: Tensor) -> Tensor | None:
    """(..., D) as (M, D) over the same memory with last stride 1, or None if the strides do not allow it."""
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
    """Warps for a row that is held in registers, with `elements` values in each thread."""
    return min(16, max(1, block_width // (32 * elements)))


def programs(rows: int, warps: int, device: torch.device) -> int:
    """The number of programs that share the rows: about 2048 threads for each multiprocessor; each program goes on to its next row.

    On an H100 80GB HBM3 add_norm_select of 32,768 x 4,096 in bfloat16, half kept, took 0.3265 ms so and 0.3669 ms with 1024 threads (a copy
    of as many bytes 0.2692 ms); 8,192 x 4,096 took 0.1157 and 0.1232 ms. Other ops were not timed with both, and no results were compared.
    This number decides the rows of a program, and so the order in which gradients of weights are added. Results have the same bits on the
    same device, but not on another model of GPU. Under the interpreter there are three programs, so that each has several rows there too.
    """
    if device.type != "cuda":
        return min(rows, 3)
    return min(rows, torch.cuda.get_device_properties(device).multi_processor_count * max(1, 64 // warps))


def inverse_of(index: Tensor, inverse: Tensor | None, width: int) -> Tensor:
    """(D,) int32: the position of each dimension in `index`, or -1; computed if the caller has none."""
    if inverse is not None:
        return inverse.contiguous()
    inverse = torch.full((width,), -1, dtype=torch.int32, device=index.device)
    inverse[index.long()] = torch.arange(index.shape[0], dtype=torch.int32, device=index.device)
    return inverse
