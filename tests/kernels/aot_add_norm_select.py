"""The junctions' kernels for the compiler: hidden sizes of real models, half of the dimensions kept."""

# D hidden, K kept and added dimensions

from functools import partial

import torch
from aot import Case, meta
from pydisp.kernels.add_norm_select import add_norm_select, add_norm_select_, add_norm_select_backward
from pydisp.kernels.index_add import index_add, index_add_
from pydisp.kernels.index_select import index_select
from pydisp.kernels.norm_select import norm_select, norm_select_backward

ROWS = 8192
HIDDEN = {"qwen2.5-0.5b": 896, "llama3.2-1b": 2048, "llama2-7b": 4096, "llama3-70b": 8192, "wider": 16384}
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


class Tensors:
    """The arguments of one junction; `unaligned` shifts the activations by one element and makes the widths odd."""

    def __init__(self, hidden: int, dtype: torch.dtype, layer: bool = False, unaligned: bool = False):
        kept = hidden // 2
        if unaligned:
            hidden, kept = hidden - 3, kept - 3
        self.x, self.part = (meta(ROWS, width, dtype=dtype, unaligned=unaligned) for width in (hidden, kept))
        index, inverse = meta(kept, dtype=torch.int32), meta(hidden, dtype=torch.int32)
        self.index = index, inverse, None
        self.norm = meta(hidden, dtype=dtype), meta(hidden, dtype=dtype) if layer else None
        self.layer = layer
        self.options = 1e-6, 0.0, layer

    def norm_select(self):
        return norm_select(self.x, *self.norm, *self.index, *self.options)

    def norm_select_backward(self):
        return norm_select_backward(self.part, self.x, *self.norm, *self.index, *self.options, True, True, self.layer)

    def add_norm_select(self):
        return add_norm_select(self.x, self.part, *self.index, *self.norm, *self.index, *self.options)

    def add_norm_select_(self):
        return add_norm_select_(self.x, self.part, *self.index, *self.norm, *self.index, *self.options)

    def add_norm_select_backward(self):
        needs = True, True, True, self.layer
        return add_norm_select_backward(self.x, self.part, self.x, *self.index, *self.norm, *self.index, *self.options, *needs)

    def index_add(self):
        return index_add(self.x, self.part, *self.index)

    def index_add_(self):
        return index_add_(self.x, self.part, *self.index)

    def index_select(self):
        return index_select(self.x, *self.index)


NORMS = ["norm_select", "norm_select_backward", "add_norm_select", "add_norm_select_backward"]
INDICES = ["index_add_", "index_select"]
SAME_KERNELS = ["add_norm_select_", "index_add"]  # other pointers into the kernels of add_norm_select and index_add_
USUAL, WIDER = "llama2-7b", "wider"


def case(op: str, model: str, dtype: str, hot: bool, **how: bool) -> Case:
    tensors = partial(Tensors, HIDDEN[model], DTYPES[dtype], **how)
    name = "-".join([op, *how, model, dtype])
    gathers = op == "index_select" and model == WIDER  # its tiles load element by element: 128 bit at a time would read what is dropped
    return Case(name, lambda: getattr(tensors(), op)(), hot=hot, wide="unaligned" not in how and not gathers)


def _is_hot(op: str, model: str, dtype: str) -> bool:
    if (model, dtype) == (USUAL, "bf16"):
        return True
    return op.startswith("add_norm_select") and (dtype == "bf16" or (model, dtype) == (USUAL, "f32"))


CASES = [case(op, model, dtype, _is_hot(op, model, dtype)) for op in NORMS for model in HIDDEN for dtype in ("bf16", "f32")]
CASES += [case(op, model, dtype, _is_hot(op, model, dtype)) for op in INDICES for model in (USUAL, WIDER) for dtype in ("bf16", "f32")]
CASES += [case(op, USUAL, "bf16", False) for op in SAME_KERNELS] + [case(op, USUAL, "f16", False) for op in NORMS + INDICES]
CASES += [case(op, model, "bf16", op.startswith("add") and model == USUAL, layer=True) for op in NORMS for model in (USUAL, WIDER)]
CASES += [
    case(op, model, "bf16", op.startswith("add") and model == USUAL, unaligned=True) for op in NORMS + INDICES for model in (USUAL, WIDER)
]
