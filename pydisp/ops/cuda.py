"""Which ops run as Triton kernels on a GPU, and what stands between the dispatcher and them."""

import importlib
import importlib.util
from collections.abc import Callable

import torch

from pydisp.ops.features import check_values
from pydisp.ops.library import LIBRARY, is_set


def uses_triton() -> bool:
    """Whether the Triton kernels serve CUDA tensors: PYDISP_TRITON=1 when pydisp is imported, and triton is installed.

    Not without being asked: tests have run them in the interpreter and through the compiler, on no GPU yet.
    """
    return is_set("PYDISP_TRITON") and importlib.util.find_spec("triton") is not None


def on_cuda(op: str, name: str, plain: Callable) -> None:
    """Register `name` of pydisp.kernels.<op> for CUDA where uses_triton(); what it does not take goes to the plain form."""
    if uses_triton():
        LIBRARY.impl(name, guarded(op, name, plain), "CUDA")


def guarded(op: str, name: str, plain: Callable) -> Callable:
    """`name` of pydisp.kernels.<op> for any arguments of its schema: float64 stays with the plain form, and a bare index (one without its
    inverse) is checked, because kernels trust it and compiled code does not come by the Python edge; a backward gets its forward's."""
    places = []
    if not name.endswith("_backward"):
        arguments_of = getattr(torch.ops.pydisp, name).default._schema.arguments
        places = [(i, argument.name) for i, argument in enumerate(arguments_of) if argument.name.endswith("index")]

    def kernel(x, *rest):
        if x.dtype == torch.float64:
            return plain(x, *rest)
        for i, argument in places:
            if rest[i] is None:  # rest starts behind x, so this is what follows the index: its inverse
                check_values(name, argument, rest[i - 1], x.shape[-1])
        if name.endswith("_") and rest[0].untyped_storage().data_ptr() == x.untyped_storage().data_ptr():
            rest = (rest[0].clone(), *rest[1:])  # an update that lies in the residual would be read after it has changed
        return getattr(importlib.import_module(f"pydisp.kernels.{op}"), name)(x, *rest)  # triton is slow to import: not before use

    return kernel
