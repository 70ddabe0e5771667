"""IndexSet: the kept dimensions of a space. Only this module converts a mask into indices and back.

>>> IndexSet.from_mask(torch.tensor([True, False, True])).indices
tensor([0, 2], dtype=torch.int32)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pydisp.arguments import check_fields, instance_of, takes, whole


def check_indices(indices: Tensor, size: int, name: str = "IndexSet") -> None:
    """Refuse indices that are not (K,) int32, non-empty, sorted, unique and inside [0, size).

    Raises: TypeError for another dtype or shape, ValueError for the rest; the message starts with `name`.
    """
    if indices.ndim != 1 or indices.dtype != torch.int32:
        raise TypeError(f"{name}: indices have shape {tuple(indices.shape)} and {indices.dtype}; needed are one dimension and torch.int32.")
    if len(indices) == 0:
        raise ValueError(f"{name}: the set is empty; keep at least one dimension, or remove the whole block (None).")
    steps = indices.long().diff()
    if bool((steps < 0).any()):
        at = int((steps < 0).nonzero()[0, 0])
        raise ValueError(f"{name}: indices are not sorted ({int(indices[at])} stands before {int(indices[at + 1])}); sort them ascending.")
    if bool((steps == 0).any()):
        at = int((steps == 0).nonzero()[0, 0])
        raise ValueError(f"{name}: index {int(indices[at])} is repeated; each dimension may be kept once.")
    for index in (int(indices[0]), int(indices[-1])):
        if not 0 <= index < size:
            raise ValueError(f"{name}: index {index} is outside a space of size {size}; indices run from 0 to {size - 1}.")


@dataclass(frozen=True, eq=False)
class IndexSet:
    """The kept dimensions of a space, sorted and unique.

    Attributes:
        indices: (K,) int32 on the CPU, 1 <= K <= size.
        size: dimensions of the whole space.
    Raises: TypeError or ValueError (see `check_indices`).
    """

    indices: Tensor
    size: int

    def __post_init__(self):
        check_fields(self, "IndexSet: ", indices=instance_of(Tensor, "give an int32 tensor of one dimension"), size=whole(1, 2**31 - 1))
        if self.indices.is_meta:
            raise TypeError("IndexSet: indices is a tensor without values; give one that is not on the meta device.")
        object.__setattr__(self, "indices", self.indices.detach().cpu().clone())
        check_indices(self.indices, self.size)

    @classmethod
    @takes(mask=instance_of(Tensor, "give a tensor of one dimension, true where kept"))
    def from_mask(cls, mask: Tensor) -> "IndexSet":
        """The set of the true entries of a (size,) mask."""
        if mask.ndim != 1:
            raise ValueError(f"mask is of shape {tuple(mask.shape)}; it must have one dimension, the size of the space.")
        return cls(mask.bool().nonzero()[:, 0].to(torch.int32), mask.numel())

    @classmethod
    @takes(size=whole(1, 2**31 - 1))
    def full(cls, size: int) -> "IndexSet":
        """Every dimension of a space."""
        return cls(torch.arange(size, dtype=torch.int32), size)

    def mask(self) -> Tensor:
        """(size,) bool, true where kept."""
        return torch.zeros(self.size, dtype=torch.bool).index_fill_(0, self.indices.long(), True)

    @property
    def is_full(self) -> bool:
        return len(self) == self.size

    def __len__(self) -> int:
        return self.indices.numel()

    def __eq__(self, other) -> bool:
        return isinstance(other, IndexSet) and self.size == other.size and torch.equal(self.indices, other.indices)

    def __hash__(self) -> int:
        return hash((self.size, self.indices.numpy().tobytes()))
