"""Features: some dimensions of the residual stream, in the three forms that the ops read.

kept = features(torch.tensor([0, 2, 9], dtype=torch.int32), 12)
kept.inverse    # [0, -1, 1, -1, -1, -1, -1, -1, -1, 2, -1, -1]
kept.mask       # [0b00000101, 0b00000010]
"""

# D dimensions in all, K kept ones

from typing import NamedTuple

import torch
from torch import Tensor, strided

from pydisp.ops.library import check_number, check_tensors, has_values, may_read_values


class Features(NamedTuple):
    """K of D dimensions in three forms, made by `features`.

    Ops take Features or a bare index. With a bare index, every call checks its values and makes the forms that the backend needs. If you
    put the forms together by hand, the ops on a CPU check that the mask agrees with the index; they do not read the inverse.
    """

    index: Tensor
    """(K,) int32, sorted, unique, in [0, D)."""
    inverse: Tensor
    """(D,) int32: the dimension's place in the index, -1 where it is not kept."""
    mask: Tensor
    """(ceil(D / 8),) uint8: bit i of byte b says whether dimension 8b + i is kept."""


def features(index: Tensor, size: int) -> Features:
    """The three forms of an index set over `size` dimensions, on index's device.

    Args:
        index: (K,) int32, sorted, unique, in [0, size); K may be 0.
        size: D.
    Raises: TypeError for another type, ValueError for another dtype or shape, a size outside [0, 2**31], and for values that are unsorted,
        repeated or out of range (on a GPU too, where this check waits for the device).
    """
    check_number("features", "size", size, is_whole=True)
    if not 0 <= size <= 2**31:
        raise ValueError(f"features: size is {size}, it must be a number of dimensions, from 0 to 2**31, which int32 can count.")
    check_index("features", "index", index)
    check_values("features", "index", index, size)
    places = index.long()
    inverse = torch.full((size,), -1, dtype=torch.int32, device=index.device)
    inverse = inverse.index_copy(0, places, torch.arange(index.shape[0], dtype=torch.int32, device=index.device))
    bits = torch.zeros(-(-size // 8) * 8, dtype=torch.int32, device=index.device).index_fill(0, places, 1)
    mask = (bits.view(-1, 8) << torch.arange(8, dtype=torch.int32, device=index.device)).sum(1).to(torch.uint8)
    return Features(index, inverse, mask)


def check_values(op: str, name: str, index: Tensor, size: int) -> None:
    """Refuse values that are unsorted, repeated or outside [0, size), if the tensor has values: with them a GPU kernel would read and write
    outside its rows."""
    if index.shape[0] == 0 or not has_values(index):
        return
    if index.shape[0] > 1 and bool((index[1:] <= index[:-1]).any()):
        raise ValueError(f"{op}: {name} is not sorted or repeats a value; take it from IndexSet.indices.")
    lowest, highest = int(index[0]), int(index[-1])
    if lowest < 0 or highest >= size:
        raise ValueError(f"{op}: {name} runs from {lowest} to {highest}; indices of {size} dimensions run from 0 to {size - 1}.")


def check_index(op: str, name: str, index: Tensor) -> None:
    """Refuse an index that is no vector of int32. Order and range are checked elsewhere, where the values can be read."""
    check_tensors(op, **{name: index})
    if index.dtype != torch.int32 or index.dim() != 1:
        raise ValueError(f"{op}: {name} has dtype {index.dtype} and shape {tuple(index.shape)}, it must be a vector of torch.int32; "
                         "take it from IndexSet.indices.")  # fmt: skip


def forms(op: str, name: str, index: Tensor | Features, of: str, like: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Index, inverse and mask in the order of an op's schema; a bare index gives None for the last two.

    `like` (..., D) is the tensor that the index refers to, and `of` its name in messages.

    Raises: TypeError if one is no tensor, ValueError for another dtype, shape or device (of any of the forms), for Features of another
        D, and for wrong values of a bare index as in `features`. The C++ ops notice while they run if the mask of Features does not agree
        with the index, and they do not read the inverse. On a GPU all forms are checked if PYDISP_CHECK=1.
    """
    inverse = mask = None
    is_whole = isinstance(index, Features)
    try:
        if like.layout is not strided:
            check_tensors(op, **{of: like})
        size, device = like.shape[-1], like.device
        if is_whole:
            inverse, mask = index.inverse, index.mask
            index = index.index
            if index.dim() != 1:
                check_index(op, f"{name}.index", index)
            if inverse.shape != (size,):
                _refuse_inverse(op, name, inverse, of, size)
            if inverse.device != device or mask.device != device:
                _refuse_devices(op, of, like, **{name: index, f"{name}.inverse": inverse, f"{name}.mask": mask})
            if not like.is_cpu:
                _check_forms(op, name, index, inverse, mask, size)
        else:
            check_index(op, name, index)
            check_values(op, name, index, size)
        if index.device != device:
            _refuse_devices(op, of, like, **{name: index})
    except (AttributeError, IndexError, RuntimeError):  # testing for these cases first would slow every call; a nested tensor has no shape
        check_tensors(op, **{of: like})
        if like.dim() == 0:
            raise ValueError(f"{op}: {of} has no dimension, it must be (..., D).") from None
        if is_whole:
            check_tensors(op, **{f"{name}.index": index, f"{name}.inverse": inverse, f"{name}.mask": mask})
        raise
    return index, inverse, mask


def _refuse_inverse(op: str, name: str, inverse: Tensor, of: str, size: int) -> None:
    check_tensors(op, **{f"{name}.inverse": inverse})
    if inverse.dim() != 1:
        raise ValueError(f"{op}: {name}.inverse has shape {tuple(inverse.shape)}, it must be ({size},); take it from pydisp.ops.features.")
    raise ValueError(f"{op}: {name} is of {inverse.shape[0]} dimensions, {of} has {size}; make Features of {size}.")


def _check_forms(op: str, name: str, index: Tensor, inverse: Tensor, mask: Tensor, size: int) -> None:
    check_index(op, f"{name}.index", index)
    for part, form, dtype, length in (("inverse", inverse, torch.int32, size), ("mask", mask, torch.uint8, -(-size // 8))):
        if form.dtype != dtype or form.shape != (length,):
            raise ValueError(f"{op}: {name}.{part} has dtype {form.dtype} and shape {tuple(form.shape)}, it must have {dtype} and "
                             f"({length},); take it from pydisp.ops.features.")  # fmt: skip
    if may_read_values(index):
        made = features(index, size)
        if not (torch.equal(made.inverse, inverse) and torch.equal(made.mask, mask)):
            raise ValueError(
                f"{op}: {name}.inverse or {name}.mask keeps other dimensions than {name}.index; make all by pydisp.ops.features."
            )


def _refuse_devices(op: str, of: str, like: Tensor, **forms: Tensor) -> None:
    check_tensors(op, **{of: like}, **forms)  # an array of NumPy has a device too, which is no torch.device
    for name, form in forms.items():
        if form.device != like.device:
            raise ValueError(f"{op}: {name} is on {form.device}, {of} on {like.device}; move one of them.")
