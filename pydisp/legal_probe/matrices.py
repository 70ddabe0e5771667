"""Matrices of a value for each head, from CSV files, and how two of them differ: for measurements made elsewhere.

layer,0,1,2                                   a header, or none
0,0.0911,0.1024,0.0876                        a column of labels, or none; a row is a layer, a column a head

compare_matrices(read_matrix("saul.csv"), read_matrix("mistral.csv")).difference.mean
"""

# L layers, H heads

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pydisp.given_file import decoded, read_bytes
from pydisp.given_value import csv_rows, short
from pydisp.legal_probe.moments import Moments

_CORNERS = ("", "layer")  # the first cell of a header over a column of labels
_A_FILE = "give a CSV file with a row for each layer and a column for each head."
_MOST_BYTES = 1 << 24


def read_matrix(path: str | Path) -> np.ndarray:
    """(L, H) float64 from a CSV file in UTF-8: a row is a layer, a column a head. Cells are parted by tabs, semicolons or commas.

    The first row is a header if none of its cells is a number, if its first cell is empty or "layer", or if it reads 0, 1, 2, … The first column holds labels if the
    header's first cell is empty or "layer", or if none of its cells is a number.

    Raises: FileNotFoundError; ValueError, naming the line, for a file without a number, rows of different lengths, and a cell that is no finite
        number.
    """
    path = Path(path)
    rows = _rows(decoded(read_bytes(path, _A_FILE, most_bytes=_MOST_BYTES), path.name), path.name)
    first = rows[0][1]
    if {"layer", "head"} <= {cell.lower() for cell in first}:
        raise ValueError(f"{path.name} lists a head a row; {_A_FILE}")
    has_corner = len(first) > 1 and first[0].lower() in _CORNERS
    is_numbered = len(first) > 1 and first == [str(number) for number in range(len(first))]  # pandas names columns so
    has_header = has_corner or is_numbered or all(_is_word(cell) for cell in first)
    below = rows[has_header:]
    if not below:
        raise ValueError(f"{path.name} has a header and no row; {_A_FILE}")
    for line, cells in rows:
        if len(cells) != len(first):
            raise ValueError(
                f"{path.name}, line {line}: there are {len(cells)} cells, line {rows[0][0]} has {len(first)}; give all rows the same number."
            )
    has_labels = len(first) > 1 and (has_corner or all(_is_word(cells[0]) for _, cells in below))
    return np.array([[_value(cells[n], n, line, path.name) for n in range(has_labels, len(cells))] for line, cells in below])


def _rows(text: str, name: str) -> list[tuple[int, list[str]]]:
    """The rows that are not blank, each with its line; one or more."""
    start = next((line for line in text.splitlines() if line.strip()), "")
    mark = next((mark for mark in "\t;" if mark in start), ",")
    rows = [(line, [cell.strip() for cell in cells]) for line, cells in csv_rows(text, name, _A_FILE, delimiter=mark)]
    if not rows:
        raise ValueError(f"{name} is empty; {_A_FILE}")
    return rows


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)  # Python would read 1_0 as 10
    except ValueError:
        return None


def _is_word(cell: str) -> bool:
    """Whether a cell is no number, not even one with a decimal comma."""
    return _number(cell.replace(",", ".")) is None


def _value(cell: str, column: int, line: int, name: str) -> float:
    value = _number(cell)
    if value is None:
        hint = " (labels of layers need a header that begins with layer)" if column == 0 and cell else ""
        hint = hint if _is_word(cell) else " (write a decimal point)"
        found = f"holds {short(cell)}" if cell else "is empty"
        raise ValueError(f"{name}, line {line}: cell {column + 1} {found}; it must be a number{hint}.")
    if not np.isfinite(value):
        raise ValueError(f"{name}, line {line}: cell {column + 1} is {cell[:60]}; it must be a finite number.")
    return value


@dataclass(frozen=True)
class MatrixStats:
    """How the values of matrix A differ from those of matrix B.

    Args:
        mean_a, mean_b: of all values of each.
        difference: of A - B, over all heads of all layers.
        layer_means, layer_medians: L values: of A - B, over the heads of a layer.
    """

    mean_a: float
    mean_b: float
    difference: Moments
    layer_means: tuple[float, ...]
    layer_medians: tuple[float, ...]

    def as_dict(self) -> dict:
        """For JSON: lists and plain numbers."""
        return asdict(self) | {"layer_means": list(self.layer_means), "layer_medians": list(self.layer_medians)}


def compare_matrices(a: np.ndarray, b: np.ndarray) -> MatrixStats:
    """A minus B.

    Args:
        a, b: (L, H), a row for each layer, as `read_matrix` returns them.
    Raises: ValueError for different shapes, for other than two dimensions, for an empty matrix, and for a value that is not finite.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(
            f"the matrices have the shapes {_shape(a)} and {_shape(b)}; both must have the same layers (rows) and heads (columns), so give two of models "
            "of one shape."
        )
    difference = Moments.of(a - b)
    means, medians = (a - b).mean(axis=1), np.median(a - b, axis=1)
    return MatrixStats(float(a.mean()), float(b.mean()), difference, tuple(means.tolist()), tuple(medians.tolist()))


def _shape(matrix: np.ndarray) -> str:
    return " x ".join(map(str, matrix.shape)) or "()"
