"""UpcastLinear: the nn.Linear of the pruned classes, which computes 16-bit types, and few rows of float32, on a CPU by the faster of two ways."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pydisp.ops.library import is_known_to_hold
from pydisp.ops.upcast_linear import FASTER, FEW_ROWS, unchecked

_PLAIN = (Tensor, nn.Parameter)


class UpcastLinear(nn.Linear):
    """An nn.Linear in everything but its speed; see `pydisp.ops.upcast_linear`.

    Plain tensors in a dtype of FASTER on a CPU are multiplied by upcast_linear, float32 ones where they have few rows, under no_grad or
    inference_mode (there the last bits are not those of the same call outside). Everything else goes to torch's linear: other devices and dtypes, torch.autocast in another dtype, and inputs and weights that
    are tensors of their own kind (nested, quantized, distributed).
    """

    faster: frozenset[torch.dtype] = FASTER

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        dtype = x.dtype
        is_served = dtype in self.faster and weight.dtype is dtype and x.is_cpu and weight.is_cpu
        # nested: a strided one is a Tensor by type
        is_served = is_served and type(x) in _PLAIN and type(weight) in _PLAIN and not x.is_nested
        if dtype is torch.float32:
            is_served = is_served and not torch.is_grad_enabled() and is_known_to_hold(x.numel() <= FEW_ROWS * weight.shape[1])
        if is_served and (not torch.is_autocast_enabled("cpu") or torch.get_autocast_dtype("cpu") is dtype):
            return unchecked(x, weight, self.bias)
        return F.linear(x, weight, self.bias)


def use_upcast_(model: nn.Module) -> None:
    """Turn every plain nn.Linear of a model, in place, into an UpcastLinear: its class, nothing else."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = UpcastLinear
