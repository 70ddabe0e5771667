"""Coordinates: hidden states in a form in which rows learn fast, and the rows that mean the same in the model's own form.

    coordinates = Coordinates.of(hidden, "whitened")
    coordinates.hidden(hidden) @ rows_in_them.T == hidden @ coordinates.rows(rows_in_them).T

A few dimensions of hidden states are hundreds of times larger than the rest (LLM.int8(), https://arxiv.org/abs/2208.07339, section 4), so that one
learning rate fits none of them. The change of variables is linear: there is no bias, so nothing is subtracted, and the mean is a direction like others.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

KINDS = ("scaled", "whitened")
_SHRINKAGE = 0.1  # of the second moments towards their mean: with fewer states than dimensions they cannot be inverted


@dataclass(frozen=True, eq=False)
class Coordinates:
    """`matrix`: (D, D), or (D,) for a diagonal one: hidden states are multiplied by it from the right."""

    matrix: Tensor

    @classmethod
    def of(cls, hidden: Tensor, kind: str) -> "Coordinates":
        """From (N, D) float32 states.

        Args:
            kind: "scaled": each dimension divided by its root mean square; "whitened": times the inverse root of the second moments. Both moments are
                shrunk towards their mean.
        Raises: ValueError for another kind.
        """
        if kind not in KINDS:
            raise ValueError(f"the coordinates are {kind!r}; known: {', '.join(KINDS)}.")
        exact = hidden.double()
        squares = exact.square().mean(0)
        mean = squares.mean().clamp_min(1e-20)  # states that are all 0
        if kind == "scaled":
            return cls(((1 - _SHRINKAGE) * squares + _SHRINKAGE * mean).rsqrt().float())
        moments = (1 - _SHRINKAGE) * (exact.T @ exact) / len(hidden)
        moments.diagonal().add_(_SHRINKAGE * mean)
        values, vectors = torch.linalg.eigh(moments)
        return cls(((vectors * values.rsqrt()) @ vectors.T).float())

    def hidden(self, hidden: Tensor) -> Tensor:
        """(N, D) states in these coordinates."""
        return hidden * self.matrix if self.matrix.dim() == 1 else hidden @ self.matrix

    def rows(self, rows: Tensor) -> Tensor:
        """(T, D) rows for the model's own states; the matrix is symmetric."""
        return self.hidden(rows)
