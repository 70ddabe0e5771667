"""The ops of pydisp, each defined once for torch's dispatcher: schema, plain reference, fake and backward here, C++ and Triton elsewhere.

`pydisp.ops.norm_select` is the function. The module of that name also has the reference: `from pydisp.ops.norm_select import reference`.
"""

from collections.abc import Callable

import torch

from pydisp.ops import native
from pydisp.ops.add_norm_select import add_norm_select, add_norm_select_
from pydisp.ops.attention_mass import attention_key_mass, attention_mass
from pydisp.ops.cuda import triton_mode
from pydisp.ops.features import Features, features
from pydisp.ops.flops import register_flops
from pydisp.ops.index_add import index_add, index_add_
from pydisp.ops.index_select import index_select
from pydisp.ops.library import REFERENCES, has_kernel
from pydisp.ops.linear_cross_entropy import linear_cross_entropy
from pydisp.ops.norm_select import norm_select
from pydisp.ops.reinmax import reinmax
from pydisp.ops.upcast_linear import upcast_linear

__all__ = [
    "Features",
    "add_norm_select",
    "add_norm_select_",
    "attention_key_mass",
    "attention_mass",
    "decompositions",
    "features",
    "implementations",
    "index_add",
    "index_add_",
    "index_select",
    "linear_cross_entropy",
    "native",
    "norm_select",
    "reinmax",
    "upcast_linear",
]
OPS = (
    "norm_select", "add_norm_select", "index_add", "index_select", "reinmax", "token_statistics", "attention_mass", "attention_key_mass",
    "upcast_linear",
)  # fmt: skip
MODEL_OPS = ("index_select", "index_add", "norm_select", "add_norm_select", "upcast_linear")
"""Those that the forward of a pruned model calls; the others belong to losses, probes and the search."""

native.load()
register_flops()


def implementations() -> dict[str, dict[str, str]]:
    """For each op and kind of device ("cpu", "cuda") the implementation that runs: "c++", "triton ..." or "torch" (the reference)."""
    triton = "triton" if triton_mode() == "1" else "triton where it has checked itself"
    return {op: {"cpu": "c++" if has_kernel(op, "CPU") else "torch", "cuda": triton if has_kernel(op, "CUDA") else "torch"} for op in OPS}


def decompositions() -> dict[torch._ops.OpOverload, Callable]:
    """MODEL_OPS in plain torch, a table for `ExportedProgram.run_decompositions`: afterwards the program runs where pydisp is not.

    The other ops and the forms in place have none, because their references write into tensors, which the graph of a program may not.
    """
    return {op: REFERENCES[op] for op in (getattr(torch.ops.pydisp, name).default for name in MODEL_OPS)}
