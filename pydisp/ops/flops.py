"""FLOPs of the linears' products, for torch.utils.flop_counter.FlopCounterMode: a multiplication and an addition are two.

That module imports triton, so pydisp never imports it: the formulas are registered once both the module and the ops are loaded.
"""

import sys

import torch

FLOP_COUNTER = "torch.utils.flop_counter"


def _forward(x_shape, weight_shape, bias_shape, out_shape=None, **_) -> int:
    return 2 * torch.Size(x_shape).numel() * weight_shape[0]


def _backward(grad_shape, x_shape, weight_shape, needs_x, needs_weight, needs_bias, out_shape=None, **_) -> int:
    return (needs_x + needs_weight) * 2 * torch.Size(x_shape).numel() * weight_shape[0]


def register_flops() -> None:
    """Tell torch's FLOP counter, if it is loaded, what upcast_linear and its backward multiply; a second call does nothing."""
    counter = sys.modules.get(FLOP_COUNTER)
    if counter is None or not hasattr(counter, "register_flop_formula"):  # not loaded yet, or just being
        return
    for op, formula in ((torch.ops.pydisp.upcast_linear, _forward), (torch.ops.pydisp.upcast_linear_backward, _backward)):
        if op not in counter.flop_registry:
            counter.register_flop_formula(op)(formula)
