"""The dispatcher namespace `pydisp`: what an op needs besides its arithmetic, in one call."""

from collections.abc import Callable

import torch

LIBRARY = torch.library.Library("pydisp", "FRAGMENT")


def define(
    schema: str, *, reference: Callable, fake: Callable, backward: Callable | None = None, setup_context: Callable | None = None
) -> torch._ops.OpOverload:
    """Define `schema` in the namespace `pydisp` and return the op.

    Args:
        schema: `name(Tensor x, ...) -> ...`, as torch.library writes it.
        reference: plain torch, for every device that has nothing faster; C++ and Triton go before it once they are registered.
        fake: shapes and dtypes of the result, for torch.compile and meta tensors.
        backward, setup_context: as in torch.library.register_autograd.
    """
    name = schema.partition("(")[0]
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, reference, "CompositeExplicitAutograd")
    torch.library.register_fake(f"pydisp::{name}", fake, lib=LIBRARY)
    if backward is not None:
        torch.library.register_autograd(f"pydisp::{name}", backward, setup_context=setup_context, lib=LIBRARY)
    return getattr(torch.ops.pydisp, name).default


def has_kernel(name: str, dispatch_key: str) -> bool:
    """Whether something faster than the reference is registered for `dispatch_key` ("CPU", "CUDA")."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(f"pydisp::{name}", dispatch_key)


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype the ops compute in: float64 for float64, float32 for everything narrower."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_index(op: str, name: str, index: torch.Tensor) -> None:
    """Refuse an index that is no vector of int32; order and range are IndexSet's to check, once, not every call's."""
    if index.dtype != torch.int32 or index.dim() != 1:
        raise ValueError(f"{op}: {name} has dtype {index.dtype} and shape {tuple(index.shape)}, it must be a vector of torch.int32; "
                         "take it from IndexSet.indices.")  # fmt: skip
